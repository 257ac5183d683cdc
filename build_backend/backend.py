"""The build backend: setuptools', whose editable installs get `_metabench_editable` as well."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403 -- the other hooks are as they are

MODULE = Path(__file__).with_name("_metabench_editable.py")
ADDED = {MODULE.name: MODULE.read_bytes(), "__metabench_editable.pth": f"import {MODULE.stem}\n".encode()}


def build_editable(wheel_directory: str, config_settings: Any = None, metadata_directory: str | None = None) -> str:
    """Build the wheel of an editable install and add the finder to it; the wheel's name."""
    name = build_meta.build_editable(wheel_directory, config_settings, metadata_directory)
    wheel = Path(wheel_directory, name)
    with zipfile.ZipFile(wheel) as before:
        files = {info: before.read(info) for info in before.infolist()}
    with zipfile.ZipFile(wheel, "w", zipfile.ZIP_DEFLATED) as after:
        for added, content in ADDED.items():
            after.writestr(added, content)
        for info, content in files.items():
            if info.filename.endswith(".dist-info/RECORD"):
                content += "".join(f"{added},{_digest(ADDED[added])}\n" for added in ADDED).encode()
            after.writestr(info, content)
    return name


def _digest(content: bytes) -> str:
    """The digest and the size of a file, as RECORD has them."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"sha256={digest},{len(content)}"
