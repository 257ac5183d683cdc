"""Few-shot episodes of images in a folder: a user's own, or a published set that is placed there."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Literal, Unpack

import torch
from pydantic import Field
from torch import Tensor

from metabench.config.types import Count, Folder, Number, Positive, Section
from metabench.data.few_shot import TURNS, Episodes, FewShotImages, classes_of_one
from metabench.data.images.augment import Augment
from metabench.data.images.bank import ImageSet
from metabench.data.images.decode import square
from metabench.data.images.ingest import Filter, data_folder, speak
from metabench.data.images.listing import Class, Holdout, Listing, SplitFiles, list_images
from metabench.data.images.pack import Preparation, load_images
from metabench.errors import ConfigError, DataError, MissingDataError
from metabench.tasks import SPLITS, Examples, SplitName
from metabench.utils.paths import cache_folder, expanded

if TYPE_CHECKING:
    from PIL.Image import Image

NAMED = 5  # classes, or endings of file names, in a message
_AUGMENT = 16  # first stream of random numbers; those of the support set, of the query set and of sequences are below


class Normalise(Section):
    """Pixels in 0..1 become (x - mean) / std, per channel."""

    mean: Annotated[list[Number], Field(min_length=1, max_length=3)]
    std: Annotated[list[Positive], Field(min_length=1, max_length=3)]


class Size(Section):
    """Number of classes and of images in a split; null where it is not known."""

    classes: Count
    images: Count | None


class Expected(Section):
    """A published set: its name, and what it holds."""

    name: Folder
    train: Size
    validation: Size
    test: Size


class ImageFolder(FewShotImages):
    """Episodes of images whose classes may differ in number of images.

    Where `expected` says what a published set holds, that is checked, and its spec is known before its files are there.
    """

    def __init__(
        self,
        seed: int,
        device: torch.device,
        *,
        root: Folder | None,
        split_files: SplitFiles | None,
        images: Folder | None,
        holdout: Holdout | None,
        expected: Expected | None,
        small_classes: Literal["skip", "refuse"],
        size: Annotated[int, Field(ge=8, le=512)],
        channels: Literal[1, 3],
        resize: Filter,
        fit: Literal["stretch", "crop"],
        normalise: Normalise | None,
        augment: Augment | None,
        memory: Positive,
        **episodes: Unpack[Episodes],
    ) -> None:
        self.root, self.split_files, self.images, self.holdout = root, split_files, images, holdout
        self.expected, self.refuse, self.memory = expected, small_classes == "refuse", memory
        self.prepared = Preparation(size, channels, resize, fit)
        self.normalise, self.augment = normalise, augment
        if normalise is not None:
            for name, values in normalise.model_dump().items():
                if len(values) not in (1, channels):
                    wanted = "one number" if channels == 1 else f"1 or {channels} numbers"
                    raise ConfigError(f"data.normalise.{name}", values, f"should have {wanted}")
            self.mean, self.std = (
                torch.tensor(values, device=device)[:, None, None] for values in (normalise.mean, normalise.std)
            )
        if augment is not None and augment.crop > size:
            raise ConfigError("data.augment.crop", augment.crop, f"at most data.size, {size}")
        train = episodes["train"]
        self.needed: dict[SplitName, int] = dict.fromkeys(SPLITS, episodes["shots"] + episodes["queries"])
        self.needed["train"] = train.shots + train.queries
        self.listing: Listing | None = None
        if expected is None:
            self.listing = _listing(root, split_files, images, holdout, None)
            counts = {split: len(self._kept(self.listing, split)) for split in SPLITS}
            self._check_ways(counts, dict.fromkeys(SPLITS, episodes["ways"]) | {"train": train.ways}, episodes)
        else:
            counts = {split: getattr(expected, split).classes for split in SPLITS}
        super().__init__(
            seed,
            device,
            size=size,
            channels=channels,
            drawings=max(self.needed.values()),  # every class that is kept has as many as its split needs
            characters={split: [_number(split, i) for i in range(counts[split])] for split in SPLITS},
            read=self._load,
            **episodes,
        )

    @classmethod
    def named(cls, **arguments: Any) -> str | None:
        """The digest of splits, classes and file names of a user's own images; a published set is named already."""
        if arguments["expected"] is not None:
            return None
        keys = ("root", "split_files", "images", "holdout", "expected")
        return _listing(*(arguments[key] for key in keys)).digest()[:16]

    def class_names(self, split: SplitName) -> frozenset[str]:
        """See `TaskSource`; of published sets the bare names, as several are made of ImageNet or CIFAR-100.

        A class of one's own goes by its folder, whichever folder above it is the root.
        """
        if self.expected is None:
            assert self.listing is not None
            return frozenset(str(one.folder.resolve()) for one in self.listing.splits[split])
        listing = self.listing or _listing(self.root, self.split_files, self.images, self.holdout, self.expected)
        return frozenset(one.name for one in listing.splits[split])

    def _kept(self, listing: Listing, split: SplitName) -> list[Class]:
        """The classes with images enough for an episode."""
        return [one for one in listing.splits[split] if len(one.files) >= self.needed[split]]

    def _check_ways(self, counts: Mapping[SplitName, int], ways: Mapping[SplitName, int], episodes: Any) -> None:
        rotations = episodes["rotations"]
        turned = dict.fromkeys(SPLITS, rotations) | {"train": episodes["train"].rotations or rotations}
        for split in reversed(SPLITS):
            each = classes_of_one(turned[split], split)
            if counts[split] * each < ways[split]:
                key = "data.train.ways" if split == "train" else "data.ways"
                enough = f"classes of the {split} split with at least {self.needed[split]} images (shots + queries)"
                times = f", each turned {each} ways," if each > 1 else ""
                valid = f"at most {counts[split] * each}, the {enough}{times} in {self.root}"
                raise ConfigError(key, ways[split], valid)

    def _load(self) -> ImageSet:
        """Check the files and the memory, then read the images; classes that are too small are named and left out."""
        listing = self.listing
        if listing is None:
            assert self.expected is not None
            listing = _listing(self.root, self.split_files, self.images, self.holdout, self.expected)
            _check_expected(listing, self.expected)
        _report_left_out(listing)
        for split in SPLITS:
            self._report_small(listing, split)
        self._check_memory(sum(1 for _ in listing.paths()))
        found = load_images(listing, self.prepared, cache_folder(), speak)
        numbers = {
            f"{split}/{one.name}": _number(split, i)
            for split in SPLITS
            for i, one in enumerate(self._kept(listing, split))
        }
        return found._replace(names=[numbers.get(name, "") for name in found.names])

    def _report_small(self, listing: Listing, split: SplitName) -> None:
        kept = {one.name for one in self._kept(listing, split)}
        small = [f"{one.name} ({len(one.files)})" for one in listing.splits[split] if one.name not in kept]
        if not small:
            return
        which = ", ".join(small[:NAMED]) + (", …" if len(small) > NAMED else "")
        said = f"{len(small)} of {len(listing.splits[split])} classes of the {split} split"
        too_few = f"fewer than {self.needed[split]} images (shots + queries): {which}"
        if self.refuse or self.expected is not None:
            skip = "" if self.expected is not None else ", or set data.small_classes=skip"
            raise DataError(f"{listing.root}: {said} have {too_few}; ask for fewer{skip}")
        speak(f"warning: {listing.root}: left out {said}, with {too_few}")

    def _check_memory(self, count: int) -> None:
        """Refuse, before a file is read, images that take more memory than is granted."""
        size, channels = self.prepared.size, self.prepared.channels
        turns = 1 if set(self.turned.values()) == {"none"} else TURNS
        needed = count * channels * size * size * turns / 1e9
        if needed > self.memory:
            each = f"{size}x{size} {'grey' if channels == 1 else 'RGB'}{' in four rotations' if turns > 1 else ''}"
            raise ConfigError(
                "data.memory",
                self.memory,
                f"{count:,} images of {each} take {needed:.3g} GB, in memory and on the device: "
                "allow so much, or choose a smaller data.size",
            )

    def _inputs(self, part: Examples, keys: Tensor, split: SplitName, stream: int) -> Examples:
        """Training images changed at random, all images normalised."""
        x = part.x
        if split == "train" and self.augment is not None:
            x = self.augment(x, keys, _AUGMENT + stream)
        return Examples(x if self.normalise is None else (x - self.mean) / self.std, part.y)

    def prepare(self, picture: Image) -> Tensor:
        """See `TaskSource`."""
        wanted = self.prepared
        try:
            image = square(picture, size=wanted.size, channels=wanted.channels, resize=wanted.resize, fit=wanted.fit)
        except ValueError as fault:
            raise DataError(f"a picture of mode {picture.mode}: {fault}") from None
        x = torch.from_numpy(image.copy()).float().div_(255)
        return x if self.normalise is None else (x - self.mean.cpu()) / self.std.cpu()

    def pixels(self, x: Tensor) -> Tensor:
        """Colours of inputs, in 0..1: RGB also for grey images, which are photographs and no ink."""
        if self.normalise is not None:
            x = (x * self.std.to(x.device) + self.mean.to(x.device)).clamp(0, 1)
        return x.expand(*x.shape[:-3], 3, *x.shape[-2:])

    def card(self) -> dict[str, Any]:
        """The set by name and content, and how images become inputs."""
        drawings = super().card()  # reads the images: what is wrong with them is said first
        normalise = {} if self.normalise is None else {"normalise": self.normalise.model_dump()}
        return {
            "source": self.expected.name if self.expected else "images",
            "channels": self.prepared.channels,
            "resize": self.prepared.resize,
            "fit": self.prepared.fit,
            **normalise,
            **drawings,
        }

    def training_card(self) -> dict[str, Any]:
        """Random changes to training images."""
        return {**super().training_card(), **({} if self.augment is None else {"augment": self.augment.model_dump()})}


def _report_left_out(listing: Listing) -> None:
    """Name the files that are in no class, or no images by their names, such as formats that Pillow does not read."""
    ends = Counter(path.suffix.lower() or "without a suffix" for path in listing.left_out())
    if ends:
        which = ", ".join(f"{count:,} {end}" for end, count in ends.most_common(NAMED))
        more = ", …" if len(ends) > NAMED else ""
        speak(f"warning: {listing.root}: left out files of no class or of another kind than images: {which}{more}")


def _number(split: SplitName, number: int) -> str:
    return f"{split}/{number}"


def _listing(
    root: str | None, files: SplitFiles | None, images: str | None, holdout: Holdout | None, expected: Expected | None
) -> Listing:
    """The files in `root`, else of a published set in the folder of its name where data lies."""
    if root is not None:
        place = expanded(root)
    elif expected is not None:
        place = data_folder() / expected.name
    else:
        raise ConfigError("data.root", None, "name the folder of your images: a folder per class, or split files")
    try:
        return list_images(place, files, images, holdout)
    except MissingDataError as fault:
        if expected is None:
            if not place.is_dir():
                raise ConfigError("data.root", root, "no such directory; name the folder of your images") from None
            raise
        hint = "" if root is not None else ", or name another folder with data.root= or METABENCH_DATA"
        raise MissingDataError(
            f"{expected.name} is not in {place} ({str(fault).removeprefix(f'{place}: ')}): place it there as the "
            f"comments of its conf/data file say{hint}"
        ) from None


def _check_expected(listing: Listing, expected: Expected) -> None:
    """Raise `DataError` where a split has not the classes or the images of the published set."""
    for split in SPLITS:
        size: Size = getattr(expected, split)
        classes, images = len(listing.splits[split]), sum(len(one.files) for one in listing.splits[split])
        if classes != size.classes or size.images not in (None, images):
            wanted = f"{size.classes} classes" + ("" if size.images is None else f" and {size.images:,} images")
            raise DataError(
                f"{listing.root}: the {split} split of {expected.name} has {wanted}; here are {classes} classes and "
                f"{images:,} images: replace it with a complete copy, or name another folder with data.root="
            )
