"""Whether what is at the destination is the image, and what proves it. Pure."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from batchexport.model import Image


class Verdict(msgspec.Struct, frozen=True):
    """What is known of a copy."""

    is_whole: bool
    words: str  #: what proves it, or what is wrong
    hash: str | None = None  #: `sha512:9f86…`


def verdict(
    *, size: int, expected: Mapping[str, str], sent: Mapping[str, str] | None, there: Image
) -> Verdict:
    """Whether an active image has the data of the source.

    `expected` are the digests that the source tells, `sent` those of the bytes that we sent; None = sent by
    a process that did not live to tell.
    """
    if there.size_bytes is not None and there.size_bytes != size:
        return Verdict(False, f"it has {there.size_bytes:,} bytes, the source {size:,}")
    for algorithm, digest in expected.items():
        if sent and sent.get(algorithm, digest) != digest:
            return Verdict(False, f"the {algorithm} of the bytes sent is not that of the source")
    algorithm, _, digest = ((there.details.hash if there.details else None) or "").partition(":")
    known = {"the source": expected.get(algorithm), "the bytes sent": (sent or {}).get(algorithm)}
    agreeing = [name for name, value in known.items() if value == digest]
    if any(value not in (None, digest) for value in known.values()):
        return Verdict(
            False, f"its {algorithm} is {digest[:16]}…, that of {_other(known, digest)} is another"
        )
    if agreeing:
        words = f"{algorithm} at the destination equals that of {' and of '.join(agreeing)}"
        return Verdict(True, words, f"{algorithm}:{digest}")
    if sent:
        name, value = next(iter(sorted(sent.items(), reverse=True)))
        checked = " equals that of the source" if name in expected else " was noted, the source tells none"
        words = f"{name} of the bytes sent{checked}; the destination tells none, its size is right"
        return Verdict(there.size_bytes is not None, words, f"{name}:{value}")
    return Verdict(False, "nothing is known of its data, for the destination tells no hash")


def _other(known: Mapping[str, str | None], digest: str) -> str:
    return next(name for name, value in known.items() if value not in (None, digest))
