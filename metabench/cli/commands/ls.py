"""`metabench ls`: everything there is to choose from, one line each."""

from __future__ import annotations

from rich.table import Table

from metabench.cli.arguments import Parser
from metabench.config.catalog import GROUPS, entries, folders
from metabench.errors import suggest
from metabench.utils.console import open_console


def main(arguments: list[str]) -> None:
    """Print the groups asked for, or all."""
    parser = Parser(prog="metabench ls", description="List what a group offers, one line each.")
    parser.add_argument("group", nargs="*", help=f"of {', '.join(GROUPS)}; all by default")
    parser.take_config_dir()
    options = parser.parse_args(arguments)
    for group in options.group:
        if group not in GROUPS:
            parser.error(f"{group}: {suggest(group, GROUPS, 'no such group')}")
    parser.check_config_dir(options)
    console = open_console()
    for group in options.group or GROUPS:
        found = entries(group, folders(options.config_dir))
        table = Table(title=f"{group}=  {GROUPS[group]}", title_justify="left", show_header=False, box=None)
        table.add_column(no_wrap=True, style="bold")
        table.add_column()
        for name, line in found.items():
            table.add_row(name, line)
        if found:
            console.print(table, "")
