"""What went over the wire: requests by their answer, and how often the cloud asked for fewer."""

from __future__ import annotations

from collections import Counter

import msgspec

#: Stands in the place of a status where no answer came.
NO_ANSWER = 0


class Traffic(msgspec.Struct):
    """Counts of one target's requests, sign-in left out."""

    by_status: Counter[int] = msgspec.field(default_factory=Counter)
    throttled: int = 0
