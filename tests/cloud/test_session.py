from __future__ import annotations

import asyncio
import logging

import msgspec
import pytest
from msgspec.structs import replace

from batchexport.cloud.http import responses
from batchexport.cloud.http.session import READ_RETRIES
from batchexport.errors import (
    MAX_RETRY_AFTER_S,
    AuthenticationError,
    FatalError,
    LeaseLostError,
    NotFoundError,
    OutcomeUnknownError,
    RefusedError,
    ThrottledError,
    TransientError,
    UnreachableError,
)
from tests.cloud.conftest import Bench, benched
from tests.cloud.scripted import Chunked, CutShort, Drop, Reply, ScriptedServer, Seen, unused_url

ANYTHING = msgspec.json.Decoder(dict[str, int])
FINE = Reply(200, {"a": 1})
DATE = "Mon, 23 Nov 2026 08:00:47 GMT"
DATE_S = 1_795_420_847.0


async def read(bench: Bench) -> dict[str, int]:
    return await bench.session.read(bench.endpoint, "/volumes", ANYTHING)


async def post(bench: Bench) -> bytes:
    return (await bench.session.request("POST", bench.endpoint, "/go", body=b"{}")).body


async def test_a_request_carries_token_and_body_to_the_endpoint(bench: Bench) -> None:
    bench.server.answers(FINE)
    await post(bench)
    seen = bench.server.seen[0]
    assert (seen.method, seen.path, seen.body, seen.token) == ("POST", "/v3/p1/go", b"{}", "secret-token-1")
    assert seen.headers["User-Agent"].startswith("batchexport/")


async def test_the_microversion_is_sent_only_where_asked_for(bench: Bench) -> None:
    bench.server.answers(FINE)
    await bench.session.request("GET", bench.endpoint, "/x", microversion="3.3")
    await bench.session.request("GET", bench.endpoint, "/x")
    versions = [seen.headers.get("OpenStack-API-Version") for seen in bench.server.seen]
    assert versions == ["volume 3.3", None]


async def test_an_encoded_path_arrives_as_it_was_written(bench: Bench) -> None:
    bench.server.answers(FINE)
    await bench.session.request("GET", bench.endpoint, "/x?name=a%2Fb%20c&at=gte:1")
    assert bench.server.seen[0].path == "/v3/p1/x?name=a%2Fb%20c&at=gte:1"


async def test_fifty_refused_tokens_lead_to_one_sign_in(server: ScriptedServer) -> None:
    async with benched(server) as bench:
        server.answers(lambda seen: Reply(401) if seen.token == "secret-token-1" else FINE)
        await asyncio.gather(*(post(bench) for _ in range(50)))
        assert len(bench.sign_ins) == 2


@pytest.mark.parametrize(
    "refusal",
    [
        Reply(401, {"error": {"code": 401, "message": "no"}}),
        Reply(400, {"error": {"code": "EVS.0002", "message": "bad token"}}),
        Reply(400, {"error": {"code": "Common.0013", "message": "bad token"}}),
        Reply(401, {"error_code": "APIGW.0307", "error_msg": "token must be updated"}),
        Reply(400, {"error_code": "APIG.0301", "error_msg": "token expired"}),
    ],
)
async def test_a_refused_token_is_renewed_and_the_request_sent_once_more(
    bench: Bench, refusal: Reply
) -> None:
    bench.server.answers(refusal, FINE)
    await post(bench)
    assert [seen.token for seen in bench.server.seen] == ["secret-token-1", "secret-token-2"]


async def test_a_fresh_token_refused_again_ends_with_a_sign_in_error(bench: Bench) -> None:
    bench.server.answers(Reply(401, {"error": {"code": 401, "message": "go away"}}))
    with pytest.raises(AuthenticationError, match="go away"):
        await post(bench)
    assert len(bench.server.seen) == 2


async def test_a_read_is_tried_again_where_two_tokens_in_a_row_were_refused(bench: Bench) -> None:
    bench.server.answers(Reply(401), Reply(401), FINE)
    assert await read(bench) == {"a": 1}
    assert len(bench.slept) == 1  # after a pause


async def test_a_read_whose_tokens_are_all_refused_ends_with_a_sign_in_error(bench: Bench) -> None:
    bench.server.answers(Reply(401))
    with pytest.raises(AuthenticationError):
        await read(bench)
    assert len(bench.server.seen) <= 4


async def test_every_attempt_passes_gate_and_fence(bench: Bench) -> None:
    bench.server.answers(Reply(401), FINE)
    gate_at_fence: list[int] = []
    await bench.session.request(
        "POST", bench.endpoint, "/go", fence=lambda: gate_at_fence.append(bench.gate.acquired)
    )
    assert gate_at_fence == [1, 2]


async def test_a_closed_fence_keeps_the_request_from_being_sent(bench: Bench) -> None:
    def closed() -> None:
        raise LeaseLostError("another process took over")

    with pytest.raises(LeaseLostError):
        await bench.session.request("POST", bench.endpoint, "/go", fence=closed)
    assert bench.server.seen == []


async def test_no_more_requests_are_in_flight_than_allowed(server: ScriptedServer) -> None:
    in_flight, most = 0, 0
    full = asyncio.Event()

    async def slow(_: Seen) -> Reply:
        nonlocal in_flight, most
        in_flight += 1
        most = max(most, in_flight)
        if in_flight == 8:
            full.set()
        await full.wait()
        in_flight -= 1
        return FINE

    async with benched(server) as bench:
        server.answers(slow)
        await asyncio.gather(*(post(bench) for _ in range(30)))
    assert most == 8


async def test_a_read_is_repeated_until_it_succeeds(bench: Bench) -> None:
    bench.server.answers(Reply(500), Reply(503), Drop(), FINE)
    assert await read(bench) == {"a": 1}


async def test_a_read_is_given_up_after_four_repeats(bench: Bench) -> None:
    bench.server.answers(Reply(502, "<html><body>Bad Gateway</body></html>"))
    with pytest.raises(TransientError, match="Bad Gateway"):
        await read(bench)
    assert len(bench.server.seen) == 1 + READ_RETRIES
    assert bench.slept == [0.25, 0.5, 1.0, 2.0]


async def test_a_refused_read_is_not_repeated(bench: Bench) -> None:
    bench.server.answers(Reply(404, {"itemNotFound": {"code": 404, "message": "gone"}}))
    with pytest.raises(NotFoundError, match="gone"):
        await read(bench)
    assert len(bench.server.seen) == 1


@pytest.mark.parametrize(
    "answer",
    [
        Reply(200, b'{"a": 1'),
        Reply(200, b""),
        Reply(200, "<html>maintenance</html>"),
        Reply(200, {"a": "x"}),
        Reply(200, b'{"\xff": 1}'),
        CutShort(200, {"a": 1}),
    ],
)
async def test_a_read_with_an_unreadable_answer_is_repeated(bench: Bench, answer: Reply) -> None:
    bench.server.answers(answer, FINE)
    assert await read(bench) == {"a": 1}
    assert len(bench.server.seen) == 2


@pytest.mark.parametrize("answer", [Drop(), CutShort(202, b"{"), Reply(500), Reply(502), Reply(504)])
async def test_a_post_whose_answer_is_lost_is_sent_once_and_unknown(
    bench: Bench, answer: Reply | Drop
) -> None:
    bench.server.answers(answer)
    with pytest.raises(OutcomeUnknownError):
        await post(bench)
    assert len(bench.server.seen) == 1


async def test_a_post_is_not_repeated_where_nothing_happened(bench: Bench) -> None:
    bench.server.answers(Reply(503))
    with pytest.raises(TransientError):
        await post(bench)
    assert len(bench.server.seen) == 1


async def test_a_refusal_cut_short_is_still_a_refusal(bench: Bench) -> None:
    bench.server.answers(CutShort(400, b'{"badRequest": {"mess'))
    with pytest.raises(RefusedError, match="badRequest"):
        await post(bench)


async def test_a_refused_connection_means_nothing_was_sent(bench: Bench) -> None:
    bench.endpoint = replace(bench.endpoint, url=unused_url())
    with pytest.raises(UnreachableError, match="no connection"):
        await post(bench)


async def test_a_name_that_is_not_known_means_nothing_was_sent(bench: Bench) -> None:
    bench.endpoint = replace(bench.endpoint, url="http://no-such-host.invalid")
    with pytest.raises(UnreachableError):
        await post(bench)


async def test_tls_that_is_not_agreed_means_nothing_was_sent(bench: Bench) -> None:
    bench.endpoint = replace(bench.endpoint, url=bench.server.url.replace("http:", "https:"))
    with pytest.raises(UnreachableError):
        await post(bench)


async def test_a_request_that_takes_too_long_is_unknown(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("batchexport.cloud.http.transport.REQUEST_TIMEOUT_S", 0.1)
    never = asyncio.Event()

    async def silence(_: Seen) -> Reply:
        await never.wait()
        return FINE

    async with benched(server) as bench:
        server.answers(silence)
        with pytest.raises(OutcomeUnknownError, match="no response"):
            await post(bench)
        never.set()


async def test_a_cancelled_request_stays_cancelled(server: ScriptedServer) -> None:
    arrived, never = asyncio.Event(), asyncio.Event()

    async def silence(_: Seen) -> Reply:
        arrived.set()
        await never.wait()
        return FINE

    async with benched(server) as bench:
        server.answers(silence)
        task = asyncio.create_task(post(bench))
        await arrived.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        never.set()


async def test_a_redirect_is_not_followed(bench: Bench) -> None:
    bench.server.answers(Reply(302, headers={"Location": "/elsewhere"}))
    with pytest.raises(FatalError, match="redirected to /elsewhere"):
        await post(bench)
    assert len(bench.server.seen) == 1


@pytest.mark.parametrize("known_length", [True, False])
@pytest.mark.parametrize(("method", "kind"), [("GET", RefusedError), ("POST", OutcomeUnknownError)])
async def test_an_answer_that_is_too_large_is_refused(
    bench: Bench,
    monkeypatch: pytest.MonkeyPatch,
    method: str,
    kind: type[Exception],
    known_length: bool,
) -> None:
    monkeypatch.setattr(responses, "MAX_RESPONSE_BYTES", 10_000)
    bench.server.answers((Reply if known_length else Chunked)(200, b"x" * 200_000))
    with pytest.raises(kind, match="more than"):
        await bench.session.request(method, bench.endpoint, "/x")


async def test_an_answer_in_pieces_is_put_together(bench: Bench) -> None:
    bench.server.answers(Chunked(200, {"a": 1}))
    assert await read(bench) == {"a": 1}


async def test_of_a_huge_error_only_the_beginning_is_read(bench: Bench) -> None:
    bench.server.answers(Reply(400, b"no " * 1_000_000))
    with pytest.raises(RefusedError) as caught:
        await post(bench)
    assert len(str(caught.value)) == 300


async def test_the_request_id_comes_with_answer_and_error(bench: Bench) -> None:
    headers = {"x-openstack-request-id": "req-1"}
    bench.server.answers(Reply(200, b"{}", headers), Reply(400, b"", headers))
    assert (await bench.session.request("GET", bench.endpoint, "/x")).request_id == "req-1"
    with pytest.raises(RefusedError) as caught:
        await bench.session.request("GET", bench.endpoint, "/x")
    assert caught.value.request_id == "req-1"


async def test_the_gate_hears_of_every_answer(bench: Bench) -> None:
    bench.server.answers(FINE, Reply(404), Reply(429), Reply(202, {"error": {"code": "Common.0024"}}))
    await post(bench)
    for kind in (NotFoundError, ThrottledError, ThrottledError):
        with pytest.raises(kind):
            await post(bench)
    assert bench.gate.told == ["succeeded", "succeeded", "throttled", "throttled"]


@pytest.mark.parametrize(
    ("status", "headers", "body", "told"),
    [
        (429, {"Retry-After": "7"}, b"", ["throttled", 7.0]),
        (503, {"Retry-After": "2"}, b"", ["succeeded", 2.0]),
        (413, {}, b'{"overLimit": {"message": "slow", "code": 413, "retryAfter": "5"}}', ["throttled", 5.0]),
        (429, {"Retry-After": "999999"}, b"", ["throttled", MAX_RETRY_AFTER_S]),
        (429, {"Retry-After": "1e9"}, b"", ["throttled", MAX_RETRY_AFTER_S]),
        (429, {"Retry-After": "Mon, 23 Nov 2099 08:00:47 GMT"}, b"", ["throttled", MAX_RETRY_AFTER_S]),
        (429, {"X-Retry-After": "4"}, b"", ["throttled", 4.0]),
        (429, {"Retry-After": "0"}, b"", ["throttled"]),
        (400, {"Retry-After": "7"}, b"", ["succeeded"]),
        (429, {"Date": DATE, "Retry-After": "Mon, 23 Nov 2026 08:00:57 GMT"}, b"", ["throttled", 10.0]),
    ],
)
async def test_retry_after_pauses_everything(
    server: ScriptedServer, status: int, headers: dict[str, str], body: bytes, told: list[str | float]
) -> None:
    async with benched(server, now=lambda: 5000.0) as bench:
        server.answers(Reply(status, body, headers))
        with pytest.raises((TransientError, RefusedError)):
            await post(bench)
        assert bench.gate.told == told


async def test_the_clock_of_the_cloud_is_learnt_from_its_answers(server: ScriptedServer) -> None:
    async with benched(server, now=lambda: 5000.0) as bench:
        assert bench.session.server_now_s() == 5000.0
        server.answers(Reply(200, b"{}", {"Date": DATE}))
        await bench.session.request("GET", bench.endpoint, "/x")
        assert bench.session.server_now_s() == DATE_S


async def test_a_broken_date_teaches_nothing(server: ScriptedServer) -> None:
    async with benched(server, now=lambda: 5000.0) as bench:
        server.answers(Reply(200, b"{}", {"Date": "now"}))
        await bench.session.request("GET", bench.endpoint, "/x")
        assert bench.session.server_now_s() == 5000.0


async def test_the_rate_shown_is_the_gates(bench: Bench) -> None:
    assert bench.session.requests_per_second == bench.gate.rate


async def test_each_request_is_logged_with_its_data(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    bench.server.answers(Reply(200, {"volume": {}}, {"x-openstack-request-id": "req-7"}), Drop())
    with caplog.at_level(logging.DEBUG, "batchexport.cloud.http.session"):
        await bench.session.request("GET", bench.endpoint, "/volumes/v1")
        with pytest.raises(OutcomeUnknownError):
            await bench.session.request("POST", bench.endpoint, "/volumes/v1/action", body=b"{}")
    answered, lost = (vars(record) for record in caplog.records)
    assert (answered["action"], answered["method"]) == ("http_request", "GET")
    assert answered["url"] == f"{bench.endpoint.url}/volumes/v1"
    assert (answered["status"], answered["request_id"]) == (200, "req-7")
    assert answered["took_ms"] >= 0
    assert (lost["action"], lost["method"]) == ("http_request", "POST")
    assert "status" not in lost
