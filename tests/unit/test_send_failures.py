"""What a refusal, or a response that never came, says of one row and of all."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from msgspec.structs import replace

from batchexport.config import InUse, Settings
from batchexport.engine.send_failures import (
    FORBIDDEN_MAX,
    SIGN_INS_MAX,
    SIGN_INS_S,
    Forbidden,
    Refusals,
    SendFailures,
)
from batchexport.errors import (
    AuthenticationError,
    ForbiddenError,
    NotFoundError,
    OutcomeUnknownError,
    TransientError,
    UnreachableError,
    VolumeStateError,
)
from batchexport.model import NO_OPTIONS, Ending, ExportRequest, Job, JobState, Volume
from tests.engine.fast_time import run_fast

REFUSED = AuthenticationError("authentication required", method="POST", status=401)


def job(job_id: int) -> Job:
    return Job(job_id=job_id, volume_id=f"v{job_id}", image_name="n", options=NO_OPTIONS)


def test_while_other_requests_have_no_response_no_403_stops_the_run() -> None:
    refusals = Refusals()
    for number in range(FORBIDDEN_MAX + 1):
        assert refusals.forbidden(job(number), under_way=1) is Forbidden.LATER
    assert refusals.forbidden(job(99), under_way=0) is Forbidden.ALL


def stops_after(between: Any) -> bool:
    """Whether sign-ins refused over minutes stop the run, where `between` happens in their middle."""

    async def go() -> bool:
        refusals = Refusals()
        for number in range(2 * (SIGN_INS_MAX - 1)):
            if number == SIGN_INS_MAX - 1:
                between(refusals)
            if refusals.signed_out(REFUSED) is None:
                return True
            await asyncio.sleep(25.0)
        return False

    return run_fast(go())


def test_refused_sign_ins_count_only_in_a_row() -> None:
    assert stops_after(lambda refusals: None)
    assert not stops_after(lambda refusals: refusals.accepted())
    # A 403 was signed in to, too.
    assert not stops_after(lambda refusals: refusals.forbidden(job(1), under_way=1))


def test_an_accepted_request_begins_a_new_count_of_what_others_had_meanwhile() -> None:
    """Else the first lost response of its next attempt would count as an attempt, whatever the cloud did."""
    counted: list[bool] = []
    ledger = SimpleNamespace(
        mark_in_doubt=lambda _, counts_as_attempt=False, **__: counted.append(counts_as_attempt)
    )

    async def go() -> None:
        cloud: Any = SimpleNamespace()
        failures = SendFailures(cloud, ledger, Settings())  # type: ignore[arg-type]
        request = ExportRequest(volume_id="v1", image_name="n", options=NO_OPTIONS)
        lost = OutcomeUnknownError("connection reset")
        await failures.failed(job(1), request, lost, under_way=0)
        failures.accepted(job(2))
        await failures.failed(job(1), request, lost, under_way=0)  # others were accepted since
        failures.accepted(job(1))
        await failures.failed(job(1), request, lost, under_way=0)

    run_fast(go())
    assert counted == [False, True, False]


def test_sign_ins_that_were_refused_at_one_moment_or_only_thrice_stop_no_run() -> None:
    """Requests that were under way together are refused together, and say no more than one."""

    async def go() -> None:
        at_once, seldom = Refusals(), Refusals()
        assert all(at_once.signed_out(REFUSED) is not None for _ in range(4 * SIGN_INS_MAX))
        for _ in range(SIGN_INS_MAX - 1):
            assert seldom.signed_out(REFUSED) is not None
            await asyncio.sleep(SIGN_INS_S)
        assert seldom.signed_out(REFUSED) is None

    run_fast(go())


class Told:
    """Stands in for the ledger, and keeps what it was told of the last job."""

    def __init__(self) -> None:
        self.force_ignored: Ending | None = None
        self.doubt: dict[str, Any] | None = None
        self.state: JobState | None = None
        self.ending: Ending | None = None
        self.after_s: float | None = None
        self.is_held = False
        self.stopped_by: Exception | None = None

    def mark_in_doubt(self, _: Job, **doubt: Any) -> None:
        self.doubt = doubt

    def finish(self, _: Job, state: JobState, ending: Ending) -> None:
        self.state, self.ending = state, ending

    def snooze(self, _: Job, ending: Ending, *, after_s: float) -> None:
        self.ending, self.after_s = ending, after_s

    def hold_unsent(self, _: Job) -> None:
        self.is_held = True

    def stop(self, error: Exception) -> None:
        self.stopped_by = error


WRONG_STATUS = VolumeStateError("status must be available", status=400, code="badRequest")


async def refused(
    volume: Volume | Exception | None, error: Any = WRONG_STATUS, *, times: int = 1, **changed: Any
) -> Told:
    """What the ledger is told of a row whose request is refused so often, where its volume reads so."""
    told = Told()

    async def get_volume(_: str) -> Volume | None:
        if isinstance(volume, Exception):
            raise volume
        return volume

    cloud: Any = SimpleNamespace(block_storage=SimpleNamespace(get_volume=get_volume))
    settings = Settings(in_use=changed.get("in_use", InUse.FAIL))
    failures = SendFailures(cloud, told, settings)  # type: ignore[arg-type]
    options = NO_OPTIONS if changed.get("force") is None else replace(NO_OPTIONS, force=changed["force"])
    request = ExportRequest(volume_id=changed.get("volume_id", "v1"), image_name="n", options=options)
    for _ in range(times):
        await failures.failed(job(1), request, error, under_way=0)
    return told


@pytest.mark.parametrize(
    ("volume", "error"),
    [
        (None, NotFoundError("Volume v1 could not be found.", status=404)),
        (UnreachableError("no route"), WRONG_STATUS),
        (None, WRONG_STATUS),
        (Volume(volume_id="v1", status="available"), WRONG_STATUS),
        (Volume(volume_id="v1", status="uploading"), WRONG_STATUS),
    ],
)
def test_a_refusal_that_a_replica_may_have_made_up_is_settled_and_then_counts_as_an_attempt(
    volume: Any, error: Any
) -> None:
    """It was rejected, so the row ends after some of these, in the words of the cloud; not by one read."""
    told = run_fast(refused(volume, error))
    assert told.doubt is not None and told.doubt["was_rejected"] is True
    assert told.doubt["ending"].reason == str(error)
    assert (told.state, told.after_s, told.is_held) == (None, None, False)


IN_USE = Volume(volume_id="v1", status="in-use")


def test_a_volume_in_use_is_skipped_or_fails_as_the_settings_say() -> None:
    assert run_fast(refused(IN_USE, in_use=InUse.SKIP)).state is JobState.SKIPPED
    assert run_fast(refused(IN_USE, in_use=InUse.FAIL)).state is JobState.FAILED
    assert run_fast(refused(IN_USE, in_use=InUse.STOP)).is_held


def test_a_copy_that_somebody_attached_fails_its_row_whatever_the_settings_say_of_servers() -> None:
    copy = replace(IN_USE, volume_id="copy-1")
    told = run_fast(refused(copy, volume_id="copy-1", in_use=InUse.STOP))
    assert (told.state, told.is_held) == (JobState.FAILED, False)


def test_a_cloud_ignores_force_only_if_it_refused_one_row_twice() -> None:
    """The first time somebody's export may have ended before the volume was read."""
    once = run_fast(refused(IN_USE, force=True, in_use=InUse.STOP))
    assert (once.state, once.force_ignored) == (None, None)
    assert once.after_s
    twice = run_fast(refused(IN_USE, force=True, in_use=InUse.STOP, times=2))
    assert twice.state is JobState.FAILED
    assert twice.force_ignored == twice.ending
    # Rows that only ask for force say nothing of those whose servers are stopped.
    forced = run_fast(refused(IN_USE, force=True, in_use=InUse.FORCE, times=2))
    assert (forced.state, forced.force_ignored) == (JobState.FAILED, None)


def test_new_rows_wait_for_those_under_way_once_several_in_a_row_were_forbidden() -> None:
    async def go() -> list[bool]:
        told, cloud = Told(), SimpleNamespace()
        failures = SendFailures(cloud, told, Settings())  # type: ignore[arg-type]
        request = ExportRequest(volume_id="v", image_name="n", options=NO_OPTIONS)
        waits = []
        for number in range(FORBIDDEN_MAX):
            await failures.failed(job(number), request, ForbiddenError("no", status=403), under_way=5)
            waits.append(failures.hold_s > 0)
        failures.accepted(job(99))
        await asyncio.sleep(60.0)
        await failures.failed(job(50), request, ForbiddenError("no", status=403), under_way=5)
        return [*waits, failures.hold_s > 0]

    assert run_fast(go()) == [False] * (FORBIDDEN_MAX - 1) + [True, False]


BUSY, AWAY = TransientError("busy", status=503), UnreachableError("no route")
REQUEST = ExportRequest(volume_id="v1", image_name="n", options=NO_OPTIONS)


async def pauses(*errors: Exception) -> tuple[Told, list[float]]:
    """For how long nothing is sent after each of these failures, each after the pause before it."""
    told, cloud = Told(), SimpleNamespace()
    failures = SendFailures(cloud, told, Settings())  # type: ignore[arg-type]
    held = []
    for error in errors:
        await failures.failed(job(1), REQUEST, error, under_way=0)  # type: ignore[arg-type]
        held.append(failures.hold_s)
        await asyncio.sleep(failures.hold_s + 1.0)
    return told, held


def test_a_few_failures_are_the_rows_and_more_are_the_clouds() -> None:
    told, held = run_fast(pauses(BUSY, BUSY, BUSY, BUSY))
    assert held[:2] == [0.0, 0.0]
    assert held[2] > 0.0 and held[3] > 0.0
    assert told.doubt is not None and told.doubt["ending"].reason == str(BUSY)
    assert (told.stopped_by, told.after_s) == (None, None)


def test_a_cloud_without_a_connection_is_left_alone_at_once_and_nothing_is_in_doubt() -> None:
    told, held = run_fast(pauses(AWAY))
    assert held[0] > 0.0 and told.after_s == pytest.approx(held[0])
    assert told.doubt is None


def test_a_cloud_that_says_how_long_is_left_alone_at_least_so_long() -> None:
    asked = UnreachableError("maintenance", status=503, retry_after_s=300.0)
    assert run_fast(pauses(asked))[1] == [pytest.approx(300.0)]


def test_what_failed_while_nothing_was_to_be_sent_lengthens_no_pause() -> None:
    async def go() -> tuple[float, float]:
        told, cloud = Told(), SimpleNamespace()
        failures = SendFailures(cloud, told, Settings())  # type: ignore[arg-type]
        await failures.failed(job(1), REQUEST, AWAY, under_way=0)
        first = failures.hold_s
        for _ in range(5):
            await failures.failed(job(2), REQUEST, AWAY, under_way=0)
        return first, failures.hold_s

    first, later = run_fast(go())
    assert later == pytest.approx(first)


def test_a_cloud_that_is_away_for_an_hour_ends_the_run_and_one_that_was_back_does_not() -> None:
    async def go(*, is_back: bool) -> str | None:
        told, cloud = Told(), SimpleNamespace()
        failures = SendFailures(cloud, told, Settings())  # type: ignore[arg-type]
        for number in range(8):
            if is_back and number == 4:
                failures.accepted(job(2))
            await failures.failed(job(1), REQUEST, AWAY, under_way=0)
            assert told.stopped_by is None or number == 7
            await asyncio.sleep(530.0)
        return None if told.stopped_by is None else str(told.stopped_by)

    assert "no request for 62 minutes: no route" in (run_fast(go(is_back=False)) or "")
    assert run_fast(go(is_back=True)) is None
