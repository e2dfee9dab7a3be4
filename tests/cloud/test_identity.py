from __future__ import annotations

import pytest

from batchexport.cloud.auth.keystone import Principal
from batchexport.cloud.block_storage import accepted
from batchexport.cloud.http.error_mapping import error_from_response
from batchexport.cloud.http.responses import Response, is_id, valid_size_gib
from batchexport.errors import OutcomeUnknownError
from batchexport.model import NO_OPTIONS, ExportRequest
from batchexport.redaction import hide_secrets, hide_secrets_in_bytes, sanitize


def test_an_identity_names_user_and_project_and_keeps_its_secrets_to_itself() -> None:
    identity = Principal.of({"username": "demo", "password": "pa-55", "project_id": "p1", "auth_url": "u"})
    assert str(identity) == "user demo, project p1"
    assert "pa-55" not in repr(identity)
    assert identity.secrets == ("pa-55",)


def test_an_identity_without_names_has_words_all_the_same() -> None:
    assert str(Principal.of({"token": "t-0k3n"})) == "this account"


def test_a_secret_is_replaced_and_a_short_one_left_for_the_sake_of_the_words() -> None:
    assert hide_secrets("a pa-55 b", ["pa-55", "b"]) == "a *** b"
    assert hide_secrets_in_bytes(b"a pa-55 b", ["pa-55", "b"]) == b"a *** b"


def test_a_token_in_the_clouds_words_is_replaced_before_they_are_cut() -> None:
    body = b'{"badRequest": {"message": "' + b"x" * 290 + b' gAAAAAB-token"}}'
    error = error_from_response(
        method="GET", url="u", status=400, headers={}, body=body, now_s=0.0, secrets=["gAAAAAB-token"]
    )
    assert str(error).endswith("x ***")


@pytest.mark.parametrize("text", ["a\x1b[2Jb", "a\x07b", "a\0b", "a\u202eb"], ids=ascii)
def test_a_folded_line_cannot_steer_a_terminal(text: str) -> None:
    assert sanitize(text).isprintable()


@pytest.mark.parametrize(("size", "gib"), [(None, None), (-1, None), (0, 0), (2**31, 2**31), (10**30, None)])
def test_a_size_no_volume_can_have_is_not_known(size: int | None, gib: int | None) -> None:
    assert valid_size_gib(size) == gib


@pytest.mark.parametrize("text", ["", "../../volumes", "a b", "a\0b", "x" * 65, "é"], ids=ascii)
def test_what_could_be_a_path_is_no_id(text: str) -> None:
    assert not is_id(text)


@pytest.mark.parametrize("depth", [5_000, 100_000])
def test_an_acceptance_nested_too_deep_leaves_the_outcome_unknown(depth: int) -> None:
    request = ExportRequest(volume_id="v1", image_name="img", options=NO_OPTIONS)
    body = b'{"a":' * depth + b"1" + b"}" * depth
    with pytest.raises(OutcomeUnknownError, match="has no id of its image"):
        accepted(Response("POST", "u", 202, body, None), request)
