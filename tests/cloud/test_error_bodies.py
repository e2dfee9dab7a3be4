from __future__ import annotations

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from batchexport.cloud.http.error_bodies import ErrorBody, read_error_body

ENVELOPES = {
    "evs": ({"error": {"message": "no", "code": "EVS.1002"}}, "EVS.1002", "no"),
    "ecs with details": (
        {"error": {"message": "no", "code": "Ecs.0100", "details": [{"code": "x", "message": "y"}]}},
        "Ecs.0100",
        "no",
    ),
    "cinder": ({"badRequest": {"message": "no", "code": 400}}, "badRequest", "no"),
    "cinder, code as text": ({"itemNotFound": {"message": "no", "code": "404"}}, "itemNotFound", "no"),
    "cinder, any fault": ({"computeFault": {"message": "no", "code": 406}}, "computeFault", "no"),
    "rate limiter": (
        {"overLimitFault": {"code": 413, "message": "no", "details": "Error"}},
        "overLimitFault",
        "no",
    ),
    "gateway": ({"error_code": "APIGW.0301", "error_msg": "no", "request_id": "r1"}, "APIGW.0301", "no"),
    "gateway, code only": ({"error_code": "APIG.0101"}, "APIG.0101", ""),
    "keystone": ({"error": {"code": 401, "message": "no", "title": "Unauthorized"}}, None, "no"),
    "glance": (
        {"message": "no<br /><br />\n\n\n", "code": "404 Not Found", "title": "Not Found"},
        None,
        "no",
    ),
    "glance, title only": (
        {"message": "<br/>", "code": "404 Not Found", "title": "Not Found"},
        None,
        "Not Found",
    ),
    "error as text": ({"error": "no"}, None, "no"),
    "list of errors": ({"errors": [{"code": "a.b", "title": "no"}]}, "a.b", "no"),
    "code without message": ({"error": {"code": "EVS.5500"}}, "EVS.5500", ""),
    "wrong types": ({"badRequest": {"message": ["no"], "code": {"a": 1}}}, "badRequest", ""),
    "a boolean is no code": ({"error": {"message": "no", "code": True}}, None, "no"),
    "null": ({"error": None}, None, ""),
    "unknown object": ({"volume": {"id": "v"}}, None, ""),
}


@pytest.mark.parametrize("name", ENVELOPES)
def test_every_envelope_gives_its_code_and_its_words(name: str) -> None:
    document, code, message = ENVELOPES[name]
    fault = read_error_body(json.dumps(document).encode())
    assert (fault.code, fault.message) == (code, message)


def test_the_gateways_request_id_is_kept() -> None:
    assert read_error_body(b'{"error_code": "x", "error_msg": "y", "request_id": "r1"}').request_id == "r1"


def test_the_wait_in_an_over_limit_body_is_kept() -> None:
    assert (
        read_error_body(b'{"overLimit": {"code": 413, "message": "slow", "retryAfter": 12}}').retry_after
        == "12"
    )


def test_html_is_reduced_to_what_a_reader_sees() -> None:
    page = b"""<!DOCTYPE html><html><head><title>Oops</title><style>p{}</style></head>
      <body><script>alert(1)</script><h1>502 Bad Gateway</h1><hr>nginx &amp; co<!-- x --></body></html>"""
    assert read_error_body(page).message == "502 Bad Gateway nginx & co"


def test_html_without_a_body_gives_its_title() -> None:
    assert (
        read_error_body(b"<html><head><title>503 Full</title></head><body></body></html>").message
        == "503 Full"
    )


def test_empty_html_gives_nothing() -> None:
    assert read_error_body(b"<html><body></body></html>") == ErrorBody()


def test_what_is_never_closed_hides_the_rest_as_in_a_browser() -> None:
    assert read_error_body(b"<html><body>502 <b>Bad</b> Gateway <!-- no end").message == "502 Bad Gateway"
    assert read_error_body(b"<html><style>p { } <body>seen by nobody").message == ""


def test_letters_that_grow_in_lower_case_do_not_move_the_tags() -> None:
    page = "<html><body>İİİİ <STYLE>x</STYLE> 1 < 2 <B>bold</B></body></html>"
    assert read_error_body(page.encode()).message == "İİİİ 1 < 2 bold"


@pytest.mark.parametrize(
    "piece", ["<style ", "<!--", "<title>", "<title", "<a", "<br ", "<br" + " " * 99, "</", "<"]
)
def test_a_page_of_tags_left_open_is_read_at_once(piece: str) -> None:
    page = (b"<html>" + piece.encode() * 65536)[:65536]
    began = time.process_time()
    read_error_body(page)
    read_error_body(json.dumps({"message": page.decode()}).encode()[:65530] + b'"}')
    assert time.process_time() - began < 0.5


def test_plain_text_is_folded_to_one_line() -> None:
    assert read_error_body(b"upstream\n  connect error\r\n").message == "upstream connect error"


def test_json_text_is_taken_as_it_is() -> None:
    assert read_error_body(b'"not today"').message == "not today"


@pytest.mark.parametrize("body", [b"", b"   ", b"[]", b"[1]", b"3", b"null", b"{}"])
def test_an_empty_answer_says_nothing(body: bytes) -> None:
    assert read_error_body(body).code is None


def test_half_json_is_shown_as_it_came() -> None:
    assert read_error_body(b'{"badRequest": {"mess').message == '{"badRequest": {"mess'


def test_a_long_reason_is_cut_to_300_characters() -> None:
    assert len(read_error_body(b'{"error": {"message": "' + b"x" * 5000 + b'"}}').message) == 300


def test_only_the_beginning_of_a_huge_body_is_looked_at() -> None:
    assert len(read_error_body(b"x" * 3_000_000).message) == 300


def test_bytes_that_are_no_text_are_survived() -> None:
    assert read_error_body(b"\xff\xfe no").message.endswith("no")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["error", "message", "code", "error_code", "errors", "a"]), inner)
    ),
    max_leaves=8,
)


@given(JSON)
def test_no_json_at_all_breaks_the_reader(document: object) -> None:
    fault = read_error_body(json.dumps(document).encode())
    assert len(fault.message) <= 300 and "\n" not in fault.message


@given(st.binary(max_size=60))
def test_no_bytes_at_all_break_the_reader(body: bytes) -> None:
    assert len(read_error_body(body).message) <= 300
