"""A meta-step and an evaluation stay on their device: with torch's `meta` device as one that cannot lie about places.

On it a tensor left on the CPU, a value read by the host (`item`, `tolist`, `if tensor`) and a boolean mask raise. What
it would let pass, and a GPU must wait for, raises by the two modes below: tensors made of Python numbers, and any
operation with a tensor of the CPU.
"""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import Any

import image_sets
import pytest
import torch
from build import ALGOS, Setup, build, class_of, composed, pairs, small
from cases import NOT_TRAINED, ONE_OF_EACH_FAMILY, VARIANTS, over
from paths import CONF, ROOT
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from metabench.config.build import component
from metabench.data import omniglot
from metabench.data.base import TaskSource
from metabench.data.build import build_source
from metabench.data.image_folder import ImageFolder
from metabench.data.images.bank import ImageBank, ImageSet
from metabench.data.images.splits import read_split
from metabench.engine.meta_step import MetaStep
from metabench.engine.plan import Plan
from metabench.optim import SGD
from metabench.tasks import SPLITS
from metabench.training.metrics import MetricLog
from metabench.utils.precision import no_autocast

META = torch.device("meta")
STREAMS = [(algo, "glyphs_sequence") for algo in ALGOS if "sequence" in class_of(algo).settings]
FROM_NUMBERS = {torch.tensor, torch.as_tensor, torch.asarray, torch.from_numpy, Tensor.new_tensor}


INDEXING = {Tensor.__getitem__, Tensor.__setitem__}


class NoNumbers(TorchFunctionMode):
    """Raises where a tensor is made of Python numbers: they are copied from the host, which waits for the device."""

    def __torch_function__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        assert function not in FROM_NUMBERS, f"torch.{function.__name__} waits for the device; torch.full does not"
        if function in INDEXING:
            parts = args[1] if isinstance(args[1], tuple) else (args[1],)
            assert not any(isinstance(part, list) for part in parts), "an index made of a list waits for the device"
        return function(*args, **(kwargs or {}))


class OneDevice(TorchDispatchMode):
    """Raises where an operation reads or makes a tensor elsewhere than on the device."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        found = function(*args, **(kwargs or {}))
        for t in tree_leaves((args, kwargs, found)):
            assert not isinstance(t, Tensor) or t.device == META, f"{function} with a tensor of {t.device}"
        return found


def on_device(work: Callable[[], Any]) -> Any:
    with NoNumbers(), OneDevice():
        return work()


def moved(case: tuple[str, ...], *overrides: str) -> Setup:
    """The model and the data of a case on the device, with an optimiser that torch has there."""
    setup = build(*small(*case, *overrides))
    setup.algo.to(META)
    setup.source = source_on_device(setup)
    trained = [p for p in setup.algo.parameters() if p.requires_grad]
    setup.optimizer = SGD(trained, lr=0.1, momentum=0.9, weight_decay=0.0) if trained else None
    return setup


def source_on_device(setup: Setup) -> TaskSource:
    """The source, with what it keeps of its data loaded."""
    source = build_source(setup.config.data, setup.config.seed, META)
    for split in SPLITS:
        source.sample(split, 0, 1)
    return source


@over([*pairs(), *STREAMS, *VARIANTS], quick=ONE_OF_EACH_FAMILY)
def test_a_meta_step_and_an_evaluation_stay_on_the_device(case):
    setup = moved(case, "train.clip=1.0")
    if setup.optimizer and case[0] not in NOT_TRAINED:
        plan = Plan("eager", 3 if setup.algo.coupled else 2)
        step = MetaStep(setup.algo, setup.optimizer, setup.config.train, setup.config.device, plan)
        metrics = on_device(lambda: step(0, setup.tasks()))
        assert {value.shape for value in metrics.values()} == {(3,)}
        learned = {name for name, p in setup.algo.named_parameters() if p.requires_grad}
        assert setup.gradients().keys() == learned
    setup.algo.eval()
    for mode in setup.algo.modes:
        on_device(lambda mode=mode: setup.algo.evaluate(setup.tasks("test"), mode))


def reads(data: str) -> str:
    """A method for a data set."""
    if data.endswith("_online"):
        return "ftml"
    return "snail" if data.endswith("_sequence") else "maml"


SHIFTS = (
    *("data.shots=5", "data.queries=10", "data.shift.unbalanced=true", "data.shift.wrong_labels=0.4"),
    *("data.shift.rotate=45", "data.shift.stroke=0.5", "data.shift.resolution=14", "data.shift.noise=0.3"),
)
COLOURS = (
    "data.augment={crop: 2, flip: true, brightness: 0.4, contrast: 0.4, saturation: 0.4}",
    "data.normalise={mean: [0.5, 0.5, 0.5], std: [0.2, 0.2, 0.2]}",
)
DRAWN = [
    *((path.stem,) for path in sorted((CONF / "data").glob("*.yaml"))),
    ("glyphs", *SHIFTS),
    ("omniglot", "data.shift.alphabet=one"),
    ("sinusoid", "data.shift.noise=1.0", "data.shift.query_x=[5.0,7.5]"),
    ("mini_imagenet", *COLOURS),
]


@pytest.mark.parametrize("case", DRAWN, ids=lambda case: case[0] + ("-changed" if len(case) > 1 else ""))
def test_tasks_are_drawn_on_the_device(case, monkeypatch, tmp_path):
    def drawings(*_: Any, size: int, **__: Any) -> ImageBank:
        names = sorted(name for part in read_split("lake").values() for name in part)
        return ImageBank(torch.zeros(len(names), 20, size, size, dtype=torch.uint8), names, "blank")

    def photographs(source: ImageFolder) -> ImageSet:
        names = [name for split in SPLITS for name in source._characters[split]]
        images = torch.zeros(len(names) * source.each, 3, source.size, source.size, dtype=torch.uint8)
        return ImageSet(images, names, [source.each] * len(names), "blank")

    monkeypatch.setattr(omniglot, "load_omniglot", drawings)
    monkeypatch.setattr(ImageFolder, "_load", photographs)
    data, *changes = case
    overrides = [f"data={data}", f"algo={reads(data)}", *changes]
    if data.startswith("glyphs"):
        overrides.append("data.characters=40")
    if data == "glyphs_online":
        overrides.append("data.online.rounds=6")
    if data == "images":
        overrides += [f"data.root={image_sets.write_csv(tmp_path / 'birds')}", *image_sets.THREE_WAY]
    made, values = component(composed(*overrides).data, TaskSource, "data")
    if issubclass(made, ImageFolder):
        values["size"] = 16
    source = made(0, META, **values)
    for split in SPLITS:
        source.sample(split, 0, 1)
        tasks = on_device(lambda split=split: source.sample(split, 1, 2))
        assert {t.device for t in tasks.tensors()} == {META}
        assert len(tasks) == 2


def test_the_two_modes_see_what_the_device_lets_pass():
    here, number, index = torch.zeros(3, device=META), torch.zeros(()), torch.zeros(2, dtype=torch.long)
    for wrong in (
        lambda: torch.tensor(1.0, device=META),
        lambda: here.new_tensor([1.0]),
        lambda: here + number,
        lambda: here[index],
        lambda: here[[0, 2]],
        lambda: here[:, None][[0, 2], 0],
    ):
        with pytest.raises(AssertionError):
            on_device(wrong)
    on_device(lambda: here + torch.full((), 1.0, device=META))


def test_autocast_is_left_where_there_is_one():
    a = torch.ones(2, 2)
    with torch.autocast("cpu", torch.bfloat16):
        assert (a @ a).dtype is torch.bfloat16
        with no_autocast(a.device):
            assert (a @ a).dtype is torch.float32
    with no_autocast(META):
        assert (a.to(META) @ a.to(META)).dtype is torch.float32


def test_a_resumed_log_goes_on_on_the_device(tmp_path):
    log = MetricLog(tmp_path)
    log.load({"loss": torch.zeros(2, 3)}, META)
    log.add({"loss": torch.zeros(3, device=META)})
    assert log.state()["loss"].shape == (3, 3)


# ---- the same by reading: what no case here runs

READ = (
    "rng",
    "objective",
    "data",
    "data/images/augment",
    "algo",
    "backbone",
    "engine/meta_step",
    "engine/cuda_graph",
    "engine/compiled",
)
WAIT = {"item", "tolist", "cpu", "numpy", "nonzero", "masked_select", "unique", "argwhere", "synchronize"}  # methods
FROM_HOST = {"tensor", "as_tensor", "asarray", "from_numpy"}  # functions of torch
ONCE = {  # by module and function: run when a model is built or its data is read, never in a meta-step
    ("algo/dnc", "_bind"),
    ("algo/ntm", "_bind"),
    ("algo/ntm", "_towards"),
    ("data/few_shot", "_prepared"),  # a user's picture
    ("data/image_folder", "prepare"),  # a user's picture
    ("data/omniglot_within_alphabet", "rows"),
    ("data/shift", "alphabet_members"),
}


def calls(module: str) -> Iterator[tuple[str, str, int]]:
    """Function, called name and line of each call that waits for the device; constructors are left out."""

    def within(node: ast.AST, function: str) -> Iterator[tuple[str, str, int]]:
        for child in ast.iter_child_nodes(node):
            name = child.name if isinstance(child, ast.FunctionDef) else function
            if isinstance(child, ast.Call) and isinstance(child.func, ast.Attribute):
                called, owner = child.func.attr, child.func.value
                torchs = isinstance(owner, ast.Name) and owner.id == "torch"
                if called in WAIT | {"new_tensor"} or (torchs and called in FROM_HOST):
                    yield name, called, child.lineno
            yield from within(child, name)

    tree = ast.parse((ROOT / "metabench" / f"{module}.py").read_text(encoding="utf-8"))
    return (found for found in within(tree, "") if found[0] != "__init__")


def test_no_call_of_the_training_path_waits_for_the_device():
    package = ROOT / "metabench"
    files = [path for part in READ for path in [*(package / part).glob("*.py"), *package.glob(f"{part}.py")]]
    modules = sorted(str(path.relative_to(package).with_suffix("")) for path in files)
    assert len(modules) > 80
    found = {(module, *call) for module in modules for call in calls(module)}
    waiting = {call for call in found if call[:2] not in ONCE}
    assert not waiting, "these wait for a GPU: " + ", ".join(f"{m}.py:{line} {name}" for m, _, name, line in waiting)
    assert {call[:2] for call in found} >= ONCE, "an exception that is none"
