"""Secrets are redacted however they are spelled, and only where they are secrets."""

from __future__ import annotations

import html
import json
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest

from batchexport.cloud.auth.keystone import Principal, secrets_in
from batchexport.cloud.http.error_bodies import read_error_body
from batchexport.cloud.http.error_mapping import error_from_response
from batchexport.errors import CloudError, ConfigError
from batchexport.redaction import hide_secrets, redacted, register_secret, without

SECRETS = [
    'qu"ote-pa55',
    "back\\slash-pa55",
    "amp&ersand-pa55",
    "le<ss>-pa55word",
    "ap'ostrophe-pa55",
    "slash/in/pa55",
    "büro-geheim-5",
    "plus+and space",
    "per%cent-pa55",
    "both\"and'pa55",
]
SPELLINGS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "JSON": lambda secret: json.dumps({"message": secret}),
    "JSON as UTF-8": lambda secret: json.dumps({"message": secret}, ensure_ascii=False),
    "JSON of PHP": lambda secret: json.dumps(secret).replace("/", "\\/"),
    "URL": quote_plus,
    "path": quote,
    "whole URL": lambda secret: quote(secret, safe=""),
    "HTML": html.escape,
    "HTML by numbers": lambda secret: (
        html.escape(secret).replace("&quot;", "&#34;").replace("&#x27;", "&#39;")
    ),
    "repr": repr,
    "ascii": ascii,
}


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize("spelling", SPELLINGS)
def test_a_secret_is_found_in_every_spelling(secret: str, spelling: str) -> None:
    text = f"before {SPELLINGS[spelling](secret)} after"
    assert "***" in without(text, [secret])
    register_secret(secret)
    shown = redacted(text)
    assert "pa55" not in shown and "geheim" not in shown and "and space" not in shown
    assert shown.startswith("before ") and shown.endswith(" after")


@pytest.mark.parametrize("secret", SECRETS)
@pytest.mark.parametrize(
    "form",
    [
        lambda secret: json.dumps({"error": {"message": f"no: {secret}", "code": 400}}),
        lambda secret: json.dumps({"error": {"message": f"{'x' * 285} {secret}", "code": 400}}),
        lambda secret: f"<html><body><p>no: {html.escape(secret)}</p></body></html>",
        lambda secret: json.dumps({"message": html.escape(secret), "code": secret, "request_id": secret}),
        lambda secret: f'{{"cut": "{json.dumps(secret)[1:-1]}',
    ],
    ids=["JSON", "at the cut", "HTML", "in code and id", "half JSON"],
)
def test_an_answer_that_repeats_a_secret_does_not_tell_it(secret: str, form: object) -> None:
    body = form(secret).encode()  # type: ignore[operator]
    register_secret(secret)
    error = error_from_response(
        method="POST",
        url=f"http://x/{secret}",
        status=400,
        headers={"x-openstack-request-id": secret},
        body=body,
        now_s=0,
    )
    told = f"{error} {error.code} {error.request_id} {error.url} {read_error_body(body)}"
    assert secret not in told
    assert "pa55" not in told and "geheim" not in told


def test_errors_of_ours_never_repeat_a_registered_secret() -> None:
    register_secret("correct-horse")
    error = ConfigError("cannot use correct-horse", hint="correct-horse")
    assert (str(error), error.hint) == ("cannot use ***", "***")
    cloud = CloudError("x", url="https://u:correct-horse@h", code="correct-horse", request_id="correct-horse")
    assert (cloud.url, cloud.code, cloud.request_id) == ("https://u:***@h", "***", "***")


def test_short_secrets_are_left_where_they_would_be_found_in_innocent_words() -> None:
    register_secret("sandbox", "", None)
    assert redacted("the cloud sandbox") == "the cloud sandbox"
    assert hide_secrets("password sandbox", Principal.of({"password": "sandbox"}).secrets) == "password ***"


def test_the_secrets_of_every_plug_in_are_known_by_their_names() -> None:
    values = {
        "password": "a",
        "oauth2_client_secret": "b",
        "consumer_secret": "c",
        "access_secret": "d",
        "application_credential_secret": "e",
        "passcode": 123456,
        "access-token": "f",
        "sk": "g",
        "username": "no",
        "access_token_endpoint": "no",
        "access_token_type": "no",
        "consumer_key": "no",
        "auth_methods": ["no"],
    }
    assert secrets_in(values) == ("123456", "a", "b", "c", "d", "e", "f", "g")
