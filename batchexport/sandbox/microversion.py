"""The microversion of a block storage request: which additions to v3 its sender knows."""

from __future__ import annotations

import re

from batchexport.sandbox.replies import Refusal

HEADER = "OpenStack-API-Version"
OLDEST = (3, 0)  #: also what is spoken without the header
NEWEST = (3, 71)

Microversion = tuple[int, int]


def read_microversion(header: str | None) -> Microversion:
    """The microversion that the header asks for: refused with 400 if malformed, with 406 if unknown."""
    text = _for_volumes(header or "")
    if text is None:
        return OLDEST
    if text == "latest":
        return NEWEST
    if not re.fullmatch(r"[0-9]+\.[0-9]+", text):
        words = f"API Version String {text} is of invalid format. Must be of format MajorNum.MinorNum."
        raise Refusal(400, words)
    major, minor = (int(part) for part in text.split("."))
    if not OLDEST <= (major, minor) <= NEWEST:
        words = f"Version {text} is not supported by the API. Minimum is 3.0 and maximum is 3.71."
        raise Refusal(406, words)
    return major, minor


def _for_volumes(header: str) -> str | None:
    """The part of the header that is meant for block storage; other services may share it."""
    for part in header.split(","):
        service, _, text = part.strip().partition(" ")
        if service == "volume":
            return text.strip()
    return None
