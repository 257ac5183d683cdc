"""`experiment=glob(omniglot/maml*)`: Hydra's glob of a sweep, over the folders below a group as well."""

from __future__ import annotations

from functools import wraps

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.object_type import ObjectType


def glob_subfolders() -> None:
    """From now on Hydra lists the choices of a group with those of its folders, as a command line names them."""
    of_folder = ConfigLoaderImpl.get_group_options

    @wraps(of_folder)
    def of_all(
        loader: ConfigLoaderImpl,
        group_name: str,
        results_filter: ObjectType | None = ObjectType.CONFIG,
        config_name: str | None = None,
        overrides: list[str] | None = None,
    ) -> list[str]:
        def listed(group: str, kind: ObjectType | None) -> list[str]:
            return of_folder(loader, group, kind, config_name, overrides)

        found = listed(group_name, results_filter)
        if results_filter == ObjectType.CONFIG:
            folders = listed(group_name, ObjectType.GROUP)
            found += [f"{folder}/{name}" for folder in folders for name in of_all(loader, f"{group_name}/{folder}")]
        return sorted(found)

    ConfigLoaderImpl.get_group_options = of_all  # type: ignore[assignment, method-assign]
