"""`metabench test RUN [KEY=VALUE]…`: the chosen checkpoint of a finished run, tested another way."""

from __future__ import annotations

import argparse
from pathlib import Path

from metabench.cli.arguments import Parser, find_own_packages
from metabench.errors import UserError
from metabench.utils.exit import continued

EPILOG = """\
  metabench test outputs/omniglot/protonet/ID data.ways=20
  metabench test outputs/omniglot/maml/ID data.shots=5 algo.eval_inner_steps=10 test.episodes=10000
  metabench test outputs/omniglot/protonet/ID suite=omniglot
  metabench test outputs/omniglot/protonet/ID suite=shift
  metabench test outputs/omniglot/protonet/ID data.shift.rotate=45
  metabench test outputs/omniglot/protonet/ID experiment=omniglot/protonet_20w1s

Nothing is trained. Results lie below the run, in RUN/tests; the same command again shows them.
"""


def main(arguments: list[str]) -> None:
    """Test a run; exits with 0, 1 (no checkpoint, no data), 2 (bad input) or as a run does."""
    parser = Parser(
        prog="metabench test",
        description="Test the chosen checkpoint of a finished run another way: ways, shots, split, data, steps, tasks.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="the directory of a finished run")
    of = "of data, algo, test, device; or suite=NAME; or experiment=NAME, a cell of a published table"
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help=of)
    parser.take_config_dir()
    options = parser.parse_args(arguments)
    parser.check_config_dir(options)
    find_own_packages()
    _test(options.run, options.overrides, options.config_dir)


@continued()
def _test(path: Path, overrides: list[str], config_dir: str | None) -> None:
    from metabench.runs.reader import RunReader
    from metabench.training.retest import retest
    from metabench.training.suite import load_suite, run_suite
    from metabench.utils.console import Display

    if not path.is_dir():
        raise UserError(f"{path}: no such folder; give the directory of a finished run")
    run, display = RunReader(path), Display()
    suites = [override for override in overrides if override.startswith("suite=")]
    shared = [override for override in overrides if override not in suites]
    command = ["test", str(path), *overrides]
    if not suites:
        retest(run, shared, display, config_dir=config_dir, command=command)
    for suite in suites:
        run_suite(run, load_suite(suite.partition("=")[2], run, config_dir), display, shared, config_dir=config_dir)
