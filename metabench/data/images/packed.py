"""The image cache: one file per prepared image set and content, complete or absent, written by one process at a time.

    omniglot-28-nearest-d94dbe2639b9.pt   images of one size, through one filter, from raw images with that digest
    omniglot-of-3b1f0c55d2a7e914.json     the digest of the images in the raw files with that fingerprint

A pack is found by the content of the raw files, never by their place: two roots with the same images share it, and two
roots with different images cannot.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from metabench.data.images.bank import ImageBank
from metabench.errors import DataError, UserError
from metabench.utils.files import DamagedError, load_tensors, read_json, save_tensors, write_json
from metabench.utils.lock import Lock

Say = Callable[[str], None]
Found = TypeVar("Found")

_FORMAT = "metabench image bank 2"  # a new number when what is packed changes; older files are then written anew
_SHORT = 12  # digits of a digest in a file's name


class ImageCache:
    """The packs of one preparation, `name`, in a cache folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder, self.name = folder, name

    def path(self, digest: str) -> Path:
        """The file of the images whose raw form has this digest."""
        return self.folder / f"{self.name}-{digest[:_SHORT]}.pt"

    def digests(self) -> list[str]:
        """The digests, shortened, of the packs that there are; sorted."""
        return sorted(path.stem[-_SHORT:] for path in self.folder.glob(f"{self.name}-{'[0-9a-f]' * _SHORT}.pt"))

    def read(self, digest: str, say: Say | None = None) -> ImageBank | None:
        """The pack of that digest, or None when it is absent, damaged or foreign; `say` hears of the latter two."""
        path = self.path(digest)
        if not path.is_file():
            return None
        try:
            content = load_tensors(path)
            bank = ImageBank(content["images"], content["names"], content["digest"])
            if (content.get("format"), content.get("name")) == (_FORMAT, path.name) and bank.digest.startswith(digest):
                return bank
            reason = "it is another file's content"
        except (DamagedError, KeyError, AttributeError, TypeError) as fault:
            reason = str(fault).removeprefix(f"{path}: ")
        if say:
            say(f"{path} is damaged ({reason}); packing it again")
        return None

    def write(self, bank: ImageBank) -> None:
        """Write the pack of `bank`. The caller is the `only_writer`."""
        path = self.path(bank.digest)
        try:
            save_tensors(path, {**bank._asdict(), "format": _FORMAT, "name": path.name})
        except UserError as fault:
            raise self._unwritable(str(fault)) from None

    def found_or_made(
        self, find: Callable[[Say | None], Found | None], make: Callable[[], Found | None], say: Say
    ) -> Found | None:
        """Images that `find` finds in the cache, else those that `make` reads and packs.

        Of processes that start at once one makes them, and the others find what it made. `find` is given `say` where
        damage should be said.
        """
        found = find(None)
        if found is None:
            with self.only_writer(say):
                found = find(say)
                if found is None:
                    found = make()
        return found

    def digest_of(self, fingerprint: str) -> str | None:
        """The digest of the images in raw files with that fingerprint, if they were read before."""
        try:
            return str(read_json(self._record(fingerprint))["digest"])
        except (DamagedError, KeyError, TypeError):
            return None

    def remember(self, fingerprint: str, digest: str) -> None:
        """Record that raw files with that fingerprint hold the images of that digest."""
        try:
            write_json(self._record(fingerprint), {"digest": digest})
        except UserError as fault:
            raise self._unwritable(str(fault)) from None

    @contextmanager
    def only_writer(self, say: Say) -> Iterator[None]:
        """Hold the lock of this preparation, waiting for another process. Raises DataError for a read-only folder."""
        place = self.folder / self.name
        lock = Lock(place.with_name(f"{self.name}.lock"), self._unwritable)
        lock.acquire(lambda: say(f"waiting for the process that is writing {place}"))
        try:
            yield
        finally:
            lock.release()

    def _record(self, fingerprint: str) -> Path:
        source = self.name.partition("-")[0]
        return self.folder / f"{source}-of-{hashlib.sha256(fingerprint.encode()).hexdigest()[:16]}.json"

    def _unwritable(self, reason: str) -> DataError:
        return DataError(
            f"the cache directory {self.folder} cannot be written ({reason}): set METABENCH_CACHE to one that can"
        )
