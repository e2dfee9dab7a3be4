"""What went over the wire: requests by their answer, and how often the cloud asked for fewer."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

#: Stands in the place of a status where no answer came.
NO_ANSWER = 0


@dataclass(slots=True)
class Traffic:
    """Counts of one target's requests, sign-in left out."""

    by_status: Counter[int] = field(default_factory=Counter)
    throttled: int = 0
