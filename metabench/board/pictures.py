"""The two pictures of a board: results against training cost with the Pareto front, and the rank diagram."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from matplotlib import style
from matplotlib.colors import to_rgb, to_rgba_array
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.text import Annotation, Text
from matplotlib.ticker import FixedLocator, FuncFormatter

from metabench.board.leaderboard import Board
from metabench.board.ranks import cliques, critical_difference, mean_ranks
from metabench.figures.files import picture_bytes
from metabench.figures.labels import label_points
from metabench.figures.palette import PALETTE
from metabench.report.charts import COLOURS, INK, LOOK, MUTED, TIMES, VARIABLES, as_svg, scale_metric, time_text

ON_PAPER = dict(zip(VARIABLES.values(), ("#222222", "#5d6875", "#e3e7ec", "#ffffff", *PALETTE), strict=True))
SIZE, LETTERS = (7.6, 4.6), 8  # inches, points
UNTRAINED = 4  # the place of methods without training is this many times left of the cheapest


def figures(board: Board) -> dict[str, Figure]:
    """The pictures of a board by title, in colours that stand for a page's; none of fewer than two methods."""
    found = {}
    first = board.columns[0].title
    with style.context(LOOK, after_reset=True):
        if len([row for row in board.rows if first in row.cells]) > 1:
            found[f"{first} against training cost, with the Pareto front"] = cost(board)
        if len(board.compared) > 1:
            title = f"mean ranks over the test tasks of {first}, with Nemenyi's critical difference"
            found[title] = rank_diagram(board)
    return found


def as_element(figure: Figure, title: str) -> str:
    """The picture as an SVG element in the colours of a page."""
    with style.context(LOOK, after_reset=True):
        return as_svg(figure, title)


def as_file(figure: Figure, title: str, suffix: str) -> bytes:
    """The picture as a file of its own, on white: .svg, .pdf or .png."""
    with style.context(LOOK, after_reset=True):
        if suffix != ".svg":
            put_on_paper(figure)
            return picture_bytes(figure, suffix)
        svg = as_svg(figure, title)
    for variable, colour in ON_PAPER.items():
        svg = svg.replace(variable, colour)
    head = '<svg xmlns="http://www.w3.org/2000/svg" font-family="DejaVu Sans, sans-serif" style="background: #ffffff" '
    return (svg.replace("<svg ", head, 1) + "\n").encode()


def put_on_paper(figure: Figure) -> None:
    """Replace the colours that stand for a page's variables by those of paper, throughout a picture."""
    figure.draw_without_rendering()  # all ticks are there
    colours = {to_rgb(stands): to_rgb(ON_PAPER[variable]) for stands, variable in VARIABLES.items()}
    for artist in (*figure.findobj(), *(text.arrow_patch for text in figure.findobj(Annotation) if text.arrow_patch)):
        one = isinstance(artist, (Line2D, Text))
        names = ("color", "markerfacecolor", "markeredgecolor") if one else ("facecolor", "edgecolor")
        for name in (name for name in names if hasattr(artist, f"get_{name}")):
            found = to_rgba_array(getattr(artist, f"get_{name}")())
            changed = [(*colours.get(tuple(rgb), rgb), alpha) for *rgb, alpha in found.tolist()]
            if changed:
                getattr(artist, f"set_{name}")(changed[0] if len(changed) == 1 else changed)
    figure.patch.set(facecolor="white", alpha=1)


def front(points: Sequence[tuple[float, float]], highest: bool) -> list[int]:
    """The points of cost and result that none beats in both, by cost."""
    found: list[int] = []
    for i in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1] if highest else points[i][1])):
        if not found or (points[i][1] > points[found[-1]][1] if highest else points[i][1] < points[found[-1]][1]):
            found.append(i)
    return found


def cost(board: Board) -> Figure:
    """The first column against core seconds of training, of one seed."""
    rows = [row for row in board.rows if board.columns[0].title in row.cells]
    figure = Figure(figsize=SIZE, layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    highest = board.metric == "accuracy"
    seconds = [row.train_seconds for row in rows]
    trained = [value for value in seconds if value > 0] or [1.0]
    left = min(trained) / UNTRAINED
    x = [value or left for value in seconds]
    y = [(100 if highest else 1) * row.cells[board.columns[0].title].mean for row in rows]
    axes.scatter(x, y, color=COLOURS[0], s=26, zorder=3)
    best = front(list(zip(seconds, y, strict=True)), highest)
    axes.step([x[i] for i in best], [y[i] for i in best], where="post", color=COLOURS[1], linewidth=1.4, zorder=2)
    axes.set_xscale("log")
    axes.set_xlim(left / 1.5, 2 * max(*trained, 10 * left))
    shown = [time for time in TIMES if min(trained) / 2 <= time <= 2 * max(trained)]
    places = [*([left] if 0 in seconds else []), *shown[:: max(1, len(shown) // 6)]]
    axes.xaxis.set_major_locator(FixedLocator(places))
    axes.xaxis.minorticks_off()
    axes.xaxis.set_major_formatter(
        FuncFormatter(lambda value, _: "none" if 0 in seconds and np.isclose(value, left) else time_text(value))
    )
    axes.set_xlabel("core time of meta-training, of one seed")
    scale_metric(axes, board.metric, np.array(y), f"{board.columns[0].title}:")
    label_points(figure, axes, np.column_stack([x, y]), [row.name for row in rows], ink=INK, line=MUTED, size=LETTERS)
    return figure


def rank_diagram(board: Board) -> Figure:
    """Mean ranks over the test tasks (Demšar 2006, figure 1): bars join methods within the critical difference."""
    rows = board.compared
    values = np.array([row.values.mean(0) for row in rows if row.values is not None])
    ranks = mean_ranks(values, board.metric == "accuracy")
    distance = critical_difference(*values.shape)
    order = np.argsort(ranks, kind="stable")
    count, half = len(rows), (len(rows) + 1) // 2
    bars = cliques(sorted(ranks.tolist()), distance)
    depth = 0.9 + 0.35 * len(bars)
    figure = Figure(figsize=(SIZE[0], 0.9 + 0.2 * (half + depth)), layout="constrained")
    figure.patch.set_alpha(0)
    axes = figure.add_subplot()
    axes.set_axis_off()
    axes.set(xlim=(1 - 0.3 * count, count + 0.3 * count), ylim=(half + depth, -2.6))
    axes.plot([1, count], [0, 0], color=INK, linewidth=1)
    for tick in range(1, count + 1):
        axes.plot([tick, tick], [0, -0.25], color=INK, linewidth=1)
        axes.text(tick, -0.45, str(tick), ha="center", va="bottom", fontsize=LETTERS)
    axes.plot([1, 1 + distance], [-1.8, -1.8], color=INK, linewidth=2)
    axes.text(1 + distance + 0.1, -1.8, f"critical difference {distance:.2f}", va="center", fontsize=LETTERS)
    for place, (low, high) in enumerate(bars):
        y = 0.4 + 0.35 * place
        axes.plot([low - 0.04, high + 0.04], [y, y], color=COLOURS[1], linewidth=2.5)
    for place, i in enumerate(order):
        first = place < half
        y = depth + (place if first else count - 1 - place)
        edge = 1 - 0.05 * count if first else count + 0.05 * count
        axes.plot([ranks[i], ranks[i], edge], [0, y, y], color=MUTED, linewidth=0.7)
        text = f"{rows[i].name} {ranks[i]:.2f}"
        side = "right" if first else "left"
        axes.text(edge + (-0.1 if first else 0.1), y, text, ha=side, va="center", fontsize=LETTERS, parse_math=False)
    return figure
