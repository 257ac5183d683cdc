"""The build backend: setuptools', with editable installs that come before folders of the same name.

Setuptools appends the finder of an editable install to the end of `sys.meta_path`, where Python asks it last. A folder
called `metabench` in the working directory (the clone itself, for one who stands beside it) is a namespace package to
Python's own finder, so that `python -m metabench`, torchrun and the workers of a launcher would import the folder.
"""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403 -- the other hooks are as they are

PATH_FILE = "__metabench_editable.pth"  # Python reads it after setuptools' own, `__editable__.metabench-….pth`
FIRST = (
    "import sys; "
    "sys.meta_path.sort(key=lambda f: not getattr(f, '__module__', '').startswith('__editable___metabench_'))\n"
)


def build_editable(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """Build the wheel of an editable install, which puts its finder first; the wheel's name."""
    name = build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
    wheel = Path(wheel_directory, name)
    with zipfile.ZipFile(wheel) as before:
        files = {info: before.read(info) for info in before.infolist()}
    digest = base64.urlsafe_b64encode(hashlib.sha256(FIRST.encode()).digest()).rstrip(b"=").decode()
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as after:
        after.writestr(PATH_FILE, FIRST)
        for info, content in files.items():
            if info.filename.endswith(".dist-info/RECORD"):
                content += f"{PATH_FILE},sha256={digest},{len(FIRST)}\n".encode()
            after.writestr(info, content)
    return name
