"""Looks at servers and at copies of their volumes: what each remembers, and when it begins anew."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from batchexport.config import ServerStops, Settings
from batchexport.engine.decide import deadline_s
from batchexport.engine.steps.server_copies import LAG_S, LOOK_AGAIN_S, Copies
from batchexport.engine.steps.server_witness import LOOK_AGAIN_S as NEXT_TRY_S
from batchexport.engine.steps.server_witness import Witness
from batchexport.errors import TransientError
from batchexport.model import NO_OPTIONS, ExportRequest, Job, JobState, Server, Volume
from batchexport.store import JobWithResources
from tests.engine.fast_time import run_fast

REQUEST = ExportRequest(volume_id="v1", image_name="n", options=NO_OPTIONS)
JOB = Job(job_id=1, volume_id="v1", image_name="n", options=NO_OPTIONS)
ROW = JobWithResources(job=JOB, state=JobState.SUBMITTING, held=False, needs=("a",))
RUNS = Server(server_id="a", status="active", volume_ids=("v1",))
OFF = Server(server_id="a", status="shutoff", volume_ids=("v1",))


class Cloud:
    """Answers with what it is told to."""

    def __init__(self) -> None:
        self.volume: Volume | Exception = Volume(volume_id="v1", status="in-use", server_ids=("a",))
        self.server = OFF

    @property
    def block_storage(self) -> Any:
        return self

    compute = block_storage

    async def get_volume(self, volume_id: str) -> Volume:
        if isinstance(self.volume, Exception):
            raise self.volume
        return self.volume

    async def get_server(self, server_id: str) -> Server:
        return self.server


class Ledger:
    """What a witness reads and tells."""

    def __init__(self) -> None:
        self.sending: set[int] = set()
        self.disturbed: dict[int, str] = {}
        self.told: list[str] = []

    def now(self) -> float:
        return 0.0

    def snooze(self, job: Job, ending: None, *, after_s: float) -> None:
        self.told.append("snoozed")

    def finish(self, *args: Any) -> None:
        self.told.append("failed")


def witness(cloud: Cloud, ledger: Ledger, *, patience_s: float = 40.0) -> Witness:
    async def seen_free(server_ids: set[str], at_s: float) -> None:
        pass

    work: Any = SimpleNamespace(servers=SimpleNamespace(runs=seen_free))
    settings = Settings(server_stops=ServerStops(stop_timeout_s=patience_s))
    return Witness(cloud, work, ledger, settings)  # type: ignore[arg-type]


@pytest.mark.parametrize(("sending", "disturbed"), [({1}, {}), (set(), {1: "a"})])
def test_a_job_whose_request_has_no_response_yet_is_not_being_copied(
    sending: set[int], disturbed: dict[int, str]
) -> None:
    """Its servers are looked at right before it is sent, and again when it is accepted."""
    ledger = Ledger()
    ledger.sending = sending
    run_fast(witness(Cloud(), ledger).watch([ROW], {"a": RUNS}, ours={"a"}))
    assert ledger.disturbed == disturbed


def test_a_volume_that_could_be_read_again_has_all_the_time_anew() -> None:
    cloud, ledger = Cloud(), Ledger()
    seen = cloud.volume

    async def go() -> None:
        looking = witness(cloud, ledger)
        for volume in (TransientError("busy"), seen, TransientError("busy"), TransientError("busy")):
            cloud.volume = volume
            ledger.told.append("cleared" if await looking.cleared(JOB, REQUEST) else "not")
            await asyncio.sleep(2 * NEXT_TRY_S)

    run_fast(go())
    assert "failed" not in ledger.told


def copies(cloud: Cloud) -> Copies:
    return Copies(cloud, SimpleNamespace(), own=frozenset({"v1"}))  # type: ignore[arg-type]


UPLOADING = Volume(volume_id="v1", status="uploading", size_gib=1)
FREE = Volume(volume_id="v1", status="in-use")


def test_a_second_copy_of_a_volume_is_waited_for_as_long_as_the_first() -> None:
    """Two volumes: the other one keeps the server off while this one is free for a moment."""
    cloud = Cloud()
    other = Volume(volume_id="v2", status="uploading", size_gib=1000)
    now: dict[str, Volume] = {"v2": other}

    async def get_volume(volume_id: str) -> Volume:
        return now[volume_id]

    cloud.get_volume = get_volume  # type: ignore[method-assign]
    server = Server(server_id="a", status="shutoff", volume_ids=("v1", "v2"))

    async def go() -> list[bool]:
        looking = copies(cloud)
        free: list[bool] = []
        for volume in (UPLOADING, FREE, UPLOADING):
            now["v1"] = volume
            if volume is UPLOADING and free:
                now["v2"] = FREE
            free.append(bool(await looking.free(["a"], {"a": server})))
            await asyncio.sleep(0.7 * LAG_S)
        return free

    assert run_fast(go()) == [False, False, False]


def test_only_a_server_that_is_off_is_kept_by_a_copy() -> None:
    """One that runs has nothing to be started under, and waits for nothing."""
    cloud = Cloud()
    cloud.volume = UPLOADING
    assert run_fast(copies(cloud).free(["a"], {"a": RUNS})) == ["a"]
    assert run_fast(copies(cloud).free(["a"], {"a": OFF})) == []


def test_a_server_that_is_kept_is_not_looked_at_all_the_time() -> None:
    cloud = Cloud()
    cloud.volume = UPLOADING
    looks = 0
    truly = cloud.get_volume

    async def counted(volume_id: str) -> Volume:
        nonlocal looks
        looks += 1
        return await truly(volume_id)

    cloud.get_volume = counted  # type: ignore[method-assign]

    async def go() -> None:
        looking = copies(cloud)
        for _ in range(4):
            await looking.free(["a"], {"a": OFF})
            await asyncio.sleep(LOOK_AGAIN_S / 2)

    run_fast(go())
    assert looks == 2


class Volumes:
    """Some volumes, each of which may be unreadable; one that is not named is not there."""

    def __init__(self, **volumes: Volume | Exception) -> None:
        self.now = volumes
        self.reads = 0

    @property
    def block_storage(self) -> Any:
        return self

    async def get_volume(self, volume_id: str) -> Volume | None:
        self.reads += 1
        found = self.now.get(volume_id)
        if isinstance(found, Exception):
            raise found
        return found


def off(server_id: str, *volume_ids: str) -> Server:
    return Server(server_id=server_id, status="shutoff", volume_ids=volume_ids)


def looking_at(volumes: Volumes, *, own: tuple[str, ...] = ()) -> Copies:
    return Copies(volumes, SimpleNamespace(), own=frozenset(own))  # type: ignore[arg-type]


def copied(volume_id: str, size_gib: int = 1) -> Volume:
    return Volume(volume_id=volume_id, status="uploading", size_gib=size_gib)


def test_one_server_that_is_kept_off_keeps_no_other() -> None:
    servers = {
        "kept": off("kept", "v1"),
        "bare": off("bare"),
        "done": off("done", "v2", "gone"),
        "untold": Server(server_id="untold", status="shutoff", volume_ids=None),
    }
    volumes = Volumes(v1=copied("v1"), v2=Volume(volume_id="v2", status="in-use"))
    looking = looking_at(volumes)

    async def go() -> None:
        for _ in range(2):  # the second time the kept one is not looked at
            free = await looking.free(["missing", *servers], servers)
            assert free == ["missing", "bare", "done", "untold"]
        assert looking.busy.keys() == {"kept"}
        assert "is being copied by somebody else" in looking.busy["kept"]

    run_fast(go())


@pytest.mark.parametrize(
    ("volume", "own", "bound_s", "words"),
    [
        (copied("v1"), ("v1",), LAG_S, "is still being copied; it is started then, or in 2 min"),
        (copied("v1"), (), deadline_s(1, None), "by somebody else; it is started then, or in 60 min"),
        (TransientError("busy"), (), LAG_S, "cannot be read (busy)"),
    ],
)
def test_no_copy_keeps_a_server_off_for_longer_than_its_bound(
    volume: Volume | Exception, own: tuple[str, ...], bound_s: float, words: str
) -> None:
    looking = looking_at(Volumes(v1=volume), own=own)
    servers = {"a": off("a", "v1")}

    async def go() -> None:
        assert await looking.free(["a"], servers) == []
        assert words in looking.busy["a"]
        await asyncio.sleep(bound_s - 1)
        assert await looking.free(["a"], servers) == []
        await asyncio.sleep(LOOK_AGAIN_S)
        assert await looking.free(["a"], servers) == ["a"]
        assert not looking.busy
        # It was started: what it waits for another time is counted anew.
        assert await looking.free(["a"], servers) == []

    run_fast(go())


def test_a_server_that_is_forgotten_leaves_the_times_of_others_alone() -> None:
    looking = looking_at(Volumes(v1=copied("v1")), own=("v1",))
    servers = {"a": off("a", "v1"), "b": off("b", "v1")}

    async def go() -> list[str]:
        await looking.free(["a", "b"], servers)
        await asyncio.sleep(LAG_S)
        looking.forget("a")
        return await looking.free(["a", "b"], servers)

    assert run_fast(go()) == ["b"]
