import io
import json
import socket
from typing import Any

import pytest
from msgspec.structs import replace

from batchexport.changes import Ended, Rejected, Requeued, Started
from batchexport.deliveries import Delivery, DeliveryChanged, DeliveryState
from batchexport.identity import CloudIdentity
from batchexport.model import NO_OPTIONS, Ending, Job, JobState, TargetKey
from batchexport.observe.events import COMMON_FIELDS, FIELDS, Event, EventLog, dropped_events
from batchexport.report.totals import Totals
from batchexport.store import Overview, RunRecord, TargetRecord

RUN = RunRecord(
    run_id="20260921-abcdef",
    created_at=0.0,
    list_name="l.csv",
    list_sha256="0",
    rows=1,
    settings="{}",
    version="1",
)
JOB = Job(
    job_id=7,
    volume_id="v",
    image_name="größe",
    options=NO_OPTIONS,
    attempt=2,
    size_gib=10,
    image_id="i",
    request_id="req-accepted",
    accepted_at=1000.0,
)
SIGNED_IN = CloudIdentity(cloud="prod", region="eu-1", project_id="p1", project_name="demo")
PLACE = (8, TargetKey("east"))
DELIVERY = Delivery(
    delivery_id=1,
    job_id=JOB.job_id,
    line=8,
    volume_id=JOB.volume_id,
    image_id="an-image",
    image_name="an image",
    position=1,
    destination="cloud:west",
    state=DeliveryState.DELIVERED,
    attempt=1,
    generation=0,
    result_id="a-copy",
    verified_by="sha512",
    started_at=1000.0,
    ended_at=1002.5,
)


def log_of(*, now: float = 1010.5, **options: Any) -> tuple[EventLog, io.StringIO]:
    stream = io.StringIO()
    return EventLog(stream, now=lambda: now, **options), stream


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def all_events() -> list[dict[str, Any]]:
    log, stream = log_of()
    clouds = [TargetRecord(target_id=1, key=TargetKey(), requests_per_second=None, identity=SIGNED_IN)]
    overview = Overview(tallies=[], targets=clouds, resources=[], stalled=0)
    log.run_started(RUN, overview, "l.state")
    ending = Ending(reason="no space", code="image_gone", status=500, request_id="req-failed")
    log.job_changed(Ended(job=JOB, after=JobState.FAILED, ending=ending, at_s=0.0), PLACE)
    log.delivery_changed(
        DeliveryChanged(before=DeliveryState.DELIVERING, delivery=DELIVERY), TargetKey("east")
    )
    log.rate_changed(TargetKey("east"), 2.50004)
    log.run_ended(3, None, Totals.of([]), overview.identities)
    return lines(stream)


def test_the_start_and_the_end_of_a_run_name_host_and_clouds() -> None:
    begin, *_, end = all_events()
    cloud = {"target": "default", "cloud": "prod", "region": "eu-1", "project": "demo", "project_id": "p1"}
    assert (begin["host"], begin["clouds"], end["clouds"]) == (socket.gethostname(), [cloud], [cloud])


def test_every_event_says_when_what_and_of_which_run() -> None:
    events = all_events()
    assert [event["event"] for event in events] == [
        str(event) for event in Event if event != "events_dropped"
    ]
    assert {event["run_id"] for event in events} == {"20260921-abcdef"}
    assert {(event["schema"], event["time"]) for event in events} == {(1, "1970-01-01T00:16:50.500+00:00")}


def test_a_change_tells_all_that_is_known_of_the_row() -> None:
    change = all_events()[1]
    assert (change["line"], change["target"], change["from"], change["to"]) == (
        8,
        "east/default/default",
        "exporting",
        "failed",
    )
    assert (change["reason"], change["code"], change["http_status"]) == ("no space", "image_gone", 500)
    assert (change["request_id"], change["export_seconds"]) == ("req-failed", 10.5)


def test_a_delivery_tells_where_the_image_is_and_what_proved_it() -> None:
    delivery = all_events()[2]
    assert (delivery["target"], delivery["destination"]) == ("east/default/default", "cloud:west")
    assert (delivery["from"], delivery["to"], delivery["result_id"]) == ("delivering", "delivered", "a-copy")
    assert (delivery["verified_by"], delivery["delivery_seconds"]) == ("sha512", 2.5)


def test_without_an_ending_the_request_is_the_accepted_one() -> None:
    log, stream = log_of()
    log.job_changed(Started(job=JOB), PLACE)
    unnoted = replace(JOB, accepted_at=None)
    log.job_changed(Requeued(job=unnoted, ending=None, at_s=0.0, next_at=0.0, counted=True), PLACE)
    first, second = lines(stream)
    assert (first["request_id"], first["export_seconds"]) == ("req-accepted", None)
    assert second["export_seconds"] is None


def test_text_stays_as_it_is_on_one_line() -> None:
    log, stream = log_of()
    log.job_changed(Rejected(job=JOB, after=JobState.FAILED, ending=Ending(reason="a\nb"), at_s=0.0), PLACE)
    assert "größe" in stream.getvalue()
    assert stream.getvalue().count("\n") == 1


def test_an_end_without_a_state_file_has_no_totals() -> None:
    log, stream = log_of()
    log.run_ended(2, "3 problems", None)
    (event,) = lines(stream)
    assert (event["run_id"], event["error"], event["totals"]) == (None, "3 problems", None)


def test_a_stream_that_breaks_is_told_of_once_and_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    told = []
    stream = io.StringIO()
    log = EventLog(stream, broken=lambda: told.append(1))
    stream.close()
    log.rate_changed(TargetKey(), 1)
    log.rate_changed(TargetKey(), 2)
    assert len(caplog.messages) == len(told) == 1


def test_a_stream_may_break_without_anybody_to_tell(caplog: pytest.LogCaptureFixture) -> None:
    log, stream = log_of()
    stream.close()
    log.rate_changed(TargetKey(), 1)
    assert len(caplog.messages) == 1


def test_every_field_that_is_written_is_described() -> None:
    for event in (*all_events(), json.loads(dropped_events(3))):
        assert set(event) == {*COMMON_FIELDS, *FIELDS[event["event"]][1]}
    assert set(FIELDS) == set(Event)
