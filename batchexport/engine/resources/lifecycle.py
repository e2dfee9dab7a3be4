"""What to do about a resource next, by its state and what was observed. Pure: no clock, no I/O, no await."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum

import msgspec
from msgspec.structs import replace

from batchexport.model import ResourceState


class Condition(StrEnum):
    """What a resource is for us, as it was observed."""

    FREE = "free"  #: as it is without us: the server runs, there is no snapshot
    HELD = "held"  #: as the jobs need it, by us or by others: the server is off, the snapshot is available
    CHANGING = "changing"  #: on its way between the two
    UNUSABLE = "unusable"  #: neither, and not by itself: it can not serve a job
    ABSENT = "absent"  #: the service says that there is none
    UNKNOWN = "unknown"  #: could not be observed


class Action(StrEnum):
    """What to do about an outstanding resource."""

    WAIT = "wait"
    ACQUIRE = "acquire"  #: request it, perhaps once more
    NOTE_HELD = "note held"
    GIVE_UP = "give up"  #: it cannot be acquired: its jobs fail, and it is released
    RELEASE = "release"  #: no job needs it any more
    RELEASE_AGAIN = "release again"  #: it is releasing, and the request may be repeated
    NOTE_RELEASED = "note released"
    NOTE_TAKEN_BACK = "note taken back"  #: somebody else released it while jobs needed it
    NOTE_LOST = "note lost"
    STUCK = "stuck"  #: it cannot be released: a person must act


class Seen(msgspec.Struct, frozen=True):
    """One observation of a resource."""

    condition: Condition
    status: str = "unknown"  #: the cloud's words, for people
    is_busy: bool = False  #: the cloud is at work on it: a request now would be refused
    updated_at: float | None = None  #: when its record last changed, by the service; None = not told
    is_certain: bool = False  #: that it is free needs no second look: nothing was ever requested
    is_stuck: bool = False  #: it cannot be released as it is: a person must act


#: Nothing could be observed.
UNKNOWN = Seen(Condition.UNKNOWN)
#: It was not looked at: what was seen before stands, and nothing is to be done.
NOT_LOOKED = Seen(Condition.UNKNOWN, "not looked at")


class Observation(msgspec.Struct, frozen=True, kw_only=True):
    """What a poll saw of one resource, and for how long it has been so. Seconds are those of the loop."""

    seen: Seen
    is_needed: bool  #: by a job that is in progress, or may start
    may_ask: bool  #: no request was sent a moment ago
    in_state_s: float = 0.0
    unchanged_s: float = 0.0  #: since when it is seen as it is now
    absent_s: float = 0.0  #: since when every answer said that there is none
    seen_held: bool = True  #: since its acquisition was last requested
    since_held_s: float = 0.0  #: since this process first saw it held after that
    is_newer: bool = False  #: it is free, by a record newer than those from before it was held
    is_inherited: bool = False  #: an earlier process left it held, and this one never saw it so


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """How long to wait for a kind of resource, in seconds."""

    acquire_s: float  #: then its acquisition is given up
    absent_s: float  #: then one that the service denies is absent: one answer proves nothing
    free_s: float  #: one seen held is free when every poll saw it so for so long: replicas and caches lag
    stable_s: float  #: the same for one never seen held: a late request may still act
    lag_s: float  #: no read lags more: half of it is enough for one that was first seen held this long ago
    stuck_s: float  #: then its release needs a person
    is_created: bool = False  #: acquiring creates it: absent means free, not lost


def next_action(state: ResourceState, observation: Observation, limits: Limits) -> Action:
    """What to do about a resource that is outstanding."""
    condition = observation.seen.condition
    if condition is Condition.ABSENT:
        if observation.absent_s < limits.absent_s:
            return Action.WAIT
        if not limits.is_created:
            return Action.NOTE_LOST
        observation = replace(observation, is_newer=True)  # proved by time
        condition = Condition.FREE
    match state:
        case ResourceState.ACQUIRING:
            return _while_acquiring(condition, observation, limits)
        case ResourceState.HELD:
            return _while_held(condition, observation, limits)
        case _:
            return _while_releasing(condition, observation, limits)


def _while_acquiring(condition: Condition, observation: Observation, limits: Limits) -> Action:
    if not observation.is_needed:
        return Action.RELEASE
    if condition is Condition.HELD:
        return Action.NOTE_HELD
    if condition is Condition.UNUSABLE or observation.in_state_s >= limits.acquire_s:
        return Action.GIVE_UP
    return Action.ACQUIRE if condition is Condition.FREE and observation.may_ask else Action.WAIT


def _while_held(condition: Condition, observation: Observation, limits: Limits) -> Action:
    is_certain = observation.seen.is_certain or observation.is_newer
    is_certain = is_certain or observation.unchanged_s >= limits.free_s
    if condition is Condition.FREE and is_certain:
        is_taken_back = observation.is_needed and not observation.is_inherited
        return Action.NOTE_TAKEN_BACK if is_taken_back else Action.NOTE_RELEASED
    return Action.WAIT if observation.is_needed else Action.RELEASE


def _while_releasing(condition: Condition, observation: Observation, limits: Limits) -> Action:
    if condition is Condition.FREE:
        if observation.seen.is_certain:
            return Action.NOTE_RELEASED
        stable_s = min(observation.unchanged_s, observation.in_state_s)
        is_past_lag = observation.since_held_s >= limits.lag_s and stable_s >= limits.lag_s / 2
        is_certain = observation.is_newer or is_past_lag or stable_s >= limits.free_s
        is_free = observation.seen_held and is_certain
        return Action.NOTE_RELEASED if is_free or stable_s >= limits.stable_s else Action.WAIT
    if observation.seen.is_stuck or observation.in_state_s >= limits.stuck_s:
        return Action.STUCK
    # One that cannot be observed is asked all the same: to release it twice does nothing.
    return Action.RELEASE_AGAIN if observation.may_ask and not observation.seen.is_busy else Action.WAIT


class ObservationLog:
    """Remembers since when each resource is in its state, and looks as it does."""

    def __init__(self) -> None:
        self._in_state: dict[str, tuple[ResourceState, float]] = {}
        self._seen: dict[str, tuple[Seen, float]] = {}
        self._seen_held: set[str] = set()  # since their acquisition was last requested
        self._held_since: dict[str, float] = {}  # loop time at which they were first seen so
        self._absent_since: dict[str, float] = {}
        self._inherited: set[str] = set()
        # When their records were last updated, by those that showed them free before they were held, and by
        # the latest that showed them held. All are times of one record, as one service keeps it.
        self._free_at: dict[str, float] = {}
        self._held_at: dict[str, float] = {}

    def inherit(self, resource_ids: Iterable[str]) -> None:
        """An earlier process left these held: whoever released them meanwhile disturbed no export of ours."""
        self._inherited.update(resource_ids)

    def acquiring(self, resource_id: str, updated_at: float | None) -> None:
        """It is about to be acquired, and was seen free by a record of this age."""
        self.forget(resource_id)
        if updated_at is not None:
            self._free_at[resource_id] = updated_at

    def requested(self, resource_id: str) -> None:
        """It is to be created by a request that was just sent: what passed before does not count."""
        self._in_state.pop(resource_id, None)
        self._absent_since.pop(resource_id, None)

    def observe(
        self,
        resource_id: str,
        state: ResourceState,
        seen: Seen,
        *,
        is_needed: bool,
        may_ask: bool,
        loop_now: float,
    ) -> Observation:
        """What is seen now, together with what is remembered."""
        if self._in_state.get(resource_id, (None, 0.0))[0] is not state:
            self._in_state[resource_id] = (state, loop_now)
        same = replace(seen, updated_at=None)
        if resource_id not in self._seen or self._seen[resource_id][0] != same:
            self._seen[resource_id] = (same, loop_now)
        if seen.updated_at is not None:
            self._note_update(resource_id, state, seen.condition, seen.updated_at)
        if state is ResourceState.HELD or seen.condition is Condition.HELD:
            self._seen_held.add(resource_id)
        if seen.condition is Condition.HELD:
            self._inherited.discard(resource_id)
            self._held_since.setdefault(resource_id, loop_now)
        if seen.condition is Condition.ABSENT:
            self._absent_since.setdefault(resource_id, loop_now)
        elif seen.condition is not Condition.UNKNOWN:
            self._absent_since.pop(resource_id, None)
        return Observation(
            seen=seen,
            is_needed=is_needed,
            may_ask=may_ask,
            in_state_s=loop_now - self._in_state[resource_id][1],
            unchanged_s=loop_now - self._seen[resource_id][1],
            absent_s=loop_now - self._absent_since.get(resource_id, loop_now),
            seen_held=resource_id in self._seen_held,
            since_held_s=loop_now - self._held_since.get(resource_id, loop_now),
            is_newer=seen.condition is Condition.FREE and self._is_newer(resource_id, seen.updated_at),
            is_inherited=resource_id in self._inherited,
        )

    def _note_update(
        self, resource_id: str, state: ResourceState, condition: Condition, updated_at: float
    ) -> None:
        if condition is Condition.HELD:
            self._held_at[resource_id] = max(updated_at, self._held_at.get(resource_id, updated_at))
        elif state is ResourceState.ACQUIRING and resource_id not in self._held_at:
            self._free_at[resource_id] = max(updated_at, self._free_at.get(resource_id, updated_at))

    def _is_newer(self, resource_id: str, updated_at: float | None) -> bool:
        """Whether the record is certainly not from before the resource was held. False without times."""
        free_at, held_at = self._free_at.get(resource_id), self._held_at.get(resource_id)
        if updated_at is None or free_at is None or held_at is None:
            return False
        return free_at < updated_at >= held_at

    def status(self, resource_id: str) -> str:
        """The cloud's words for how it was last seen."""
        return self._seen.get(resource_id, (UNKNOWN, 0.0))[0].status

    def forget(self, resource_id: str) -> None:
        """It is released, or to be acquired anew."""
        memories = (self._in_state, self._seen, self._held_since, self._absent_since)
        for memory in (*memories, self._free_at, self._held_at):
            memory.pop(resource_id, None)
        self._seen_held.discard(resource_id)
        self._inherited.discard(resource_id)
