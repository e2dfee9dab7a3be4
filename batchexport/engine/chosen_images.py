"""Ids of images that are chosen before the export: what a lost answer left is then found by its id.

Cinder puts the image metadata of a volume on its image, an `id` too, and the image service gives an id once
and never again: a second request for it is refused. Undocumented, so an answer has to show that it was
honoured, and it costs a request: used only for temporary volumes, where it changes nothing of a customer's.
"""

from __future__ import annotations

import uuid
from collections.abc import Container

#: Of the ids of images that we choose: any fixed id would do.
NAMESPACE = uuid.UUID("7d0f3a52-8f5e-4d0c-9b57-0a8e7d1c4e21")


class ChosenImages:
    """The ids that one target's exports of temporary volumes ask for.

    An id is made of the name of the copy, which no other copy ever has, so that the next process finds it.
    """

    def __init__(self) -> None:
        self._spent: set[str] = set()  # the cloud refused them as given before
        self._known: set[str] = set()  # that requests may have asked for
        self.is_honoured: bool | None = None  #: None = no answer has shown it yet

    def next_for(self, copy_name: str, used: Container[str]) -> str:
        """The id to ask for; `used` are those of the images that the job is known to have had."""
        return self.of(copy_name, used)[-1]

    def of(self, copy_name: str, used: Container[str]) -> list[str]:
        """The ids that an export of this copy with a lost answer may have, the next one last."""
        possible = []
        number = 0
        while True:
            chosen = str(uuid.uuid5(NAMESPACE, f"{copy_name}/{number}"))
            number += 1
            if chosen in used:
                continue
            possible.append(chosen)
            self._known.add(chosen)
            if chosen not in self._spent:
                return possible

    def answered(self, asked: str, answer: str) -> bool:
        """Whether the answer may be about the export that asked for this id."""
        if asked == answer:
            self.is_honoured = True
        elif self.is_honoured is None:
            self.is_honoured = False
        return asked == answer or not self.is_honoured

    def spent_by(self, message: str) -> str | None:
        """The id that the cloud refuses in this message: an image has it, or had it. None = no id of ours."""
        spent = next((each for each in self._known if each in message), None)
        if spent is not None:
            self._spent.add(spent)
        return spent
