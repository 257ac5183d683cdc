"""Omniglot read by many processes, read by one that is killed, and archives that are not Omniglot."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import sys
import zipfile
from collections.abc import Callable
from functools import partial
from itertools import count
from pathlib import Path
from unittest import SkipTest

import fake_omniglot as fake
from fake_omniglot import FAKE, PACK, drawings, png, write_tree, write_zip
from patches import die_at_byte
from program import run_fresh
from real_data import omniglot_root

from faults.fault import Attempt, fault
from faults.runs import OMNIGLOT
from metabench.data.images import raw
from metabench.errors import DataError

FORK = multiprocessing.get_context("forkserver")
ONE, TWO = (part.name for part in FAKE)
FIRST = f"{ONE}/Alpha/character01/0001_01.png"


def start(root: Path, cache: Path, said: Path, patch: Callable[[], None] | None = None):
    """A process that loads the small Omniglot; `said` holds what it found or said."""
    process = FORK.Process(target=_load, args=(root, cache, said, patch), daemon=True)
    process.start()
    return process


def _load(root: Path, cache: Path, said: Path, patch: Callable[[], None] | None) -> None:
    raw.parts = lambda: FAKE  # type: ignore[assignment]
    if patch:
        patch()
    try:
        bank, heard = fake.load(root, cache)
    except DataError as refused:
        said.write_text(str(refused))
        sys.exit(1)
    said.write_text(f"{bank.digest} {bank.images.sum().item()} {sum(line.startswith('reading') for line in heard)}")


def loaded(root: Path, cache: Path, said: Path, patch: Callable[[], None] | None = None) -> tuple[int, str]:
    process = start(root, cache, said, patch)
    process.join(60)
    return process.exitcode, said.read_text() if said.exists() else ""


def whole(attempt: Attempt) -> str:
    """What a process finds that nothing happened to."""
    code, said = loaded(fake.write(attempt.folder / "data"), attempt.folder / "other", attempt.folder / "whole")
    assert code == 0, said
    return said.rsplit(" ", 1)[0]


@fault(
    "8 processes ingest one dataset at once",
    "all load the same images; only one process reads the archives",
    tries=20,
    short=0,
)
def together(attempt: Attempt) -> None:
    expected, cache = whole(attempt), attempt.folder / "cache"
    notes = [attempt.folder / f"said-{n}" for n in range(8)]
    running = [start(attempt.folder / "data", cache, note) for note in notes]
    for process in running:
        process.join(60)
    found = [note.read_text().rsplit(" ", 1) for note in notes]
    assert {digest for digest, _ in found} == {expected}
    assert sorted(reads for _, reads in found) == ["0"] * 7 + ["2"]


@fault("an image of another root, or of this one once changed, lies in the cache", "each root has its own", tries=10)
def another_root(attempt: Attempt) -> None:
    expected, cache, said = whole(attempt), attempt.folder / "cache", attempt.folder / "said"
    name = attempt.chance.choice(sorted(drawings(0)))
    other = fake.write(attempt.folder / "changed", {name: png(attempt.chance.randrange(10**6, 10**7))})
    _, found = loaded(other, cache, said)
    assert found.endswith(" 2")
    assert not found.startswith(expected)
    assert loaded(attempt.folder / "data", cache, said) == (0, f"{expected} 2")
    assert loaded(other, cache, said) == (0, found.removesuffix("2") + "0")
    shutil.copy2(other / f"{ONE}.zip", attempt.folder / "data")
    code, again = loaded(attempt.folder / "data", cache, said)
    assert (code, again[:-2]) == (0, found[:-2])  # a new pair of zips, unless both others were written in one second
    assert len(list(cache.glob("*.pt"))) == 2  # and its images are packed already


@fault(
    "an ingest is killed at a random point",
    "the next ingest gives the same images and leaves no partial file",
    tries=20,
)
def killed(attempt: Attempt) -> None:
    expected, cache, said = whole(attempt), attempt.folder / "cache", attempt.folder / "said"
    pictures = sum(len(drawings(part)) for part in (0, 1))
    size = next((attempt.folder / "other").glob("*.pt")).stat().st_size
    early = attempt.chance.random() < 0.5
    death = partial(
        *((die_at_picture, 1 + int(attempt.share * pictures)) if early else (die_at_byte, int(attempt.share * size)))
    )
    code, _ = loaded(attempt.folder / "data", cache, said, death)
    assert code in (-signal.SIGKILL, -signal.SIGXFSZ), code
    code, found = loaded(attempt.folder / "data", cache, said)
    assert (code, found) == (0, f"{expected} 2")
    packed = {path.name for path in cache.iterdir() if not path.name.startswith("omniglot-of-")}
    assert packed == {PACK, "omniglot-28-nearest.lock"}


def die_at_picture(number: int) -> None:
    calls, decode = count(1), raw.decode

    def watched(path: Path, name: str, data: bytes):
        if next(calls) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return decode(path, name, data)

    raw.decode = watched


def truncated(root: Path, share: float) -> str:
    path = root / f"{ONE}.zip"
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    return f"{path} cannot be read as a zip"


def swapped(root: Path, share: float) -> str:
    one, two, aside = root / f"{ONE}.zip", root / f"{TWO}.zip", root / "aside"
    one.rename(aside), two.rename(one), aside.rename(two)
    return f"{one} holds {TWO}, not {ONE}"


def another(root: Path, share: float) -> str:
    write_zip(root / f"{ONE}.zip", {"cats/1.png": png(), "cats/2.png": png(1)})
    return f"{root}/{ONE}.zip holds no drawing of Omniglot's {ONE}"


def tree(root: Path, changes: dict[str, bytes | None]) -> None:
    (root / f"{ONE}.zip").unlink()
    write_tree(root, {name: data for name, data in (drawings(0) | changes).items() if data is not None})


def missing(root: Path, share: float) -> str:
    at = int(share * (len(drawings(0)) - 3))
    tree(root, dict.fromkeys(list(drawings(0))[at : at + 3]))
    return f"{root}/{ONE}: "


def foreign(root: Path, share: float) -> str:
    name = list(drawings(0))[int(share * len(drawings(0)))]
    tree(root, {name: b"GIF89a" + bytes(30)})
    return f"{root}/{ONE}: {name.removeprefix(ONE + '/')} is not a PNG picture"


def picture_bomb(root: Path, share: float) -> str:
    huge = png()[:16] + (50_000).to_bytes(4, "big") * 2 + png()[24:]  # the header claims 2.5 gigapixels
    write_zip(root / f"{ONE}.zip", drawings(0) | {FIRST: huge})
    return f"{root}/{ONE}.zip: {FIRST} is 50000x50000 pixels, not 105x105"


def zip_bomb(root: Path, share: float) -> str:
    write_zip(root / f"{ONE}.zip", drawings(0) | {FIRST: png() + bytes(10_000_000)})
    return f"{root}/{ONE}.zip: {FIRST} has more than 65536 bytes"


REFUSED = "one line names the file and the remedy; nothing is cached; the next run with intact archives succeeds"
DAMAGE = {
    "a truncated zip": truncated,
    "the two zips swapped": swapped,
    "another zip": another,
    "a tree with 3 pictures missing": missing,
    "a tree with a GIF among its PNGs": foreign,
    "a picture bomb": picture_bomb,
    "a zip bomb": zip_bomb,
}


@fault("bad data: {}", REFUSED, tries=10, over=DAMAGE)
def refused(attempt: Attempt, damage: str) -> None:
    expected, root, cache, said = (
        whole(attempt),
        attempt.folder / "data",
        attempt.folder / "cache",
        attempt.folder / "said",
    )
    line = DAMAGE[damage](root, attempt.share)
    code, told = loaded(root, cache, said)
    assert code == 1
    assert told.startswith(line), told
    assert "\n" not in told
    assert not list(cache.glob("*.pt"))
    shutil.rmtree(root)
    assert loaded(fake.write(root), cache, said) == (0, f"{expected} 2")


@fault("real Omniglot, bad: {}", "exit code 1; one line names the file; no run directory is created", tries=3, short=0,
       over=("a truncated zip", "the two zips swapped", "another zip", "a tree with 3 pictures missing"))  # fmt: skip
def real(attempt: Attempt, damage: str) -> None:
    home = omniglot_root()
    if home is None:
        raise SkipTest("Omniglot is not on this machine")
    root = attempt.folder / "data"
    root.mkdir()
    one, _ = (shutil.copy(raw.locate(part, home), root / f"{part.name}.zip") for part in raw.parts())
    if damage.startswith("a tree"):
        with zipfile.ZipFile(one) as archive:
            archive.extractall(root)
        one.unlink()
        for path in attempt.chance.sample(sorted((root / ONE).rglob("*.png")), 3):
            path.unlink()
    else:
        DAMAGE[damage](root, attempt.share)
    given = [value for value in OMNIGLOT if not value.startswith("data.root=")]
    done = run_fresh(
        "metabench", *given, f"data.root={root}", cwd=attempt.folder, env={"METABENCH_CACHE": str(attempt.folder)}
    )
    assert done.code == 1, done
    assert done.err.count("\n") == 1
    assert str(root) in done.err
    assert not (attempt.folder / "outputs").exists()
