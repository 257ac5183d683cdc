"""The one look of all pictures, in matplotlib's settings."""

from __future__ import annotations

from typing import Any


def look(ink: str, axis: str, label: str, grid: str) -> dict[str, Any]:
    """Settings with these colours: of text, of the axes' lines, of their labels, and of the grid."""
    return {
        "font.family": "DejaVu Sans",  # comes with matplotlib
        "font.size": 9.0,
        "text.color": ink,
        "axes.labelcolor": label,
        "axes.edgecolor": axis,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.axisbelow": True,
        "grid.color": grid,
        "grid.linewidth": 0.7,
        "xtick.color": axis,
        "ytick.color": axis,
        "xtick.labelcolor": label,
        "ytick.labelcolor": label,
        "lines.solid_capstyle": "round",
        "legend.frameon": False,
        "legend.handlelength": 1.8,
        "legend.columnspacing": 1.5,
        "pdf.fonttype": 42,  # letters stay letters
        "svg.hashsalt": "metabench",  # names inside an SVG are the same every time
    }
