"""From values to checked objects: a section against its schema, a component against its constructor.

The schema of a component (an algorithm, a data source, …) is the keyword-only signature of its constructor, so a value
lives once in YAML and its type once in Python. Arguments that several constructors take are a `TypedDict` that each of
them unpacks (PEP 692). Every fault is one `ConfigError` that names the key, the value and what would be valid.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping
from importlib import import_module
from typing import Any, Unpack, get_args, get_origin, get_type_hints

from pydantic import BaseModel, ConfigDict, ValidationError, create_model

from metabench.config.types import STRICT, Node
from metabench.errors import ConfigError, UserError, suggest

_PLAIN = {"a valid integer": "a whole number", "a valid boolean": "true or false", "a valid number": "a number",
          "a valid string": "text", "a valid list": "a list, [A,B]"}  # fmt: skip
_NOISE = re.compile(r"^(Input|List|Value error,) | after validation| or instance of \w+")  # in pydantic's messages


def check(model: type[BaseModel], values: Mapping[str, Any], key: str = "") -> Any:
    """`values` as an instance of `model`; raises `ConfigError` naming the first fault below `key`."""
    try:
        return model.model_validate(dict(values))
    except ValidationError as fault:
        faults = fault.errors(include_url=False)
        first = next((one for one in faults if one["type"] == "extra_forbidden"), faults[0])  # it explains the others
        unknown = first["type"] == "extra_forbidden"
        path = [str(part) for part in first["loc"] if unknown or _is_key(str(part))]
        name = ".".join([*([key] if key else []), *path])
        if unknown:
            known = _fields(model, path[:-1])
            raise ConfigError(name, first["input"], suggest(path[-1], known, "no such key")) from None
        if first["type"] == "missing":
            raise UserError(f"{name}: is missing; a value is needed") from None
        if first["type"] in ("model_type", "model_attributes_type", "dict_type"):
            keys = f": {', '.join(known)}" if (known := _fields(model, path)) else ""
            raise ConfigError(name, first["input"], f"is a group of keys{keys}") from None
        same = [e["msg"] for e in faults if e["loc"][: len(path)] == first["loc"][: len(path)]]
        messages = dict.fromkeys(_in_plain_words(text) for text in same)
        raise ConfigError(name, first["input"], " or ".join(messages)) from None


def _in_plain_words(text: str) -> str:
    """Pydantic's message without what a user need not read."""
    found = _NOISE.sub("", text)
    for technical, plain in _PLAIN.items():
        found = found.replace(technical, plain)
    return found


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


def settled(config: BaseModel, components: Mapping[str, tuple[type[Any], Node]]) -> Node:
    """A checked configuration as plain values of settled types: 2 for a real number is 2.0, defaults are written out.

    `components` are what `component` found of each, by key; a class goes by the name of its own module.
    """
    plain = _plain(config)
    for key, (cls, given) in components.items():
        values = {name: _plain(value) for name, value in given.items() if value is not None or name in plain[key]}
        plain[key] = {"_target_": f"{cls.__module__}.{cls.__qualname__}", **values}
    return plain


def _plain(value: Any) -> Any:
    if isinstance(value, BaseModel):
        value = value.model_dump(by_alias=True)
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


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


def section_keys(hint: Any) -> dict[str, None] | None:
    """Nulls for the keys of a section that a value of type `hint` may be; None where it may be none."""
    for kind in (hint, *get_args(hint)):
        if inspect.isclass(kind) and issubclass(kind, BaseModel):
            fields = kind.model_fields
            return dict.fromkeys(fields) if all(field.default is None for field in fields.values()) else None
    return None


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
