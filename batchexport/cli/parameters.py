"""Types and completions of options and arguments, and the options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import click
from click.shell_completion import CompletionItem

from batchexport.cli.options import Decorator, option
from batchexport.config.values import parse_encoding
from batchexport.dialect import ALLOWED
from batchexport.errors import ConfigError

#: State files that are named where another was meant.
_MAX_NAMES = 5


#: Where the context keeps the job file that was given in the place of a state file.
JOB_FILE = "batchexport.job_file"


class StateFilePath(click.Path):
    """A state file that is there; a shell offers files that end in .state, and any where there is none."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, or the run in a database. Raises ConfigError for one that is not there, and names those
        beside it.
        """
        path = Path(os.fsdecode(value))
        if param is not None and (param.metavar or "").startswith("STATE"):
            from batchexport.cli.database import run_named

            if (run := run_named(os.fsdecode(value), os.environ)) is not None:
                return run
        if param is None or not (param.metavar or "").startswith("STATE") or path.exists():
            return super().convert(value, param, ctx)
        kind = "job file" if path.suffix.lower() == ".toml" else "state file"
        raise ConfigError(f"{path}: no such {kind}", hint=_what_is_there(path))

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
        return f"cannot read folder {folder}"
    where = "this folder" if folder == Path() else str(folder)
    if not names:
        return f"no state file in {where}; a run keeps it beside its list: volumes.csv, volumes.state"
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


class NewState(click.Path):
    """Where a run is, or will be, kept: a file, or a run in a database."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, or the address. Raises ConfigError for an address that is none."""
        text = os.fsdecode(value)
        if text.startswith(("postgresql:", "postgres:")):
            from batchexport.store import stores

            return stores.reference(text)
        return super().convert(value, param, ctx)


class StateOrJob(StateFilePath):
    """A state file, or a job file, which stands for the newest state file of its own."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path of the state file; the job file is kept for whoever asks for its settings."""
        found = super().convert(value, param, ctx)
        if isinstance(found, Path) and found.suffix.lower() != ".toml":
            return found
        path = Path(os.fsdecode(found))
        if path.suffix.lower() != ".toml":
            return path
        from batchexport.app.run_config import newest_state_of

        if ctx is not None:
            ctx.meta[JOB_FILE] = path
        return newest_state_of(path)


class StateJobOrDatabase(StateOrJob):
    """A state file, a job file, a run in a database, or the database itself."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path of the state file, the run, or the database. Raises ConfigError as the others do."""
        text = os.fsdecode(value)
        if text.startswith(("postgresql:", "postgres:")):
            from batchexport.store import stores

            if stores.is_folder_of_runs(found := stores.reference(text)):
                return found
        return super().convert(value, param, ctx)


STATE_OR_JOB = StateOrJob(exists=True, dir_okay=False, path_type=Path)
STATE_JOB_OR_DATABASE = StateJobOrDatabase(exists=True, dir_okay=False, path_type=Path)
FILE = click.Path(dir_okay=False, path_type=Path)
NEW_STATE = NewState(dir_okay=False, path_type=Path)
STATE_FILE = StateFilePath(exists=True, dir_okay=False, path_type=Path)


class Parsed(click.ParamType[Any]):
    """An option type made from a function that raises ValueError or ConfigError for what it cannot read."""

    def __init__(self, name: str, parse: Callable[[str], Any]) -> None:
        self.name = name
        self._parse = parse

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The value as the function reads it; what is no longer a text was read before."""
        try:
            return self._parse(value) if isinstance(value, str) else value
        except (ValueError, ConfigError) as error:
            self.fail(str(error), param, ctx)


class ParsedEach(Parsed):
    """The type of an option that may be repeated; in its variable, values have semicolons between them."""

    envvar_list_splitter: ClassVar[str] = ";"


def choice(*names: str, among: str, **attributes: Any) -> Decorator:
    """An option whose value is one of the ALLOWED words for `among`."""
    return option(*names, type=click.Choice(ALLOWED[among]), **attributes)


def form_option(*forms: str, of: str, help: str = "Output format.") -> Decorator:
    """`--format` of a command, one of these; the first is the default."""
    return option(
        "-f",
        "--format",
        "form",
        type=click.Choice(forms),
        default=forms[0],
        show_default=True,
        help=help,
        of=of,
    )


encoding_option = option(
    "--encoding",
    type=Parsed("encoding", parse_encoding),
    metavar="NAME",
    show_default="utf-8, or utf-16 with a byte order mark",
    help="Encoding of the list, such as gb18030 or cp1252; never guessed.",
)
dialect_option = choice(
    "--dialect",
    among="dialect",
    show_default="detected at sign-in",
    help="Dialect of the block storage API.",
)
