"""What a look at a row found, and how much it weighs."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec

from batchexport.model import Ending, JobState


class Weight(StrEnum):
    """What a finding means for its row, the gravest first."""

    CANNOT = "cannot go"  #: the cloud would refuse it for certain
    LEFT_OUT = "left out"  #: the settings say so
    UNLIKE = "not as asked"  #: its image is there, and is something else
    STOPS = "stops"  #: its servers are stopped first, and it is sent then
    MAY_FAIL = "may fail"  #: it is sent all the same


_GRAVITY = {weight: place for place, weight in enumerate(Weight)}


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """One thing about a row, or about its image, that a person should know."""

    weight: Weight
    code: str  #: the same word for the same thing, for scripts
    words: str


def worst(findings: Iterable[Finding]) -> Finding | None:
    """The finding that decides about the row; None where there is none."""
    return min(findings, key=lambda finding: _GRAVITY[finding.weight], default=None)


def ending_for(findings: Iterable[Finding]) -> tuple[JobState, Ending] | None:
    """How a row ends that is not to be sent; None where it goes."""
    finding = worst(findings)
    if finding is None or finding.weight in (Weight.STOPS, Weight.MAY_FAIL):
        return None
    state = JobState.FAILED if finding.weight is Weight.CANNOT else JobState.SKIPPED
    return state, Ending(reason=f"not sent: {finding.words}", code=finding.code)


def stops_servers(findings: Iterable[Finding]) -> bool:
    """Whether the row goes once the servers of its volume are down."""
    return any(finding.weight is Weight.STOPS for finding in findings)
