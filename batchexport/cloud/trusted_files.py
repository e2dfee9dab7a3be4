"""Whether the files that say where a password goes can have been put there by somebody else.

openstacksdk takes a clouds.yaml of the current folder before that of the home, and joins it with whatever
secure.yaml it finds. Whoever may write into a job's folder could name an address, and be sent the password.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from batchexport.errors import ConfigError


def notes_on(config_file: str | None, secure_file: str | None) -> tuple[str, ...]:
    """What to warn of, a line for each. Raises ConfigError rather than join secrets with a foreign file."""
    notes = []
    for path in filter(None, (config_file, secure_file)):
        if (reason := why_foreign(Path(path))) is not None:
            notes.append(f"{path} {reason}: it says where the password goes, and may be somebody else's")
    if (
        config_file
        and secure_file
        and _is_planted(config_file)
        and not _same_folder(config_file, secure_file)
    ):
        raise ConfigError(
            f"{config_file} {why_foreign(Path(config_file))}; secrets of {secure_file} do not go there",
            hint="take that file away, make it yours alone (chown, chmod go-w), or name the one that is meant"
            " in OS_CLIENT_CONFIG_FILE",
        )
    return tuple(notes)


def why_foreign(path: Path) -> str | None:
    """Why a file can be somebody else's work, as the end of a sentence; None = only ours or the system's."""
    try:
        file, folder = path.stat(), path.absolute().parent.stat()
    except OSError:
        return None
    ours = (0, os.geteuid())
    if file.st_uid not in ours:
        return f"belongs to another user ({file.st_uid})"
    if file.st_mode & stat.S_IWOTH:
        return "may be written by everybody"
    if folder.st_uid not in ours:
        return f"is in a folder of another user ({folder.st_uid})"
    if folder.st_mode & stat.S_IWOTH and not folder.st_mode & stat.S_ISVTX:
        return "is in a folder where everybody may write"
    return None


def _is_planted(config_file: str) -> bool:
    """Whether a foreign file was found because it lies in the current folder: nobody named it."""
    named = os.environ.get("OS_CLIENT_CONFIG_FILE") == config_file
    here = Path(config_file).absolute().parent == Path.cwd()
    return here and not named and why_foreign(Path(config_file)) is not None


def _same_folder(one: str, other: str) -> bool:
    return Path(one).absolute().parent == Path(other).absolute().parent
