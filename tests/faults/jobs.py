"""A sweep in which six of twenty jobs come to grief, each in its way."""

from __future__ import annotations

from pathlib import Path
from textwrap import dedent

from program import SINUSOID, run_metabench

from faults.fault import Attempt, fault
from metabench.utils.files import read_json

CODE = '''
    """MAML in twenty parts, of which six fail while TROUBLE is set."""
    import os
    import signal
    import torch
    from metabench.algo.maml import MAML
    from metabench.config.types import Whole

    class Part(MAML):
        def __init__(self, spec, backbone, *, inner_lr: float, inner_steps: int, eval_inner_steps: int,
                     adapt_norm: bool, part: Whole) -> None:
            super().__init__(spec, backbone, inner_lr=inner_lr, inner_steps=inner_steps,
                             eval_inner_steps=eval_inner_steps, adapt_norm=adapt_norm)
            self.part = part if os.environ.get("TROUBLE") == "yes" else 0

        def forward(self, tasks):
            match self.part:
                case 2 | 3 | 5:
                    raise ZeroDivisionError(f"in part {self.part}")
                case 7:
                    os._exit(5)
                case 11:
                    os.kill(os.getpid(), signal.SIGKILL)
                case 13:
                    torch.empty(1 << 60)
            return super().forward(tasks)
'''
EXPECTED = {
    **{part: ("failed", f"ZeroDivisionError: in part {part}") for part in (2, 3, 5)},
    7: ("failed", "its process ended with exit code 5"),
    11: ("killed", "killed by SIGKILL: the system does so where memory runs out"),
    13: ("oom", "out of memory with 1 task held at once (chunk=1): smaller episodes or remat=true need less"),
}
SWEEP = ("-m", "--config-dir=conf", *SINUSOID, "algo=part", "algo.part=range(20)")


@fault(
    "a sweep of 20 jobs: 3 raise, 1 exits, 1 is killed, 1 runs out of memory",
    "the other 14 complete; the six are listed with reasons; exit code 1; rerunning the command runs only the six",
    tries=3,
)
def sweep(attempt: Attempt) -> None:
    cwd = attempt.folder / "work"
    (cwd / "conf/algo").mkdir(parents=True)
    (cwd / "part.py").write_text(dedent(CODE))
    (cwd / "conf/algo/part.yaml").write_text("# one of twenty\ndefaults: [maml]\n_target_: part.Part\npart: 0\n")
    done = run_metabench(*SWEEP, cwd=cwd, env={"TROUBLE": "yes"})
    assert done.code == 1, done
    assert _outcomes(cwd) == {part: EXPECTED.get(part, ("complete", None)) for part in range(20)}
    table = done.out[done.out.index("sweep of 20 jobs") :]
    for status, reason in EXPECTED.values():
        assert f"{status}" in table
        assert reason in table
    assert "6 of 20 jobs failed; the same command runs only what is missing" in table
    again = run_metabench(*SWEEP, cwd=cwd)
    assert (again.code, again.err) == (0, "")
    assert again.out.count("finished before") == 14
    assert _outcomes(cwd) == dict.fromkeys(range(20), ("complete", None))


def _outcomes(cwd: Path) -> dict[int, tuple[str, str | None]]:
    newest = max(cwd.glob("outputs/sweeps/*"))
    found = {int(path.parent.name): read_json(path) for path in newest.glob("*/outcome.json")}
    return {part: (outcome["status"], outcome["reason"]) for part, outcome in sorted(found.items())}
