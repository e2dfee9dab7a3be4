"""What is wrong with clouds.yaml or secure.yaml: openstacksdk passes over what it cannot read or parse."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from batchexport.cloud.envelopes import fold
from batchexport.errors import ConfigError


def misshapen(cloud: str | None) -> ConfigError:
    """The error for a file that is YAML, but of another shape."""
    entry = f" or its entry {cloud!r}" if cloud else ""
    return ConfigError(
        f"clouds.yaml{entry} has not the right shape",
        hint="it holds `clouds:`, below it the name of each cloud, and below that its `auth:`",
    )


def unreadable(path: Path) -> ConfigError | None:
    """Why this file is not read; None = it is not there, or nothing is wrong with it.

    One that `OS_CLIENT_CONFIG_FILE` or `OS_CLIENT_SECURE_FILE` names is told of also where it is not there.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return _not_there(path)
    except OSError as error:
        return ConfigError(
            f"{path} cannot be read: {error.strerror}",
            hint="let this user read it, or name another file in OS_CLIENT_CONFIG_FILE",
        )
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return ConfigError(f"{path} is not UTF-8", hint="save it as UTF-8")
    return slip(path, content)


def slip(path: Path, content: bytes) -> ConfigError | None:
    """The error for what is not YAML, or not JSON where the name says so; None = it is."""
    import json

    import yaml

    try:
        if path.suffix == ".json":
            json.loads(content)
        else:
            yaml.safe_load(content)
    except yaml.YAMLError as error:
        return _no_yaml(path, error)
    except ValueError as error:
        return ConfigError(
            f"{path}: not JSON: {fold(str(error))}", hint="check the quotes and brackets there"
        )
    return None


def _not_there(path: Path) -> ConfigError | None:
    for variable in ("OS_CLIENT_CONFIG_FILE", "OS_CLIENT_SECURE_FILE"):
        if os.environ.get(variable) == str(path):
            tilde = "; ~ is not expanded there" if str(path).startswith("~") else ""
            return ConfigError(
                f"{variable} names {path}, which is not there{tilde}",
                hint="correct the path, or unset it and name the cloud: --os-cloud, or OS_AUTH_URL and so on",
            )
    return None


def _no_yaml(path: Path, error: Any) -> ConfigError:
    """The error for a file that cannot be parsed, with its place where the parser tells it."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = f"{path}, line {mark.line + 1}" if mark is not None else str(path)
    problem = fold(getattr(error, "problem", None) or str(error))
    return ConfigError(f"{place}: not YAML: {problem}", hint="check the indents, quotes and brackets there")
