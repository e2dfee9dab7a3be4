"""What is wrong with clouds.yaml, for openstacksdk passes over a file that it cannot parse."""

from __future__ import annotations

import os
from collections.abc import Iterable
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


def slip(files: Iterable[str]) -> ConfigError | None:
    """The error for the first of these files that is there and not YAML; None = there is none such.

    `files` are those of openstacksdk; the one that `OS_CLIENT_CONFIG_FILE` names comes before them.
    """
    import yaml

    for path in map(Path, filter(None, (os.environ.get("OS_CLIENT_CONFIG_FILE"), *files))):
        if path.suffix not in (".yaml", ".yml"):
            continue
        try:
            yaml.safe_load(path.read_bytes())
        except OSError:
            continue
        except yaml.YAMLError as error:
            return _no_yaml(path, error)
    return None


def _no_yaml(path: Path, error: Any) -> ConfigError:
    """The error for a file that cannot be parsed, with its place where the parser tells it."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    place = f"{path}, line {mark.line + 1}" if mark is not None else str(path)
    problem = fold(getattr(error, "problem", None) or str(error))
    return ConfigError(f"{place}: not YAML: {problem}", hint="check the indents, quotes and brackets there")
