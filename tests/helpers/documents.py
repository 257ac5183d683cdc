"""The documents of the repository: their links, the paths they name, and the commands and files they show."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from paths import ROOT
from PIL import Image, ImageDraw

DOCUMENTS = sorted(
    path
    for pattern in ("*.md", "docs/*.md", "conf/*.md", "outputs/*.md", ".github/**/*.md")
    for path in ROOT.glob(pattern)
)
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_FILE = re.compile(r"`([\w./-]+\.(?:py|yaml))`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_SPAN = re.compile(r"`([^`]+)`")
_LINK = re.compile(r"\]\(([^)\s]+)\)")
PROGRAMS = ("metabench", "torchrun", "python", "pip", "pytest", "pdoc", "ruff", "mypy")


@dataclass(frozen=True)
class Command:
    """A command as a document shows it; `words` without a variable of the environment before it."""

    document: Path
    text: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.document.relative_to(ROOT)}: {self.text}"


def links(document: Path) -> list[str]:
    """Targets of links and pictures that lie in the repository, less their anchors."""
    found = [target.partition("#")[0] for target in _LINK.findall(prose(document))]
    return [target for target in found if target and "://" not in target]


def prose(document: Path) -> str:
    """The text of a document less its code blocks."""
    return _BLOCK.sub("", document.read_text(encoding="utf-8"))


def blocks(document: Path, language: str) -> list[str]:
    """The code blocks of one language."""
    return [text for kind, text in _BLOCK.findall(document.read_text(encoding="utf-8")) if kind == language]


def files(document: Path) -> dict[str, str]:
    """The files that a document tells a reader to write: a path in backquotes with a colon, then a block."""
    return dict(_FILE.findall(document.read_text(encoding="utf-8")))


def write_methods(folder: Path) -> Path:
    """In `folder` the files of docs/adding_a_method.md, and the method of the README as `algo=mine`."""
    (code,) = [block for block in blocks(ROOT / "README.md", "python") if "import" in block]
    mine = {"my_package.py": code, "my_configs/algo/mine.yaml": "# class means\n_target_: my_package.ClassMeans\n"}
    for path, text in {**files(ROOT / "docs/adding_a_method.md"), **mine}.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(text)
    return folder


def write_images(folder: Path) -> Path:
    """In `folder` the images that the documents name: `letters`, with a folder for each of three classes, and `new`."""
    paths = [*(f"letters/{name}/{i}.png" for name in "abc" for i in (1, 2)), "new/1.png", "new/2.png"]
    for number, path in enumerate(paths):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        image = Image.new("L", (60, 40 + number), 255)
        ImageDraw.Draw(image).line((5, 5, 5 + 6 * number, 35), fill=0, width=3)
        image.save(folder / path)
    return folder


def commands(document: Path) -> list[Command]:
    """Commands in `sh` blocks, in their order, then those in backquotes in the text."""
    lines = [line for block in blocks(document, "sh") for line in block.splitlines()]
    spans = [" ".join(span.split()) for span in _SPAN.findall(prose(document))]
    shown = [*lines, *(span for span in spans if span.split(" ")[0] in PROGRAMS and " " in span)]
    return [command for line in shown for command in _parsed(document, line)]


def _parsed(document: Path, line: str) -> list[Command]:
    found = []
    for part in line.split("&&"):
        words = shlex.split(part, comments=True)
        text = " ".join(words)
        while words and re.fullmatch(r"[A-Z_]+=.*", words[0]):
            words = words[1:]
        if words and words[-1] == "…":
            words = words[:-1]
        if words:
            found.append(Command(document, text, tuple(words)))
    return found
