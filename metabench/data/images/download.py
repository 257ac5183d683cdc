"""Fetch Omniglot's two zips, or say in one line how to place them by hand."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from metabench.errors import MissingDataError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from metabench.data.images.raw import Part

URL = "https://raw.githubusercontent.com/brendenlake/omniglot/master/python/"
_PATIENCE = 30.0  # seconds without an answer; a firewall that drops packets would otherwise hang for minutes


def fetch(part: Part, home: Path, say: Callable[[str], None] = print) -> Path:
    """Download one zip to `home`, complete and with the right md5, or not at all.

    Raises OSError (network, disk, md5) or HTTPException.
    """
    from torchvision.datasets.utils import download_url  # seconds to import, and needed once

    target = home / f"{part.name}.zip"
    say(f"downloading {URL}{target.name} to {home}")
    home.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=home, prefix=".download-") as aside, _patience():
        try:
            download_url(f"{URL}{target.name}", aside, md5=part.md5)
        except RuntimeError as fault:
            raise OSError(f"what arrived does not have the md5 {part.md5}") from fault
        return (Path(aside) / target.name).replace(target)


def missing(parts: Sequence[Part], root: Path, why: str) -> MissingDataError:
    """The line for raw data that is not there: where it comes from and where it belongs."""
    sources = " and ".join(f"{URL}{part.name}.zip (md5 {part.md5})" for part in parts)
    return MissingDataError(
        f"Omniglot is not in {root} ({why}): put {sources} into {root / 'omniglot-py'}, or name the folder that has "
        "them, as zips or extracted, with data.root= or METABENCH_DATA, or use data=glyphs, which needs no download"
    )


@contextmanager
def _patience() -> Iterator[None]:
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(_PATIENCE)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)
