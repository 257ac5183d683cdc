"""The command line: a few reserved first words, everything else is Hydra.

Help, lists and completion answer at once: Hydra is imported only to compose, torch only to run.
"""

from __future__ import annotations

import json
import os
import sys
from importlib import import_module

from metabench import __version__
from metabench.cli.arguments import find_own_packages, flags_first, split_config_dir, working_directory
from metabench.cli.commands import WORDS
from metabench.cli.unknown import say_ignored, unknown_command
from metabench.errors import UserError, system_refusals
from metabench.utils.exit import leave
from metabench.utils.output import flush_output, guard_output
from metabench.utils.signals import PIPE, Interrupted
from metabench.utils.starting import Starting

FULL = "--full"  # show the whole protocol card
RUNS = (FULL, "-m", "--multirun", "-cd", "--config-dir")  # flags with which something is run


def main() -> None:
    """Entry point; exits with 0, 1 (failed), 2 (bad input), 3 (not finite), 4 (out of memory) or 128 + signal."""
    guard_output()
    try:
        try:
            _dispatch(sys.argv[1:])
        except SystemExit as leaving:
            if leaving.code:
                raise
        flush_output()
    except KeyboardInterrupt:
        leave("stopped", 130)
    except UserError as fault:
        leave(str(fault), fault.exit_code)
    except Interrupted as stopped:  # nothing is under way that the same command continues
        if stopped.number == PIPE:
            sys.exit(stopped.exit_code)  # a reader that has read enough is told nothing
        leave(stopped.why, stopped.exit_code)
    except Exception as fault:
        from hydra.errors import HydraException
        from omegaconf.errors import OmegaConfBaseException

        from metabench.config.explain import explain

        if not isinstance(fault, (HydraException, OmegaConfBaseException)):
            raise  # a bug
        leave(explain(fault), UserError.exit_code)


@system_refusals()
def _dispatch(arguments: list[str]) -> None:
    words, config_dir = split_config_dir(arguments)
    if config_dir is not None:
        say_ignored(config_dir)
    if words and words[0] in WORDS:
        if words[0] != "ls":  # which reads no folder but those it is given
            working_directory()
        place = [] if config_dir is None else [f"--config-dir={config_dir}"]
        import_module(f"metabench.cli.commands.{words[0]}").main([*place, *words[1:]])
    elif "--version" in arguments:
        print(f"metabench {__version__}")
    elif {"--help", "-h"} & set(arguments):
        from metabench.cli.help import page

        print(page(arguments), end="")
    elif "--hydra-help" in arguments:
        sys.argv[1:] = ["--hydra-help"]  # nothing else has a say in what that page composes
        from metabench.cli.app import hydra_help

        hydra_help()
    elif words and words[0].replace("-", "").isidentifier() and not words[0].startswith("-"):
        raise UserError(unknown_command(words[0], config_dir))
    else:
        if {"-sc", "--shell-completion"} & {*words} and "COMP_LINE" in os.environ:
            from metabench.cli.completion import complete

            if complete():
                return
        if not _only_shows(arguments):
            Starting.say("reading the configuration")
        find_own_packages()
        if FULL in arguments:
            os.environ["METABENCH_FULL"] = "1"  # for the processes that a launcher starts, too
            arguments = [argument for argument in arguments if argument != FULL]
        os.environ["HYDRA_FULL_ERROR"] = "1"  # let Hydra's errors through: they are said in one line, by us
        # Threads that wait for each other should soon sleep. With one other busy process on two cores GNU OpenMP's own
        # count made a convolutional meta-step take 7 s; this one 0.6 s, and on an idle machine the same 0.17 s.
        os.environ.setdefault("GOMP_SPINCOUNT", "20000")
        sys.argv[1:] = flags_first(arguments)
        from metabench.cli.app import COMMAND, hydra_main

        os.environ[COMMAND] = json.dumps(arguments)
        hydra_main()


def _only_shows(arguments: list[str]) -> bool:
    """Return True where a flag of Hydra's asks for something other than a run."""
    flags = [argument.partition("=")[0] for argument in arguments if argument.startswith("-")]
    return not set(flags) <= set(RUNS)
