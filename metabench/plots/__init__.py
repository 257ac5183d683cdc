"""The pictures of a run, for people: how it learned, what it predicts, what each inner step or instance brings.

Predictions are drawn for validation tasks; of the test split only the figures of the finished test are shown.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from matplotlib import style
from matplotlib.figure import Figure

from metabench.algo.base import Algorithm
from metabench.data.base import TaskSource
from metabench.data.curves import Curves
from metabench.figures.files import PRINT, picture_bytes
from metabench.plots.curves import along_axis, learning_curve
from metabench.plots.episode import episodes
from metabench.plots.fits import fits
from metabench.plots.rounds import rounds
from metabench.plots.samples import samples
from metabench.plots.sequence import stream
from metabench.plots.theme import DPI, STYLE
from metabench.utils.files import write_bytes


def draw_run(
    folder: Path,
    algo: Algorithm,
    source: TaskSource,
    records: list[dict[str, Any]],
    test: dict[str, Any],
    others: dict[str, list[dict[str, Any]]] | None = None,
) -> list[Path]:
    """Write every picture that fits the run into `folder` and return their paths; the model is left as it was.

    `records` are the lines of metrics.jsonl, `test` is the entry of that name in summary.json, and `others` are those
    of other runs on the same online stream, by name. The same run gives the same bytes: files carry no date, and the
    look does not depend on the user's matplotlib settings.
    """
    paths = []
    with looks():
        for name, picture in _pictures(algo, source, records, test, others or {}):
            paths.append(folder / f"{name}.png")
            write(picture, paths[-1], colours=64, dpi=DPI)
    return paths


def looks() -> AbstractContextManager[None]:
    """Within it pictures have the look of the program, whatever the user's settings; to draw and to write in."""
    return style.context(STYLE, after_reset=True)


def write(picture: Figure, path: Path, colours: int = 256, dpi: int = PRINT) -> None:
    """Put the picture at `path`, by its suffix as PNG, SVG or PDF; the same picture gives the same bytes."""
    write_bytes(path, picture_bytes(picture, path.suffix, dpi, colours))


def _pictures(
    algo: Algorithm,
    source: TaskSource,
    records: list[dict[str, Any]],
    test: dict[str, Any],
    others: dict[str, list[dict[str, Any]]],
) -> Iterator[tuple[str, Figure]]:
    if "online" in test:
        yield "rounds", rounds({type(algo).__name__: [test], **others})
        if isinstance(source, Curves):
            yield "fits", fits(algo, source)
        return
    if records:
        yield "learning_curve", learning_curve(records, algo)
    if isinstance(source, Curves):
        yield "fits", fits(algo, source)
    if source.spec.objective != "mse" and len(source.spec.input_shape) == 3:
        streaming = source.spec.setting == "sequence"
        yield ("stream", stream(algo, source)) if streaming else ("episode", episodes(algo, source))
        made = samples(algo, source)
        if made is not None:
            yield "samples", made
    if len(test["per_step"]) > 1:
        yield algo.axis.picture, along_axis(test["per_step"], algo)
