"""The arguments of a reserved word: what is wrong with them is one line, and exit code 2."""

from __future__ import annotations

from argparse import ArgumentParser, Namespace
from pathlib import Path
from typing import NoReturn

from metabench.utils.exit import leave


class Parser(ArgumentParser):
    """argparse's, without its page of usage."""

    def error(self, message: str) -> NoReturn:
        """End the process with `message`."""
        leave(message, 2)

    def take_config_dir(self) -> None:
        """Take a folder with configs of one's own."""
        self.add_argument("--config-dir", "-cd", help="a folder with configs of your own")

    def check_config_dir(self, options: Namespace) -> None:
        """End the process if there is no such folder."""
        if options.config_dir and not Path(options.config_dir).is_dir():
            self.error(f"--config-dir {options.config_dir}: no such folder")
