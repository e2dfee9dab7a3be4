from __future__ import annotations

import json
from collections.abc import Mapping

import pytest

from batchexport.cloud.http.error_mapping import error_from_no_response, error_from_response
from batchexport.cloud.http.responses import is_error
from batchexport.errors import (
    MAX_RETRY_AFTER_S,
    AuthenticationError,
    CloudError,
    FatalError,
    ForbiddenError,
    NotFoundError,
    OutcomeUnknownError,
    QuotaError,
    RefusedError,
    ThrottledError,
    TransientError,
    UnreachableError,
    VolumeStateError,
)

URL = "https://evs.example/v2/p1/volumes/v1/action"


def answer(
    status: int,
    code: str | None = None,
    message: str = "no",
    *,
    method: str = "POST",
    headers: Mapping[str, str] | None = None,
) -> CloudError:
    body = json.dumps({"error": {"code": code, "message": message}}).encode()
    return error_from_response(
        method=method, url=URL, status=status, headers=headers or {}, body=body, now_s=0.0
    )


def cinder(status: int, name: str, message: str, *, method: str = "POST", **headers: str) -> CloudError:
    body = json.dumps({name: {"code": status, "message": message}}).encode()
    return error_from_response(method=method, url=URL, status=status, headers=headers, body=body, now_s=0.0)


BY_CODE = [
    (400, "EVS.0001", FatalError),
    (400, "EVS.0002", AuthenticationError),
    (400, "Common.0013", AuthenticationError),
    (400, "Common.0018", FatalError),
    (403, "EVS.0003", ForbiddenError),
    (403, "EVS.2056", FatalError),
    (400, "EVS.1002", RefusedError),
    (400, "EVS.1012", RefusedError),
    (400, "EVS.2068", RefusedError),
    (400, "EVS.2040", RefusedError),
    (401, "EVS.2143", RefusedError),
    (403, "EVS.2144", FatalError),
    (401, "EVS.5401", AuthenticationError),
    (404, "EVS.5404", NotFoundError),
    (413, "EVS.5413", QuotaError),
    (500, "EVS.2007", OutcomeUnknownError),
    (503, "EVS.5503", TransientError),
    (400, "IMG.0015", QuotaError),
    (400, "IMG.0060", ThrottledError),
    (400, "IMG.0022", VolumeStateError),
    (400, "IMG.0148", VolumeStateError),
    (400, "IMG.0153", RefusedError),
    (202, "Common.0024", ThrottledError),
    (503, "Common.1503", ThrottledError),
    (400, "Ecs.0100", VolumeStateError),
    (401, "APIG.0301", AuthenticationError),
    (400, "APIGW.0301", AuthenticationError),
    (401, "APIGW.0307", AuthenticationError),
    (429, "APIGW.0308", ThrottledError),
    (403, "APIG.0302", FatalError),
    (404, "APIG.0101", FatalError),
    (413, "APIG.0201", RefusedError),
    (414, "APIG.0201", RefusedError),
    (504, "APIG.0201", OutcomeUnknownError),
    (500, "APIG.0601", OutcomeUnknownError),
    (503, "APIG.0605", TransientError),
]


@pytest.mark.parametrize(("status", "code", "kind"), BY_CODE)
def test_codes_say_more_than_the_status(status: int, code: str, kind: type[CloudError]) -> None:
    assert type(answer(status, code)) is kind


BY_STATUS = [
    (400, RefusedError, RefusedError),
    (401, AuthenticationError, AuthenticationError),
    (403, ForbiddenError, ForbiddenError),
    (404, NotFoundError, NotFoundError),
    (405, RefusedError, RefusedError),
    (406, RefusedError, RefusedError),
    (408, TransientError, TransientError),
    (409, VolumeStateError, RefusedError),
    (410, NotFoundError, NotFoundError),
    (413, ThrottledError, ThrottledError),
    (415, RefusedError, RefusedError),
    (429, ThrottledError, ThrottledError),
    (500, OutcomeUnknownError, TransientError),
    (501, RefusedError, RefusedError),
    (502, OutcomeUnknownError, TransientError),
    (503, TransientError, TransientError),
    (504, OutcomeUnknownError, TransientError),
    (599, OutcomeUnknownError, TransientError),
    (301, FatalError, FatalError),
]


@pytest.mark.parametrize(("status", "post", "get"), BY_STATUS)
def test_only_a_post_can_have_an_unknown_outcome(
    status: int, post: type[CloudError], get: type[CloudError]
) -> None:
    assert type(answer(status)) is post
    assert type(answer(status, method="GET")) is get


WORDS = [
    (400, "badRequest", "Invalid volume: Volume v status must be available", VolumeStateError),
    (400, "badRequest", "Invalid volume: Volume v status must be available or in-use", VolumeStateError),
    (400, "badRequest", "HTTP 413 Request Entity Too Large: limit exceeded", QuotaError),
    (400, "badRequest", "Project p is over a limit for [Resource image_count_total]", QuotaError),
    (400, "badRequest", "Quota exceeded for images", QuotaError),
    (400, "badRequest", "Invalid input for field/attribute image_name. Value: quota.", RefusedError),
    (400, "badRequest", "Volume 1413aaaa is of the wrong kind", RefusedError),
    (400, "badRequest", "Malformed request url", FatalError),
    (403, "forbidden", "Policy doesn't allow volume_extension:volume_actions:upload_image", ForbiddenError),
    (403, "forbidden", "Policy doesn't allow volume_extension:volume_actions:upload_public", RefusedError),
    (413, "overLimit", "Quota exceeded for volumes", QuotaError),
    (413, "overLimitFault", "This request was rate-limited.", ThrottledError),
    (400, "badRequest", "Throttled: rate exceeded", ThrottledError),
    (400, "badRequest", "Too many requests, slow down", ThrottledError),
    (400, "badRequest", "Invalid input for field/attribute image_name. Value: rate exceeded.", RefusedError),
    (400, "badRequest", "Connection to glance failed: Error finding address for http://g", TransientError),
    (400, "badRequest", "Unable to establish connection to http://g:9292/v2/images", TransientError),
]


@pytest.mark.parametrize(("status", "name", "message", "kind"), WORDS)
def test_cinders_words_decide_where_its_status_says_too_little(
    status: int, name: str, message: str, kind: type[CloudError]
) -> None:
    assert type(cinder(status, name, message)) is kind


def test_evs_says_a_wrong_disk_status_in_words() -> None:
    assert type(answer(400, "EVS.5400", "Must specify a valid status.")) is VolumeStateError


@pytest.mark.parametrize(
    "message",
    [
        "SnapshotLimitExceeded: Maximum number of snapshots allowed (16) exceeded",
        "VolumeSizeExceedsAvailableQuota: Requested volume or snapshot exceeds allowed gigabytes quota.",
        "VolumeLimitExceeded: Maximum number of volumes allowed (8) exceeded for quota 'volumes'.",
        "VolumeSizeExceedsLimit: Requested volume size 1G is larger than maximum allowed limit 0G.",
    ],
)
def test_a_quota_of_block_storage_is_no_throttle_though_it_says_to_try_again_at_once(message: str) -> None:
    assert type(cinder(413, "overLimit", message, **{"Retry-After": "0"})) is QuotaError


@pytest.mark.parametrize("status", [497, 498])
def test_what_proxies_answer_to_too_many_requests_is_a_throttle(status: int) -> None:
    assert type(cinder(status, "error", "Rate Limited")) is ThrottledError


@pytest.mark.parametrize("seconds", [7200.0, 1e9])
def test_no_error_asks_for_a_wait_of_hours(seconds: float) -> None:
    assert TransientError("later", retry_after_s=seconds).retry_after_s == MAX_RETRY_AFTER_S


def test_a_quota_with_a_wait_is_a_rate_limit() -> None:
    error = cinder(413, "overLimit", "Quota of requests exceeded", **{"Retry-After": "3"})
    assert (type(error), error.retry_after_s) == (ThrottledError, 3.0)


def test_reads_meet_no_image_quota() -> None:
    assert type(cinder(400, "badRequest", "quota_class is unknown", method="GET")) is RefusedError


def test_the_error_carries_what_the_audit_trail_needs() -> None:
    error = answer(400, "EVS.1012", "temporary", headers={"x-openstack-request-id": "req-1"})
    seen = (str(error), error.method, error.url, error.status, error.code, error.request_id)
    assert seen == ("temporary", "POST", URL, 400, "EVS.1012", "req-1")


def test_the_compute_request_id_will_do() -> None:
    assert answer(400, headers={"x-compute-request-id": "req-2"}).request_id == "req-2"


def test_a_redirect_names_its_target_and_what_to_do() -> None:
    error = answer(302, headers={"Location": "https://elsewhere/"})
    assert "https://elsewhere/" in str(error) and error.hint is not None and "endpoint" in error.hint


def test_a_redirect_to_nowhere_is_still_a_redirect() -> None:
    assert "nowhere" in str(answer(300))


def test_an_answer_without_words_says_its_status() -> None:
    assert str(answer(502, message="")) == "502 Bad Gateway, no reason given"


def test_an_answer_without_words_says_its_code() -> None:
    assert str(answer(599, "X.1", "")) == "599 unknown status, no reason given (code X.1)"


def test_missing_rights_come_with_the_right_to_ask_for() -> None:
    assert "evs:volumes:uploadImage" in (answer(403).hint or "")


def test_a_refused_read_asks_for_the_right_to_read_and_not_to_export() -> None:
    hint = answer(403, method="GET").hint or ""
    assert "read" in hint and "export" not in hint


def test_a_microversion_that_is_too_new_is_told_with_what_needs_it() -> None:
    error = cinder(406, "computeFault", "Version 3.1 is not supported by the API.")
    assert type(error) is RefusedError
    assert "visibility" in str(error.hint)


def test_a_full_quota_comes_with_advice() -> None:
    assert "quota" in (answer(400, "IMG.0015").hint or "")


def test_nothing_was_sent_where_no_connection_was_made() -> None:
    error = error_from_no_response(method="POST", url=URL, cause=OSError("refused"), sent=False)
    assert type(error) is UnreachableError and "refused" in str(error) and URL in (error.hint or "")


@pytest.mark.parametrize(("method", "kind"), [("POST", OutcomeUnknownError), ("GET", TransientError)])
def test_a_lost_answer_is_unknown_only_for_a_post(method: str, kind: type[CloudError]) -> None:
    error = error_from_no_response(method=method, url=URL, cause=TimeoutError(), sent=True)
    assert (type(error), str(error)) == (kind, "no response in time")


def test_flow_control_inside_a_202_is_an_error() -> None:
    assert is_error(202, b'{"error": {"code": "Common.0024", "message": "flow control"}}')


def test_an_image_named_like_a_code_is_no_error() -> None:
    assert not is_error(202, b'{"os-volume_upload_image": {"image_name": "Common.0024"}}')


@pytest.mark.parametrize(("status", "error"), [(200, False), (202, False), (300, True), (404, True)])
def test_everything_from_300_is_an_error(status: int, error: bool) -> None:
    assert is_error(status, b"{}") is error


async def test_no_connection_is_told_in_the_systems_words() -> None:
    import aiohttp

    async with aiohttp.ClientSession() as http:
        with pytest.raises(aiohttp.ClientConnectorError) as caught:
            await http.get("http://127.0.0.1:9/")
    error = error_from_no_response(method="GET", url="http://127.0.0.1:9/", cause=caught.value, sent=False)
    assert str(error) == "no connection: 127.0.0.1:9: Connection refused"
