"""YAML holds values, Python holds types.

`Config` is the schema of everything but the components; the schema of a component (an algorithm, a data source, …) is
the keyword-only signature of its constructor, so a value lives once in YAML and its type once in Python; arguments that
several constructors take are a `TypedDict` that each of them unpacks (PEP 692). Every fault is one `ConfigError` that
names the key, the value and what would be valid.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any, Literal, Unpack, get_args, get_origin, get_type_hints

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    create_model,
    field_validator,
)

from metabench.errors import ConfigError, one_of

LARGEST = 10**9  # so that the number of a task, a product of two counts, fits an int64


def _folder(text: str) -> str:
    if not text.strip() or not text.isprintable() or any(len(part.encode()) > 255 for part in Path(text).parts):
        raise ValueError("should be the path of a folder")
    return text


Count = Annotated[int, Field(ge=1, le=LARGEST)]
Whole = Annotated[int, Field(ge=0, le=LARGEST)]
Ways = Annotated[int, Field(ge=2, le=LARGEST)]  # of a classification
Folder = Annotated[str, AfterValidator(_folder)]
Number = Annotated[float, Field(allow_inf_nan=False)]
Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Share = Annotated[float, Field(ge=0, lt=1)]
Seed = Annotated[int, Field(ge=0, lt=2**63)]
Widths = Annotated[list[Count], Field(min_length=1)]  # of the layers of a perceptron
Node = dict[str, Any]

_NOISE = re.compile(r"^(Input|List|Value error,) | after validation| or instance of \w+")  # in pydantic's messages

STRICT = ConfigDict(extra="forbid", strict=True, frozen=True)


class Section(BaseModel):
    """A part of the configuration: no unknown keys, no silent conversions, no changes."""

    model_config = STRICT


class Train(Section):
    """Meta-training."""

    steps: Whole
    tasks: Count  # per meta-step
    schedule: Literal["constant", "linear", "cosine", "halve"]
    halve_every: Count | None  # meta-steps, for schedule=halve
    clip: Positive | None  # largest norm of the meta-gradient

    @field_validator("halve_every")
    @classmethod
    def _given_to_halve(cls, value: int | None, info: ValidationInfo) -> int | None:
        if value is None and info.data.get("schedule") == "halve":
            raise ValueError("should be a number of meta-steps, for train.schedule=halve")
        return value


class Validate(Section):
    """Selection of the checkpoint that is tested: on validation tasks only."""

    every: Count  # meta-steps
    episodes: Count
    select: Literal["best", "last"]


class Test(Section):
    """The final test."""

    episodes: Annotated[int, Field(ge=2, le=LARGEST)]


class Log(Section):
    """What is shown and written while a run goes on."""

    every: Count  # meta-steps
    pictures: bool
    tensorboard: bool


class Checkpoint(Section):
    """How much work a crash may cost."""

    every: Count  # meta-steps


class Device(Section):
    """Where a run computes."""

    type: Literal["auto", "cpu", "cuda", "ddp"]
    precision: Literal["float32", "tf32", "bfloat16"]
    threads: Annotated[int, Field(ge=1, le=1024)] | None  # of the CPU; null leaves torch's choice
    keep_memory: bool  # let the C allocator keep large blocks instead of returning them to the system


class Published(Section):
    """What a paper reports, in this program's units: accuracies are fractions. `metabench.published` has the table."""

    value: Number
    ci95: NonNegative | None = None  # half width, over test tasks
    spread: NonNegative | None = None  # standard deviation over training runs, where a paper gives that instead
    metric: Literal["accuracy", "mse"]
    prediction: Literal["transductive", "inductive"] | None = (
        None  # None: the paper does not say, or it does not matter
    )
    row: str  # of the table: the method, as the paper calls it
    column: str
    source: str
    arxiv: str | None = None
    verified: str | None = None  # how the number was checked against the paper
    at: Whole | None = None  # the inner step, or the instance of a class, that the value is of; None: the final one
    also: Sequence[Published] = ()  # other cells that the same run gives


class Config(Section):
    """A composed configuration, checked; the components stay nodes until they are built."""

    seed: Seed
    resume: bool
    run_dir: Folder | None
    init: Folder | None  # a run directory whose chosen checkpoint to start from
    budget: str  # the name of the lengths that were chosen: full, or one that is shorter
    published: Published | None
    engine: Literal["auto", "eager", "compile", "graph"]  # how a meta-step is computed
    chunk: Count | Literal["auto"]  # tasks held in memory at once
    remat: bool  # compute inner steps again on the way back instead of keeping them
    train: Train
    validation: Validate = Field(alias="validate")
    test: Test
    log: Log
    checkpoint: Checkpoint
    device: Device
    algo: Node
    data: Node
    backbone: Node
    optim: Node


def check(model: type[BaseModel], values: Mapping[str, Any], key: str = "") -> Any:
    """`values` as an instance of `model`; raises `ConfigError` naming the first fault below `key`."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as fault:
        first = fault.errors(include_url=False)[0]
        unknown = first["type"] == "extra_forbidden"
        path = [str(part) for part in first["loc"] if unknown or _is_key(str(part))]
        name = ".".join([*([key] if key else []), *path])
        if unknown:
            known = _fields(model, path[:-1])
            raise ConfigError(name, first["input"], one_of(path[-1], known, "no such key")) from None
        if first["type"] == "missing":
            raise ConfigError(name, "???", "a value is needed") from None
        same = [e["msg"] for e in fault.errors(include_url=False) if e["loc"][: len(path)] == first["loc"][: len(path)]]
        messages = dict.fromkeys(_NOISE.sub("", text) for text in same)
        raise ConfigError(name, first["input"], " or ".join(messages)) from None


def _is_key(part: str) -> bool:
    """Not a position in a list, nor what pydantic calls a member of a union."""
    return part.isidentifier() and part not in {"int", "float", "str", "bool"}


def _fields(model: type[BaseModel], path: list[str]) -> list[str]:
    for part in path:
        fields = {field.alias or name: field for name, field in model.model_fields.items()}
        annotation = fields[part].annotation
        inner = [t for t in (annotation, *get_args(annotation)) if inspect.isclass(t) and issubclass(t, BaseModel)]
        if not inner:
            return []
        model = inner[0]
    return [field.alias or name for name, field in model.model_fields.items()]


def component(node: Mapping[str, Any], base: type, key: str) -> tuple[type[Any], Node]:
    """The class that `node._target_` names and its checked arguments; nothing is constructed.

    A target is accepted only if it is a concrete subclass of `base`: nothing else is ever called from a config.
    Keyword-only and unpacked parameters of the constructor are what a config may set; the rest is the program's to
    give.
    """
    target = node.get("_target_")
    cls = _locate(target, f"{key}._target_")
    if not (inspect.isclass(cls) and issubclass(cls, base) and not inspect.isabstract(cls)):
        raise ConfigError(f"{key}._target_", target, f"should name a subclass of {base.__module__}.{base.__qualname__}")
    fields = arguments(cls)
    schema = create_model(cls.__name__, __config__=ConfigDict(**STRICT, protected_namespaces=()), **fields)
    checked = check(schema, {name: value for name, value in node.items() if name != "_target_"}, key)
    return cls, {name: getattr(checked, name) for name in fields}


def arguments(cls: type[Any]) -> dict[str, Any]:
    """Type and default of the constructor's keyword-only parameters, and of those that it unpacks."""
    hints, fields = get_type_hints(cls.__init__, include_extras=True), dict[str, Any]()
    for name, parameter in inspect.signature(cls.__init__).parameters.items():
        hint = hints.get(name, Any)
        if parameter.kind is parameter.KEYWORD_ONLY:
            fields[name] = (hint, ... if parameter.default is parameter.empty else parameter.default)
        elif parameter.kind is parameter.VAR_KEYWORD and get_origin(hint) is Unpack:
            shared = get_type_hints(get_args(hint)[0], include_extras=True)
            fields |= {key: (kind, ...) for key, kind in shared.items()}
    return fields


def _locate(target: Any, key: str) -> Any:
    if not (isinstance(target, str) and target.count(".") >= 1 and all(p.isidentifier() for p in target.split("."))):
        raise ConfigError(key, target, "should be a dotted path, package.module.Class")
    module, _, name = target.rpartition(".")
    root = module.partition(".")[0]  # these have no class of ours, and importing some has effects
    if root in sys.stdlib_module_names or (root == "torch" and not module.startswith("torch.optim")):
        return None
    try:
        return getattr(import_module(module), name)
    except (Exception, SystemExit) as fault:  # whatever a module does when it is imported
        said = f"{fault}" if isinstance(fault, (ImportError, AttributeError)) else f"{type(fault).__name__}: {fault}"
        raise ConfigError(key, target, f"cannot be imported: {said}") from None
