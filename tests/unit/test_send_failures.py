"""What a refusal, or a response that never came, says of one row and of all."""

import asyncio
from types import SimpleNamespace
from typing import Any

from batchexport.config import Settings
from batchexport.engine.send_failures import (
    FORBIDDEN_MAX,
    SIGN_INS_MAX,
    SIGN_INS_S,
    Forbidden,
    Refusals,
    SendFailures,
)
from batchexport.errors import AuthenticationError, OutcomeUnknownError
from batchexport.model import NO_OPTIONS, ExportRequest, Job
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
