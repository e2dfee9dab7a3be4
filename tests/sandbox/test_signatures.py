"""The gateway checks access keys. The vendor's own signer makes the signatures: it knows nothing of ours."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from types import SimpleNamespace

import pytest
from huaweicloudsdkcore.sdk_request import SdkRequest
from huaweicloudsdkcore.signer.signer import Signer

from batchexport.sandbox import Profile, SandboxSettings
from batchexport.sandbox.settings import (
    ACCESS_KEY,
    PROJECT_ID,
    SECRET_KEY,
    SECURITY_TOKEN,
    TEMPORARY_ACCESS_KEY,
    TEMPORARY_SECRET_KEY,
)
from tests.sandbox.asking import ACTION, VOLUME, Answer, Asker, asking

VOLUMES = f"/evs/v2/{PROJECT_ID}/volumes"


@pytest.fixture
async def evs() -> AsyncIterator[Asker]:
    async with asking(SandboxSettings(profile=Profile.EVS)) as ready:
        ready.token = ""
        yield ready


async def ask_signed(
    evs: Asker,
    path: str = VOLUMES,
    *,
    method: str = "GET",
    body: str = "",
    key: tuple[str, str] = (ACCESS_KEY, SECRET_KEY),
    clock_off_s: float = 0.0,
    sent_body: str | None = None,
    **headers: str,
) -> Answer:
    at = datetime.fromtimestamp(evs.clock() + clock_off_s, UTC).strftime("%Y%m%dT%H%M%SZ")
    path, _, query = path.partition("?")
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    request = SdkRequest(
        method=method,
        schema="http",
        host=evs.sandbox.url.removeprefix("http://"),
        resource_path=path,
        query_params=[tuple(pair.split("=")) for pair in query.split("&") if pair],
        header_params={"X-Sdk-Date": at, "Content-Type": "application/json"} | named,
        body=body,
    )
    Signer(SimpleNamespace(ak=key[0], sk=key[1])).sign(request)
    data = body if sent_body is None else sent_body
    return await evs.ask(method, request.uri, headers=request.header_params, data=data or None)


def why(answer: Answer) -> str:
    """What the gateway has against a signature."""
    assert (answer.status, answer.json["error_code"]) == (401, "APIGW.0301")
    prefix, _, reason = answer.json["error_msg"].partition(": ")
    assert prefix == "Incorrect IAM authentication information"
    return str(reason)


async def test_a_signed_request_needs_no_token(evs: Asker) -> None:
    assert (await ask_signed(evs)).json == {"volumes": []}


async def test_an_export_is_signed_with_its_body(evs: Asker) -> None:
    body = json.dumps({ACTION: {"image_name": "签名"}})
    path = f"{VOLUMES}/{VOLUME}/action"
    assert (await ask_signed(evs, path, method="POST", body=body)).status == 202
    changed = body.replace("image_name", "image_Name")
    answer = await ask_signed(evs, path, method="POST", body=body, sent_body=changed)
    assert why(answer) == "verify aksk signature fail"


async def test_a_query_is_part_of_what_is_signed(evs: Asker) -> None:
    assert (await ask_signed(evs, f"{VOLUMES}?name=a b~&limit=10")).status == 200


async def test_an_unknown_key_is_named(evs: Asker) -> None:
    assert (
        why(await ask_signed(evs, key=("NOBODY", "x"))) == "Get secretKey failed,ak:NOBODY,err:ak not exist"
    )


@pytest.mark.parametrize(("clock_off_s", "status"), [(-899, 200), (899, 200), (-901, 401), (901, 401)])
async def test_a_clock_may_be_off_by_a_quarter_of_an_hour(
    evs: Asker, clock_off_s: float, status: int
) -> None:
    assert (await ask_signed(evs, clock_off_s=clock_off_s)).status == status


async def test_a_refused_time_is_told_with_the_clouds_own(evs: Asker) -> None:
    reason = why(await ask_signed(evs, clock_off_s=-3600))
    assert reason.endswith("signature expired, signature time:20270115T070000Z,server time:20270115T080000Z")


async def test_a_time_that_is_none_is_refused(evs: Asker) -> None:
    header = f"SDK-HMAC-SHA256 Access={ACCESS_KEY}, SignedHeaders=x-sdk-date, Signature={'0' * 64}"
    answer = await evs.get(VOLUMES, headers={"Authorization": header, "X-Sdk-Date": "now"})
    assert "signature expired" in why(answer)


async def test_five_bad_signatures_lock_the_key_for_five_minutes(evs: Asker) -> None:
    wrong = (ACCESS_KEY, "guessed")
    for _ in range(5):
        assert why(await ask_signed(evs, key=wrong)) == "verify aksk signature fail"
    assert why(await ask_signed(evs)) == "AK access failed to reach the limit,forbidden."
    assert evs.sandbox.counts["bad_signatures"] == 6
    evs.clock.at += 300
    assert (await ask_signed(evs)).status == 200


async def test_a_good_signature_in_between_starts_the_count_anew(evs: Asker) -> None:
    for key in [(ACCESS_KEY, "guessed")] * 4 + [(ACCESS_KEY, SECRET_KEY)] + [(ACCESS_KEY, "guessed")] * 4:
        await ask_signed(evs, key=key)
    assert (await ask_signed(evs)).status == 200


async def test_a_temporary_key_needs_its_security_token(evs: Asker) -> None:
    key = (TEMPORARY_ACCESS_KEY, TEMPORARY_SECRET_KEY)
    assert (await ask_signed(evs, key=key, X_Security_Token=SECURITY_TOKEN)).status == 200
    assert why(await ask_signed(evs, key=key)) == "decrypt security token fail"


async def test_images_are_behind_the_same_gateway(evs: Asker) -> None:
    assert (await ask_signed(evs, "/ims/v2/images")).json["images"] == []
