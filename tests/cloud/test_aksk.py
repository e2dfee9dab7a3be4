"""The signature, held against the documented sample and against the vendor's own signer."""

from __future__ import annotations

from datetime import UTC, datetime
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from huaweicloudsdkcore.sdk_request import SdkRequest
from huaweicloudsdkcore.signer.signer import Signer
from hypothesis import given
from hypothesis import strategies as st

from batchexport.cloud.auth.access_keys import AccessKey, signed_headers

# Key and request of the sample in the vendor's documents.
SAMPLE_KEY = AccessKey(access="QTWAOYTTINDUT2QVKYUC", secret="MFyfvK41ba2giqM7Uio6PznpdUKGpownRZlmVmHc")
SAMPLE_URL = (
    "https://service.region.example.com/v1/77b6a44cba5143ab91d13ab9a8ff44fd/vpcs"
    "?limit=2&marker=13551d6b-755d-4757-b956-536f674975c0"
)
SAMPLE_AT_S = datetime(2019, 11, 15, 3, 36, 55, tzinfo=UTC).timestamp()
SAMPLE_SIGNATURE = "7be6668032f70418fcc22abc52071e57aff61b84a1d2381bb430d6870f4f6ebe"

texts = st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=12)
names = st.text(st.characters(exclude_categories=("Cs", "Cc")), min_size=1, max_size=8)
paths = st.lists(st.text("abcXYZ012-_.~ %+&=@:,;()!*'äß图", min_size=1, max_size=10), max_size=5)


def sign(url: str, *, key: AccessKey = SAMPLE_KEY, method: str = "GET", body: bytes = b"") -> dict[str, str]:
    headers = {"Content-Type": "application/json"}
    return signed_headers(key, method=method, url=url, headers=headers, body=body, at_s=SAMPLE_AT_S)


def test_the_documented_sample_has_the_documented_signature() -> None:
    headers = sign(SAMPLE_URL)
    assert headers["X-Sdk-Date"] == "20191115T033655Z"
    assert headers["Authorization"] == (
        "SDK-HMAC-SHA256 Access=QTWAOYTTINDUT2QVKYUC, SignedHeaders=content-type;host;x-sdk-date, "
        f"Signature={SAMPLE_SIGNATURE}"
    )


@given(
    method=st.sampled_from(["GET", "POST", "DELETE"]),
    path=paths,
    query=st.lists(st.tuples(names, texts), max_size=5),
    body=st.binary(max_size=200),
    token=st.none() | st.text("abcdef0123456789+/=", min_size=1, max_size=40),
    at_s=st.integers(946_684_800, 4_102_444_800),
)
def test_any_request_gets_the_signature_of_the_vendors_own_signer(
    method: str,
    path: list[str],
    query: list[tuple[str, str]],
    body: bytes,
    token: str | None,
    at_s: int,
) -> None:
    key = AccessKey(access="AK", secret="S/+K=", security_token=token)
    wire_path = "/" + "/".join(quote(part, safe="") for part in path)
    wire_query = "&".join(f"{quote(name, safe='')}={quote(text, safe=':')}" for name, text in query)
    url = f"https://evs.eu-de.example.com{wire_path}" + (f"?{wire_query}" if wire_query else "")
    sent = {"Content-Type": "application/json", "X-Project-Id": "0" * 32}
    ours = signed_headers(key, method=method, url=url, headers=sent, body=body, at_s=at_s)
    theirs = SdkRequest(
        method=method,
        schema="https",
        host="evs.eu-de.example.com",
        resource_path=wire_path,
        query_params=list(query),
        header_params={name: text for name, text in ours.items() if name != "Authorization"},
        body=body,
    )
    Signer(SimpleNamespace(ak="AK", sk="S/+K=")).sign(theirs)
    assert ours["Authorization"] == theirs.header_params["Authorization"]


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://evs.example.com/v2", "evs.example.com"),
        ("https://evs.example.com:443/v2", "evs.example.com"),
        ("https://evs.example.com:8443/v2", "evs.example.com:8443"),
        ("http://user@127.0.0.1:80/", "127.0.0.1"),
        ("http://[::1]:8080", "[::1]:8080"),
    ],
)
def test_the_host_is_signed_as_it_is_sent(url: str, host: str) -> None:
    assert sign(url)["Host"] == host


def test_a_security_token_is_sent_and_signed() -> None:
    headers = sign(SAMPLE_URL, key=AccessKey(access="a", secret="s", security_token="temporary"))
    assert headers["X-Security-Token"] == "temporary"
    assert "x-sdk-date;x-security-token" in headers["Authorization"]


def test_no_secret_is_shown() -> None:
    shown = repr(AccessKey(access="shown", secret="hidden", security_token="hidden"))
    assert "shown" in shown
    assert "hidden" not in shown
