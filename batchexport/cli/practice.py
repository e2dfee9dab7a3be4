"""The practice cloud: `--os-cloud sandbox` without any cloud of that name starts one inside the command."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from batchexport.dialect import DialectName
from batchexport.errors import ConfigError

NAME = "sandbox"
#: It speaks both; this one takes every value of the document that the job list follows.
DIALECT = DialectName.EVS


def is_wanted(clouds: Collection[str | None]) -> bool:
    """Whether these clouds of a run ask for the practice cloud.

    Raises ConfigError where it stands beside a real one: empty images must not mix with real ones.
    """
    if NAME not in clouds or NAME in _defined_clouds():
        return False
    if others := sorted(str(cloud or "the default cloud") for cloud in clouds if cloud != NAME):
        raise ConfigError(
            f"the run asks for the practice cloud {NAME!r} and for {', '.join(others)}",
            hint=f"run them apart, or define a cloud {NAME!r} in clouds.yaml",
        )
    return True


def journal_path(state_path: Path) -> Path:
    """Where the practice cloud of a state file remembers what it accepted."""
    return state_path.with_name(state_path.name + ".sandbox")


@asynccontextmanager
async def practice_cloud(journal: Path) -> AsyncIterator[None]:
    """A running practice cloud, and the one cloud that can be signed in to while the context lasts.

    Any volume that it is asked for exists. What `journal` remembers is there again.
    """
    from batchexport.sandbox import SandboxSettings, clouds_yaml, serve

    async with serve(SandboxSettings(journal=journal)) as sandbox:
        with _only_cloud(clouds_yaml(sandbox.url)):
            yield


@contextmanager
def _only_cloud(text: str) -> Iterator[None]:
    with TemporaryDirectory(prefix="batchexport-") as folder:
        clouds_file = Path(folder, "clouds.yaml")
        clouds_file.write_text(text, encoding="utf-8")
        # A proxy would look for 127.0.0.1 on its own machine.
        direct = dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1")
        with environment({"OS_CLIENT_CONFIG_FILE": str(clouds_file), **direct}):
            yield


@contextmanager
def environment(changes: Mapping[str, str]) -> Iterator[None]:
    """These environment variables while the context lasts, and the former ones afterwards."""
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _defined_clouds() -> list[str]:
    from openstack.config import OpenStackConfig
    from openstack.exceptions import ConfigException

    try:
        names: list[str] = OpenStackConfig().get_cloud_names()
    except ConfigException as error:
        raise ConfigError(f"clouds.yaml cannot be used: {error}") from error
    return names
