"""Part of an editable install: a folder called `metabench` that is no package does not hide the program.

Setuptools asks its finder of editable installs last. Without this, such a folder in the working directory (the clone
itself, for one who stands beside it) is a namespace package to Python's own finder, and `python -m metabench`, torchrun
and the workers of a launcher import the folder. A package that lies on the path still comes first, as ever.
"""

import sys
from importlib.machinery import ModuleSpec, PathFinder
from typing import Any


class BeforeFolders:
    """A finder for `sys.meta_path`."""

    @staticmethod
    def find_spec(name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:
        """Find the program where the path has no package of its name."""
        if name != "metabench":
            return None
        found = PathFinder.find_spec(name)
        if found is not None and found.origin is not None:
            return None
        finders = [f for f in sys.meta_path if getattr(f, "__module__", "").startswith("__editable___metabench_")]
        return finders[0].find_spec(name, None) if finders else None


sys.meta_path.insert(0, BeforeFolders)  # type: ignore[arg-type]
