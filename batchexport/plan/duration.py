"""How long a run is likely to take. A range: no cloud says how fast it copies."""

from __future__ import annotations

import msgspec

#: What the slowest and the fastest disk types of EVS are documented to read. No export was seen to be faster.
SLOW_MIB_PER_S, FAST_MIB_PER_S = 40, 320


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """The likely span of a run, in seconds."""

    fast_s: float
    slow_s: float


def expected(
    *, rows: int, gib: int, largest_gib: int, max_exports: int, requests_per_second: float
) -> Expected:
    """The span of a run of so many rows, with volumes of `gib` together and the largest of `largest_gib`.

    Whatever takes longest rules: the largest volume, all of them over the places there are, or the requests.
    """
    sending_s = rows / requests_per_second if requests_per_second else 0.0
    shared_gib = max(float(largest_gib), gib / max(1, min(max_exports, rows)))
    fast_s, slow_s = (
        max(sending_s, shared_gib * 1024 / mib_per_s) for mib_per_s in (FAST_MIB_PER_S, SLOW_MIB_PER_S)
    )
    return Expected(fast_s=fast_s, slow_s=slow_s)
