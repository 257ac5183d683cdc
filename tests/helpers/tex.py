"""LaTeX, where it is installed: what a table says once it is set."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

HEAD = r"\documentclass{article}\usepackage[utf8]{inputenc}\usepackage{booktabs,siunitx,graphicx}\begin{document}"
needs_latex = pytest.mark.skipif(shutil.which("pdflatex") is None, reason="needs pdflatex")


def set_in_latex(tables: str, folder: Path) -> str:
    """Set the tables on pages; the log, in which `Overfull` is what LaTeX says of what does not fit."""
    (folder / "page.tex").write_text("\n".join([HEAD, tables, r"\end{document}"]))
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "page.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-2000:]
    return done.stdout
