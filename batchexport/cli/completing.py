"""What a shell offers for a word that is begun: lists, state files, clouds."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from batchexport.errors import ConfigError

#: State files that are named where another was meant.
_MAX_NAMES = 5


class StateFilePath(click.Path):
    """A state file that is there; a shell offers files that end in .state, and any where there is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path. Raises ConfigError for a state file that is not there, and names those beside it."""
        path = Path(os.fsdecode(value))
        if param is None or not (param.metavar or "").startswith("STATE") or path.exists():
            return super().convert(value, param, ctx)
        kind = "job file" if path.suffix.lower() == ".toml" else "state file"
        raise ConfigError(f"{path}: there is no such {kind}", hint=_what_is_there(path))

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The state files in the folder of the word, or whatever file the shell finds."""
        folder = incomplete[: incomplete.rfind("/") + 1]
        try:
            names = sorted(os.listdir(folder or "."))  # noqa: PTH208 - a shell wants the words as begun
        except OSError:
            names = []
        found = [folder + name for name in names if name.endswith((".state", ".toml"))]
        fitting = [CompletionItem(path) for path in found if path.startswith(incomplete)]
        return fitting or [CompletionItem(incomplete, type="file")]


def _what_is_there(path: Path) -> str:
    """The state files in the folder of a path that names none."""
    folder = path.parent
    try:
        names = sorted(each.name for each in folder.iterdir() if each.name.endswith(".state"))
    except OSError:
        return f"there is no folder {folder} that can be read"
    where = "this folder" if folder == Path() else str(folder)
    if not names:
        return (
            f"there is no state file in {where}; a run keeps it beside its list: volumes.csv, volumes.state"
        )
    more = f" and {len(names) - _MAX_NAMES} more" if len(names) > _MAX_NAMES else ""
    return f"state files in {where}: {', '.join(names[:_MAX_NAMES])}{more}"


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Any file, as the shell finds it."""
    return [CompletionItem(incomplete, type="file")]


def clouds(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """The clouds of clouds.yaml, and the practice cloud."""
    return [CompletionItem(name) for name in _cloud_names() if name.startswith(incomplete)]


def _cloud_names() -> list[str]:
    for path in _clouds_files():
        try:
            content: Any = _yaml(path)
        except (OSError, ValueError):
            continue
        listed = content.get("clouds") if isinstance(content, dict) else None
        if isinstance(listed, dict):
            return sorted({*map(str, listed), "sandbox"})
    return ["sandbox"]


def _yaml(path: Path) -> object:
    import yaml

    try:
        return yaml.safe_load(path.read_bytes())
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _clouds_files() -> list[Path]:
    """Where the openstack client looks, in its order."""
    named = os.environ.get("OS_CLIENT_CONFIG_FILE")
    folders = [Path(), Path(os.environ.get("HOME") or "/") / ".config/openstack", Path("/etc/openstack")]
    files = [folder / f"clouds.{suffix}" for folder in folders for suffix in ("yaml", "yml")]
    return [Path(named), *files] if named else files
