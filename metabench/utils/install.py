"""The pip command for an extra, by where this program itself came from: a checkout, git, a file or PyPI."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

CHECKOUT = Path(__file__).resolve().parents[2]


def pip_install(extra: str) -> str:
    """The command that adds `metabench[extra]` to this installation."""
    origin = _origin()
    url = str(origin.get("url", ""))
    if "dir_info" in origin:
        path = unquote(urlsplit(url).path)
        editable = "-e " if origin["dir_info"].get("editable") else ""
        return f'pip install {editable}"{path}[{extra}]"'
    if "vcs_info" in origin:
        commit = origin["vcs_info"].get("commit_id")
        return f'pip install "metabench[{extra}] @ {origin["vcs_info"]["vcs"]}+{url}{f"@{commit}" if commit else ""}"'
    if url:
        return f'pip install "metabench[{extra}] @ {url}"'
    if (CHECKOUT / "pyproject.toml").is_file():  # run from a checkout that was never installed
        return f'pip install -e "{CHECKOUT}[{extra}]"'
    return f'pip install "metabench[{extra}]"'


def _origin() -> dict[str, Any]:
    """The place that pip got the program from, by PEP 610; empty for a release, or a copy that pip does not know."""
    from importlib.metadata import PackageNotFoundError, distribution

    try:
        found = json.loads(distribution("metabench").read_text("direct_url.json") or "{}")
    except (PackageNotFoundError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
