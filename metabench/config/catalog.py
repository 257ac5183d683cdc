"""What there is to choose from: every config with the one line that opens its file."""

from __future__ import annotations

from pathlib import Path

GROUPS = {
    "algo": "algorithms",
    "data": "data sets",
    "backbone": "backbones",
    "optim": "outer optimisers",
    "device": "devices",
    "experiment": "experiments",
    "bench": "boards",
    "suite": "lists of tests",
    "budget": "lengths of a run",
}


def entries(group: str, folders: list[Path]) -> dict[str, str]:
    """Name and description of each config of `group` in `folders`; of two with one name the first folder's."""
    found: dict[str, str] = {}
    for folder in folders:
        root = folder / group
        for path in sorted(root.rglob("*.yaml")):
            name = path.relative_to(root).with_suffix("").as_posix()
            if path.is_file() and not path.name.startswith("_"):
                found.setdefault(name, description(path))
    return dict(sorted(found.items()))


def description(path: Path) -> str:
    """The first comment of a config that is not a directive to Hydra."""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        if not line.startswith("#"):
            break
        text = line.lstrip("# ").strip()
        if text and not text.startswith("@package"):
            return text
    return ""


def folders(config_dir: str | None) -> list[Path]:
    """Where configs are: the user's folder first, then the program's."""
    import metabench.conf

    return [*([Path(config_dir)] if config_dir else []), *map(Path, metabench.conf.__path__)]
