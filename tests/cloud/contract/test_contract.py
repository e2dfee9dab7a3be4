"""The cases on the real client with the sandbox, as OpenStack and as EVS, and on every fake of the tests.

`tests/openstack/test_contract.py` runs them on a real OpenStack. Stubs that answer by script, such as those
of the tests of pruning, are no clouds, and not among these.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from batchexport.cloud import connect
from batchexport.cloud.http.rate_limiter import RateLimiter
from batchexport.config import CloudSettings, Limits
from batchexport.model import TargetKey
from batchexport.sandbox import (
    Faults,
    Profile,
    SandboxServer,
    SandboxSettings,
    SandboxVolume,
    clouds_yaml,
    serve,
)
from tests.cloud.contract import copy_cases
from tests.cloud.contract.cases import CASES, NEEDS_FAILURES, NEEDS_SERVERS, Case
from tests.cloud.contract.site import MISSING, Site
from tests.counting.counted import PagedCloud
from tests.engine.fake_cloud import FakeCloud
from tests.engine.fake_copies import CopyCloud
from tests.engine.fake_servers import Machine, ServedCloud
from tests.engine.fast_time import fast_now, run_fast
from tests.engine.full_stack import live_by_virtual_time, now

# openstacksdk warns about an option of its own, whether it is used or not.
pytestmark = pytest.mark.filterwarnings("ignore::PendingDeprecationWarning:openstack")

VOLUMES = [f"0b9f7d0c-0000-4000-8000-00000000000{number}" for number in range(3)]
IN_USE = "0b9f7d0c-0000-4000-8000-00000000000a"
SERVERS = [f"7d1f7d0c-0000-4000-8000-00000000000{number}" for number in range(2)]

Open = Callable[..., AbstractAsyncContextManager[Site]]


class Client:
    """The real client on a sandbox of this profile."""

    def __init__(self, profile: Profile, cloud: str = "sandbox") -> None:
        self._profile, self._cloud = profile, cloud

    @asynccontextmanager
    async def __call__(
        self, folder: Path, monkeypatch: pytest.MonkeyPatch, *, fails: bool
    ) -> AsyncIterator[Site]:
        live_by_virtual_time(monkeypatch, lambda: False)
        monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(folder / "clouds.yaml"))
        settings = SandboxSettings(
            profile=self._profile,
            volumes=[SandboxVolume(volume_id=each, name=each[-1]) for each in [*VOLUMES, IN_USE]],
            servers=[
                SandboxServer(server_id=SERVERS[0], name="s0", volume_ids=[IN_USE]),
                SandboxServer(server_id=SERVERS[1], name="s1"),
            ],
            synthetic_volumes=False,
            time_scale=1.0,
            stopped_servers_only=self._profile is Profile.EVS,
            faults=Faults(fail_share=1.0) if fails else Faults(),
        )
        async with serve(settings, now=now) as sandbox:
            (folder / "clouds.yaml").write_text(clouds_yaml(sandbox.url, self._profile))
            limiter = RateLimiter(0.0, clock=fast_now)
            access = CloudSettings(cloud=self._cloud)
            async with connect(TargetKey(), access, limits=Limits(), limiter=limiter) as cloud:
                yield Site(
                    cloud=cloud,
                    volumes=VOLUMES,
                    name="contract",
                    servers=SERVERS,
                    in_use=IN_USE,
                    failing=VOLUMES[0],
                )


def in_memory(make: Callable[..., Any], *, servers: bool = False) -> Open:
    """A fake that `make` returns, with a volume whose exports fail where that is asked for."""

    @asynccontextmanager
    async def opened(folder: Path, monkeypatch: pytest.MonkeyPatch, *, fails: bool) -> AsyncIterator[Site]:
        yield Site(
            cloud=make(statuses={MISSING: None}, faults={VOLUMES[0]: ["fails"]} if fails else {}),
            volumes=VOLUMES,
            name="contract",
            servers=SERVERS if servers else (),
            in_use=IN_USE if servers else None,
            failing=VOLUMES[0],
        )

    return opened


def copied(**options: Any) -> CopyCloud:
    return CopyCloud({}, **options)


def served(**options: Any) -> ServedCloud:
    return ServedCloud({IN_USE: [SERVERS[0]]}, machines={SERVERS[1]: Machine()}, **options)


WITH_COPIES: dict[str, Open] = {
    "client, OpenStack": Client(Profile.CINDER),
    "client, EVS": Client(Profile.EVS),
    "fake with copies": in_memory(copied),
}
WITH_SERVERS: dict[str, Open] = {
    "client, OpenStack": Client(Profile.CINDER),
    "client, EVS": Client(Profile.EVS),
    "client, EVS by key": Client(Profile.EVS, "sandbox-key"),
    "fake with servers": in_memory(served, servers=True),
}
CLOUDS: dict[str, Open] = WITH_SERVERS | {
    "fake with copies": in_memory(copied),
    "fake": in_memory(FakeCloud),
    "fake with pages": in_memory(PagedCloud),
}


def named(cases: Sequence[Case]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.__name__)


@pytest.fixture(autouse=True)
def no_cloud_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in ("OS_CLOUD", "http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    yield


def run(opened: AbstractAsyncContextManager[Site], case: Case) -> None:
    async def go() -> None:
        async with opened as site:
            await case(site)

    run_fast(go())


@pytest.mark.parametrize("cloud", CLOUDS)
@named(CASES)
def test_every_cloud(cloud: str, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(CLOUDS[cloud](tmp_path, monkeypatch, fails=False), case)


@pytest.mark.parametrize("cloud", CLOUDS)
@named(NEEDS_FAILURES)
def test_failed_exports(cloud: str, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(CLOUDS[cloud](tmp_path, monkeypatch, fails=True), case)


@pytest.mark.parametrize("cloud", WITH_SERVERS)
@named(NEEDS_SERVERS)
def test_servers(cloud: str, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(WITH_SERVERS[cloud](tmp_path, monkeypatch, fails=False), case)


#: Cases for clients alone: in the fake, to delete what it did not make for us is an error of the test.
FOR_CLIENTS = (
    copy_cases.an_image_id_chosen_beforehand_is_that_of_the_image_and_cannot_be_used_again,
    copy_cases.what_is_not_there_is_none_and_cannot_be_deleted_nor_copied,
    copy_cases.a_volume_being_exported_takes_no_snapshot_and_is_not_deleted,
    copy_cases.a_volume_with_a_snapshot_is_not_deleted,
    copy_cases.a_volume_in_use_is_copied_while_its_server_runs,
)
FOR_ALL = [case for case in copy_cases.COPY_CASES if case not in FOR_CLIENTS]


@pytest.mark.parametrize("cloud", WITH_COPIES)
@named(FOR_ALL)
def test_copies(cloud: str, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(WITH_COPIES[cloud](tmp_path, monkeypatch, fails=False), case)


@pytest.mark.parametrize("cloud", [name for name in WITH_COPIES if name in WITH_SERVERS])
@named(FOR_CLIENTS)
def test_copies_by_clients(cloud: str, case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(WITH_COPIES[cloud](tmp_path, monkeypatch, fails=False), case)
