"""Where a table goes: its format, and standard output or a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from metabench.errors import UserError, suggest


def pick_format(
    kind: str | None, output: Path | None, suffixes: Mapping[str, str], formats: Iterable[str] = ()
) -> str | None:
    """The format of `--format`, else that of the name of `--output`; None for the terminal's.

    `suffixes` has the format of each suffix, `formats` more of them. Raises `UserError` where there is no such format,
    and as `check_output` does.
    """
    if output is not None:
        check_output(output)
    known = {*suffixes.values(), *formats}
    if kind is not None and kind not in known:
        raise UserError(f"--format={kind}: {suggest(kind, known, 'no such format')}")
    if output is not None and kind is None and output.suffix not in suffixes:
        raise UserError(f"--output={output}: {suggest(output.suffix, suffixes, 'says no format; --format does')}")
    return kind or (suffixes[output.suffix] if output else None)


def check_output(*paths: Path) -> None:
    """Raise `UserError` where there is no folder for a file to be written, or the file is one of a run."""
    from metabench.runs.own_files import check_not_of_run

    for path in paths:
        if not path.parent.is_dir():
            raise UserError(f"--output {path}: there is no folder {path.parent}")
        check_not_of_run(path)


def emit(text: str, output: Path | None) -> None:
    """Print the text, or write it to a file and say so."""
    if output is None:
        print(text, end="")
        return
    from metabench.utils.files import write_bytes

    write_bytes(output, text.encode())
    print(f"written to {output}")
