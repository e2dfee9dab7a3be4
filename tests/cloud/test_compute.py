from __future__ import annotations

import json
from dataclasses import dataclass

import pytest

from batchexport.cloud.catalog import ComputeEndpoints, Endpoint
from batchexport.cloud.compute import MAX_BY_ID
from batchexport.cloud.compute import Compute as ComputeClient
from batchexport.cloud.server_batches import JOB_POLL_S, JOB_TIMEOUT_S, Batches, wait_s
from batchexport.errors import (
    AuthenticationError,
    CloudError,
    LeaseLostError,
    NotFoundError,
    OutcomeUnknownError,
    RefusedError,
    ThrottledError,
    TransientError,
)
from batchexport.model import Server
from tests.cloud.conftest import Bench
from tests.cloud.scripted import Answer, Drop, Reply, Seen

IDS = ["s1", "s2", "s3", "s4"]
TAKEN = Reply(202)
JOB = Reply(200, {"job_id": "j1"})
GONE = Reply(404, {"itemNotFound": {"code": 404, "message": "Instance s2 could not be found."}})


def record(server_id: str, status: str = "SHUTOFF", task: str | None = None) -> dict[str, object]:
    return {"id": server_id, "status": status, "name": f"vm-{server_id}", "OS-EXT-STS:task_state": task}


def no_fence() -> None:
    """Lets everything pass."""


@dataclass
class Compute:
    """The calls under test, on a scripted server; the batches go by a clock that sleeping moves."""

    bench: Bench
    on_ecs: bool
    now_s: float = 1000.0

    def __post_init__(self) -> None:
        url = self.bench.server.url
        nova = Endpoint(url=f"{url}/v2.1/p1", version="v2.1")
        ecs = Endpoint(url=f"{url}/v1/p1", version="v1") if self.on_ecs else None
        batches = None
        if ecs is not None:
            batches = Batches(self.bench.session, ecs, steady=lambda: self.now_s, sleep=self.sleep)
        self.slept: list[float] = []
        self.servers = ComputeClient(
            self.bench.session, ComputeEndpoints(nova=nova, ecs=ecs), batches=batches
        )

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now_s += seconds

    def answers(self, *answers: Answer) -> None:
        self.bench.server.answers(*answers)

    @property
    def asked(self) -> list[tuple[str, str]]:
        return [(seen.method, seen.path) for seen in self.bench.server.seen]

    @property
    def sent(self) -> list[object]:
        return [json.loads(seen.body) for seen in self.bench.server.seen if seen.method == "POST"]

    async def found(self, *server_ids: str) -> list[Server]:
        return [server async for page in self.servers.servers(server_ids) for server in page]

    async def stop(self, *server_ids: str, hard: bool = False) -> dict[str, CloudError]:
        return await self.servers.stop_servers(server_ids, hard=hard, fence=no_fence)


@pytest.fixture
def nova(bench: Bench) -> Compute:
    return Compute(bench, on_ecs=False)


@pytest.fixture
def ecs(bench: Bench) -> Compute:
    return Compute(bench, on_ecs=True)


def job(status: str, *parts: tuple[str, str], **more: object) -> Reply:
    """A job with its parts, each a server and a status."""
    subs = [{"status": state, "entities": {"server_id": server_id}} for server_id, state in parts]
    for sub in subs:
        if sub["status"] == "FAIL":
            sub["error_code"] = "Ecs.0100"
    return Reply(200, {"status": status, "entities": {"sub_jobs_total": len(subs), "sub_jobs": subs}} | more)


async def test_few_servers_are_asked_for_one_by_one(nova: Compute) -> None:
    nova.answers(Reply(200, {"server": record("s1", "ACTIVE", "powering-off")}))
    assert await nova.found("s1") == [
        Server(server_id="s1", status="active", name="vm-s1", task="powering-off")
    ]
    assert nova.asked == [("GET", "/v2.1/p1/servers/s1")]


async def test_that_there_is_no_such_server_is_told_by_the_answer_to_its_id_alone(nova: Compute) -> None:
    nova.answers(GONE)
    assert await nova.found("s/2") == [Server(server_id="s/2", status="", exists=False)]
    assert nova.asked == [("GET", "/v2.1/p1/servers/s%2F2")]


async def test_what_a_gateway_without_a_back_end_says_proves_nothing(nova: Compute) -> None:
    nova.answers(Reply(404, "404 page not found"))
    with pytest.raises(NotFoundError):
        await nova.found("s1")


async def test_one_server_that_cannot_be_read_hides_no_other(nova: Compute) -> None:
    nova.answers(Reply(200, {"server": record("s1")}), *[Reply(500, {})] * 9)
    assert [server.server_id for server in await nova.found("s1", "s2")] in (["s1"], ["s2"])


async def test_volumes_that_are_attached_are_told(nova: Compute) -> None:
    attached = {"os-extended-volumes:volumes_attached": [{"id": "v1"}, {"id": "v2"}]}
    nova.answers(Reply(200, {"server": record("s1") | attached}))
    assert [server.volume_ids for server in await nova.found("s1")] == [("v1", "v2")]


async def test_nobody_is_asked_for_no_servers(nova: Compute) -> None:
    assert await nova.found() == []
    assert await nova.stop() == {}
    assert nova.asked == []


async def test_more_servers_are_read_by_pages_of_which_only_they_are_told(nova: Compute) -> None:
    link = {"rel": "next", "href": "…"}
    nova.answers(
        Reply(200, {"servers": [record("s1"), record("other")], "servers_links": [link]}),
        Reply(200, {"servers": [record("s2"), record("s3", "ACTIVE"), record("s4", "weird", None)]}),
    )
    found = await nova.found(*IDS)
    assert {server.server_id: server.status for server in found} == {
        "s1": "shutoff",
        "s2": "shutoff",
        "s3": "active",
        "s4": "weird",
    }
    assert [path for _, path in nova.asked] == [
        "/v2.1/p1/servers/detail?limit=1000",
        "/v2.1/p1/servers/detail?limit=1000&marker=other",
    ]


async def test_a_list_of_one_page_is_read_again_where_asking_by_id_costs_more(nova: Compute) -> None:
    nova.answers(Reply(200, {"servers": [record(server_id) for server_id in IDS]}))
    await nova.found(*IDS)
    assert [server.server_id for server in await nova.found("s1", "s2")] == ["s1", "s2"]
    assert nova.asked == [("GET", "/v2.1/p1/servers/detail?limit=1000")] * 2


@pytest.mark.parametrize("hidden", [[], [{"id": "s4", "status": "UNKNOWN"}], [{"id": "s4"}]])
async def test_what_a_list_leaves_out_or_knows_nothing_of_is_asked_for_by_its_id(
    nova: Compute, hidden: list[dict[str, object]]
) -> None:
    """A cell that is down: its servers are missing, or since microversion 2.69 there with an id alone."""
    listed = [record(server_id) for server_id in IDS[:3]]
    nova.answers(Reply(200, {"servers": listed + hidden}), Reply(200, {"server": record("s4", "ACTIVE")}))
    assert {server.server_id: server.status for server in await nova.found(*IDS)}["s4"] == "active"
    assert nova.asked[-1] == ("GET", "/v2.1/p1/servers/s4")


async def test_of_a_server_that_no_answer_shows_nothing_is_told(nova: Compute) -> None:
    listed = [record(server_id) for server_id in IDS[:3]]
    nova.answers(Reply(200, {"servers": listed}), *[Reply(500, {})] * 9)
    assert [server.server_id for server in await nova.found(*IDS)] == IDS[:3]


async def test_a_list_that_cannot_be_read_is_done_without(nova: Compute) -> None:
    forbidden = Reply(403, {"forbidden": {"code": 403, "message": "no"}})
    nova.answers(forbidden, Reply(200, {"server": record("s1")}))
    assert len(await nova.found(*IDS)) == 4


async def test_of_many_servers_that_no_list_shows_others_are_asked_for_each_time(nova: Compute) -> None:
    """A cell that is away, with more servers than are read by id at once: all of them get their turn."""
    ids = [f"s{number:02}" for number in range(50)]
    nova.answers(Reply(200, {"servers": []}), Reply(200, {"server": record("s00")}))
    for _ in range(3):
        await nova.found(*ids)
    asked = [path.rsplit("/", 1)[1] for _, path in nova.asked if "detail" not in path]
    assert set(asked) == set(ids)
    assert len(asked) == 3 * MAX_BY_ID


async def test_a_read_that_fails_raises_as_it_is(nova: Compute) -> None:
    nova.answers(Reply(403, {"forbidden": {"code": 403, "message": "no"}}))
    with pytest.raises(RefusedError) as caught:
        await nova.found("s1", "s2")
    assert "stop and start servers" in str(caught.value.hint)


async def test_nova_is_asked_for_each_server_alone(nova: Compute) -> None:
    nova.answers(TAKEN)
    assert await nova.stop("s1", "s2", "s1", hard=True) == {}
    assert sorted(nova.asked) == [
        ("POST", "/v2.1/p1/servers/s1/action"),
        ("POST", "/v2.1/p1/servers/s2/action"),
    ]
    assert nova.sent == [{"os-stop": None}] * 2
    assert await nova.servers.start_servers(["s1"], fence=no_fence) == {}
    assert nova.sent[-1] == {"os-start": None}


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (GONE, NotFoundError),
        (Reply(409, {"conflictingRequest": {"code": 409, "message": "Instance s2 is locked"}}), RefusedError),
        (Reply(403, {"forbidden": {"code": 403, "message": "Policy doesn't allow it"}}), RefusedError),
        (Reply(429, {"overLimit": {"code": 429, "message": "slow"}}), ThrottledError),
        (Reply(503), TransientError),
        (Reply(500), OutcomeUnknownError),
        (Reply(202, {"error_code": "Common.0024", "error_msg": "flow"}), ThrottledError),
        (Drop(), OutcomeUnknownError),
    ],
)
async def test_what_is_refused_is_told_by_server(
    nova: Compute, answer: Answer, kind: type[CloudError]
) -> None:
    nova.answers(answer)
    failed = await nova.stop("s2")
    assert {server_id: type(error) for server_id, error in failed.items()} == {"s2": kind}


async def test_one_that_is_refused_is_no_matter_to_the_others(nova: Compute) -> None:
    nova.answers(lambda seen: GONE if "s2" in seen.path else TAKEN)
    assert list(await nova.stop(*IDS)) == ["s2"]


async def test_what_the_fence_raises_goes_through_and_nothing_is_sent(nova: Compute) -> None:
    def closed() -> None:
        raise LeaseLostError("taken over")

    nova.answers(TAKEN)
    with pytest.raises(LeaseLostError):
        await nova.servers.stop_servers(["s1", "s2", "s3"], hard=False, fence=closed)
    assert nova.sent == []


async def test_a_single_server_on_ecs_needs_no_job(ecs: Compute) -> None:
    ecs.answers(TAKEN)
    assert await ecs.stop("s1", hard=True) == {}
    assert await ecs.servers.start_servers(["s1"], fence=no_fence) == {}
    assert ecs.sent == [{"os-stop": {"type": "HARD"}}, {"os-start": {}}]
    assert {path for _, path in ecs.asked} == {"/v2.1/p1/servers/s1/action"}


@pytest.mark.parametrize(("hard", "kind"), [(False, "SOFT"), (True, "HARD")])
async def test_ecs_stops_many_by_one_request_and_its_job_is_followed(
    ecs: Compute, hard: bool, kind: str
) -> None:
    ecs.answers(JOB, job("INIT"), job("RUNNING", ("s1", "RUNNING")), job("SUCCESS", ("s1", "SUCCESS")))
    assert await ecs.stop("s1", "s2", hard=hard) == {}
    assert ecs.sent == [{"os-stop": {"type": kind, "servers": [{"id": "s1"}, {"id": "s2"}]}}]
    assert ecs.asked == [("POST", "/v1/p1/cloudservers/action")] + [("GET", "/v1/p1/jobs/j1")] * 3
    assert ecs.slept == [0.0] + [JOB_POLL_S] * 3
    assert ecs.bench.gate.acquired == len(ecs.asked)


async def test_ecs_starts_without_a_type(ecs: Compute) -> None:
    ecs.answers(JOB, job("SUCCESS"))
    await ecs.servers.start_servers(["s1", "s2"], fence=no_fence)
    assert ecs.sent == [{"os-start": {"servers": [{"id": "s1"}, {"id": "s2"}]}}]


async def test_the_servers_that_a_job_failed_for_are_told(ecs: Compute) -> None:
    ecs.answers(JOB, job("FAIL", ("s1", "SUCCESS"), ("s2", "FAIL"), fail_reason="one of them failed"))
    failed = await ecs.stop("s1", "s2")
    assert [(each, type(error), error.code) for each, error in failed.items()] == [
        ("s2", RefusedError, "Ecs.0100")
    ]
    assert str(failed["s2"]) == "failed with code Ecs.0100"


async def test_a_job_that_fails_as_a_whole_failed_for_all_it_did_not_finish(ecs: Compute) -> None:
    ecs.answers(JOB, job("FAIL", ("s1", "SUCCESS"), error_code="Common.0024", fail_reason="flow control"))
    failed = await ecs.stop("s1", "s2", "s3")
    assert {each: (type(error), str(error)) for each, error in failed.items()} == {
        "s2": (ThrottledError, "flow control"),
        "s3": (ThrottledError, "flow control"),
    }


async def test_a_job_without_parts_or_words_still_has_a_reason(ecs: Compute) -> None:
    ecs.answers(JOB, Reply(200, {"status": "FAIL"}))
    assert {each: str(error) for each, error in (await ecs.stop("s1", "s2")).items()} == {
        "s1": "failed, no reason given",
        "s2": "failed, no reason given",
    }


async def test_a_job_that_never_ends_is_left_to_itself(ecs: Compute) -> None:
    ecs.answers(JOB, job("RUNNING", ("s1", "FAIL"), ("s2", "RUNNING")))
    assert list(await ecs.stop("s1", "s2")) == ["s1"]
    assert ecs.now_s == 1000.0 + JOB_TIMEOUT_S


async def test_a_job_that_cannot_be_read_leaves_it_to_the_servers_to_tell(ecs: Compute) -> None:
    ecs.answers(JOB, Reply(404, {"error": {"code": "Ecs.0114", "message": "no such job"}}))
    assert await ecs.stop("s1", "s2") == {}


async def test_a_batch_that_is_refused_is_asked_for_one_by_one(ecs: Compute) -> None:
    """One server in the wrong state must not keep the others from being stopped."""

    def answer(seen: Seen) -> Reply:
        if "cloudservers" in seen.path:
            return Reply(400, {"error": {"code": "Ecs.0100", "message": "s2 is being rebuilt"}})
        return GONE if "s2" in seen.path else TAKEN

    ecs.answers(answer)
    assert {each: type(error) for each, error in (await ecs.stop("s1", "s2")).items()} == {
        "s2": NotFoundError
    }
    assert ecs.sent[1:] == [{"os-stop": {"type": "SOFT"}}] * 2


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Reply(429, {"error_code": "APIGW.0308", "error_msg": "slow"}), ThrottledError),
        (Reply(200, {"order": "j1"}), OutcomeUnknownError),
        (Drop(), OutcomeUnknownError),
    ],
)
async def test_a_batch_of_unknown_outcome_or_out_of_turn_is_told_of_every_server(
    ecs: Compute, answer: Answer, kind: type[CloudError]
) -> None:
    ecs.answers(answer)
    failed = await ecs.stop("s1", "s2")
    assert {each: type(error) for each, error in failed.items()} == {"s1": kind, "s2": kind}


@pytest.mark.parametrize("server_ids", [["s1"], ["s1", "s2"]])
async def test_a_refused_sign_in_is_about_all_of_them(ecs: Compute, server_ids: list[str]) -> None:
    ecs.answers(Reply(401, {"error_code": "APIGW.0301", "error_msg": "no"}))
    with pytest.raises(AuthenticationError):
        await ecs.stop(*server_ids)


async def test_no_more_than_a_thousand_servers_go_in_a_minute(ecs: Compute) -> None:
    ecs.answers(lambda seen: JOB if seen.method == "POST" else job("SUCCESS"))
    await ecs.stop(*(f"s{number}" for number in range(2500)))
    sizes = [len(sent["os-stop"]["servers"]) for sent in ecs.sent]  # type: ignore[index]
    assert sizes == [1000, 1000, 500]
    assert ecs.slept == [0.0, JOB_POLL_S, 60.0 - JOB_POLL_S, JOB_POLL_S, 60.0 - JOB_POLL_S, JOB_POLL_S]


@pytest.mark.parametrize(
    ("sent", "asking", "waits_s"),
    [
        ([], 1000, 0.0),
        ([(100.0, 500)], 500, 0.0),
        ([(100.0, 500)], 501, 50.0),
        ([(80.0, 500), (100.0, 500)], 400, 30.0),
        ([(80.0, 500), (100.0, 500)], 600, 50.0),
        ([(50.0, 1000)], 1000, 0.0),
    ],
)
def test_a_batch_waits_until_it_fits_into_the_minute(
    sent: list[tuple[float, int]], asking: int, waits_s: float
) -> None:
    assert wait_s(sent, asking, now_s=110.0) == waits_s
