"""A run of a few seconds, small enough for any machine and long enough to learn something."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from rich.console import Console

from metabench.config.build import check
from metabench.config.compose import compose_plain
from metabench.config.schema import Config
from metabench.runs.experiment import cell
from metabench.runs.run_spec import RunSpec
from metabench.training.runner import run
from metabench.utils.console import Display
from metabench.utils.files import load_tensors

STEPS = 400
COMMAND = (
    *("algo=maml", "data=sinusoid", "device=cpu", "engine=eager", "train.tasks=10", f"train.steps={STEPS}"),
    *(f"validate.every={STEPS}", "validate.episodes=10", "test.episodes=100", "log.pictures=false"),
    *("log.every=1", f"checkpoint.every={STEPS}", "algo.eval_inner_steps=1", "optim.lr=0.003"),
)


class Trained(NamedTuple):
    """Outcome of the run."""

    state: bytes  # of every weight
    steps: int
    before: float  # mean squared error on 100 test tasks, one inner step from the first weights
    after: float  # and from the learned ones


def train(folder: Path) -> Trained:
    """Meta-train and meta-test in `folder`, silently."""
    display = Display(Console(quiet=True))
    errors = []
    for name, more in (("untrained", "train.steps=0"), ("trained", f"train.steps={STEPS}")):
        plain = compose_plain(*COMMAND, more)
        config = check(Config, plain)
        summary = run(config, RunSpec(folder / name, "doctor", plain, {}, cell(config, None, ()), ("doctor",)), display)
        errors.append(summary["test"]["mean"])
    weights = load_tensors(folder / "trained" / "checkpoints" / "best.pt")["algo"]
    state = b"".join(name.encode() + tensor.numpy().tobytes() for name, tensor in sorted(weights.items()))
    return Trained(state, STEPS, *errors)
