"""The embedded sandbox: `--os-cloud sandbox` without a cloud of that name starts one inside the process."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection, Iterator
from contextlib import AsyncExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Self

from batchexport.config import CloudSettings
from batchexport.dialect import DialectName
from batchexport.errors import ConfigError
from batchexport.store import StoreRef, stores

if TYPE_CHECKING:
    from batchexport.sandbox import Weather

NAME = "sandbox"
#: It speaks both; this one takes every value of the document that the job list follows.
DIALECT = DialectName.EVS

#: What goes wrong in the sandbox that this context starts; None = nothing.
WEATHER: ContextVar[Weather | None] = ContextVar("WEATHER", default=None)

#: As many as the sample list has.
LISTED_VOLUMES = 12


def is_wanted(clouds: Collection[str | None]) -> bool:
    """Whether these clouds of a run ask for the sandbox.

    Raises ConfigError where it stands beside a real one: empty images must not mix with real ones.
    """
    if NAME not in clouds or NAME in defined_clouds():
        for cloud in clouds:
            check_weather(cloud)
        return False
    if others := sorted(str(cloud or "the default cloud") for cloud in clouds if cloud != NAME):
        raise ConfigError(
            f"the run asks for the sandbox {NAME!r} and for {', '.join(others)}",
            hint=f"run them apart, or define a cloud {NAME!r} in clouds.yaml",
        )
    return True


def check_weather(cloud: str | None) -> None:
    """Raise ConfigError where weather was asked for, and so a rehearsal, but this cloud is no sandbox."""
    if WEATHER.get() is None or (cloud == NAME and NAME not in defined_clouds()):
        return
    entry = ", an entry of clouds.yaml" if cloud == NAME else ""
    raise ConfigError(
        f"--weather is for the sandbox, and the run asks for {cloud or 'the default cloud'}{entry}",
        hint=f"rehearse with --os-cloud {NAME}, or leave out --weather (BATCHEXPORT_WEATHER); nothing was"
        " started",
    )


def check_defined(clouds: Collection[str | None]) -> None:
    """Raise ConfigError for a cloud that rows name and clouds.yaml does not define."""
    named = {cloud for cloud in clouds if cloud and cloud != NAME}
    if named and (unknown := sorted(named - set(defined := defined_clouds()))):
        known = ", ".join(defined) or "none"
        raise ConfigError(
            f"cloud {unknown[0]!r}, named in the list, is not in clouds.yaml; known clouds: {known}",
            hint="correct the list or clouds.yaml; nothing was started",
        )


def journal_path(state_path: StoreRef) -> Path:
    """Where the sandbox of a state file remembers what it accepted."""
    return stores.companion(state_path, ".sandbox")


class EmbeddedSandbox:
    """A sandbox that runs from its first use to the end of the context.

    Any volume that it is asked for exists, and some are listed, so that `discover` finds them. What its
    journal remembers is there again. Several may run in one process, each for its own state file.
    """

    def __init__(self, journal: Path) -> None:
        self._journal = journal
        self._running = AsyncExitStack()
        self._start = asyncio.Lock()
        self._clouds_file: Path | None = None  # until it runs

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *ending: Any) -> None:
        await self._running.aclose()

    async def access_to(self, access: CloudSettings) -> CloudSettings:
        """How to sign in to it where `access` asked for it. Starts it, unless it runs.

        Nothing that describes another cloud is left in it: a rehearsal must not reach that one.
        """
        from batchexport.app.sandbox import made_up_volumes
        from batchexport.sandbox import SandboxSettings, Weather, clouds_yaml, serve

        async with self._start:
            if self._clouds_file is None:
                weather = WEATHER.get() or Weather()
                listed = made_up_volumes(LISTED_VOLUMES)
                serving = serve(SandboxSettings(journal=self._journal, weather=weather, volumes=listed))
                sandbox = await self._running.enter_async_context(serving)
                self._running.enter_context(_without_proxy())
                folder = self._running.enter_context(TemporaryDirectory(prefix="batchexport-"))
                self._clouds_file = Path(folder, "clouds.yaml")
                self._clouds_file.write_text(clouds_yaml(sandbox.url), encoding="utf-8")
        return replace(access, dialect=access.dialect or DIALECT, options={}, clouds_file=self._clouds_file)


_without_proxy_count = 0  #: sandboxes that run
_before: dict[str, str | None] = {}


@contextmanager
def _without_proxy() -> Iterator[None]:
    """No proxy for 127.0.0.1 while a sandbox runs: it would look for it on its own machine."""
    global _without_proxy_count
    if not _without_proxy_count:
        for name in ("NO_PROXY", "no_proxy"):
            _before[name] = os.environ.get(name)
            if _before[name] != "*":
                os.environ[name] = ",".join(filter(None, (_before[name], "127.0.0.1")))
    _without_proxy_count += 1
    try:
        yield
    finally:
        _without_proxy_count -= 1
        if not _without_proxy_count:
            for name, value in _before.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


def defined_clouds() -> list[str]:
    """The clouds of clouds.yaml. Raises ConfigError where a file cannot be read that may define one."""
    from openstack.exceptions import ConfigException

    from batchexport.cloud.auth.client_config import ClientConfig, capture_warnings

    try:
        with capture_warnings():
            config = ClientConfig()
        names = [str(name) for name in config.get_cloud_names()]
    except (ConfigException, AttributeError, TypeError) as error:  # the last two: of another shape
        raise ConfigError(f"clouds.yaml cannot be used: {error}") from error
    if NAME not in names and config.ignored_files:
        raise config.ignored_files[0]
    return names
