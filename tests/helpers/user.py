"""What a user may bring: a package `mine` with algorithms and data of their own, and configs that name them."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

CODE = {
    "algo.py": '''
        """MAML whose step size shrinks, and three that fail."""
        import sys
        from typing import Annotated, Unpack
        from pydantic import Field
        from metabench.api import MAML, Descent

        class Shrinking(MAML):
            def __init__(self, spec, backbone, *, shrink: Annotated[float, Field(gt=0, le=1)],
                         **descent: Unpack[Descent]) -> None:
                super().__init__(spec, backbone, **descent)
                self.inner_lr *= shrink

        class Raises(MAML):
            def forward(self, tasks):
                raise ZeroDivisionError("for a test")

        class Exits(MAML):
            def forward(self, tasks):
                sys.exit(5)

        class Diverges(MAML):
            def forward(self, tasks):
                loss, metrics = super().forward(tasks)
                return loss * float("nan"), {name: value * float("nan") for name, value in metrics.items()}
    ''',
    "data.py": '''
        """y = a x, a uniform in [-steepest, steepest]."""
        from metabench.api import (
            SPLITS, Count, Episode, Examples, Points, Positive, Seed, Tasks, TaskSource, TaskSpec, task_keys, uniform
        )

        class Lines(TaskSource):
            def __init__(self, seed, device, *, shots: Count, queries: Count, train: Points, eval_seed: Seed,
                         steepest: Positive) -> None:
                self.seeds, self.device, self.steepest = (seed, eval_seed, eval_seed), device, steepest
                episode = Episode(1, train.shots, train.queries)
                self.spec = TaskSpec((1,), "mse", episode, Episode(1, shots, queries))

            def sample(self, split, index, num_tasks):
                number = SPLITS.index(split)
                keys = task_keys(self.seeds[number], number, index, num_tasks, self.device)
                slope = self.steepest * (2 * uniform(keys, 0, 1) - 1)
                episode = self.spec.train if split == "train" else self.spec.eval
                parts = []
                for stream, count in ((1, episode.shots), (2, episode.queries)):
                    x = uniform(keys, stream, count)
                    parts.append(Examples(x.float().unsqueeze(-1), (slope * x).float().unsqueeze(-1)))
                return Tasks(*parts, {"slope": slope})

            def card(self):
                return {"source": "lines", "steepest": self.steepest, "eval_seed": self.seeds[1]}
    ''',
}
CONFIGS = {
    "algo/shrinking.yaml": "# MAML with a shrunk step\ndefaults: [maml]\n_target_: mine.algo.Shrinking\nshrink: 0.5\n",
    "algo/raises.yaml": "# raises\ndefaults: [maml]\n_target_: mine.algo.Raises\n",
    "algo/exits.yaml": "# exits\ndefaults: [maml]\n_target_: mine.algo.Exits\n",
    "algo/diverges.yaml": "# diverges\ndefaults: [maml]\n_target_: mine.algo.Diverges\n",
    "data/lines.yaml": (
        "# lines through the origin\ndefaults:\n  - /task@_here_: regression\n  - _self_\n\n"
        "_target_: mine.data.Lines\nsteepest: 2.0\n"
    ),
    "experiment/mine/first.yaml": (
        "# @package _global_\n# both of mine\ndefaults:\n  - override /algo: shrinking\n  - override /data: lines\n"
        "algo: {shrink: 0.25}\nseed: 3\n"
    ),
}


def write_package(cwd: Path) -> None:
    """`mine` and `conf` in `cwd`."""
    (cwd / "mine").mkdir()
    for name, text in {"__init__.py": "", **CODE}.items():
        (cwd / "mine" / name).write_text(dedent(text))
    for name, text in CONFIGS.items():
        path = cwd / "conf" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
