"""One night of a job file: what was left unfinished first, then tonight's list, all within the window."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Protocol

import msgspec

from batchexport import nights
from batchexport.cli.beginning import begin, carry_on
from batchexport.cli.execution import SERVERS_DOWN, WINDOW_CLOSED, execute, exit_code
from batchexport.cli.layers import Order
from batchexport.cli.pruning import prune_after
from batchexport.cli.talk import Talk
from batchexport.config import CloudSettings, Settings
from batchexport.config.nights import OnUnfinished
from batchexport.pace import OpenHours, Pace
from batchexport.report.totals import Totals
from batchexport.report.words import count_of
from batchexport.schedule import told
from batchexport.store import StateReader
from batchexport.window import Session, Window, next_session, session_at

#: Whoever stopped a night does not wait for its old images.
_ENDED_BY_ITSELF = frozenset({0, 3, WINDOW_CLOSED})


class Work(Protocol):
    """What works on a state file: `execution.execute`, or what a test hands in."""

    def __call__(
        self,
        state_path: Path,
        settings: Settings,
        access: CloudSettings,
        talk: Talk,
        *,
        hours: OpenHours | None,
    ) -> int: ...


def spend_night(
    order: Order, talk: Talk, *, now: Callable[[], float] = time.time, work: Work = execute
) -> int:
    """Do what the job file asks of this night; the exit code. Raises BatchExportError as `run` does."""
    window = order.nights.window
    session = session_at(window, now()) if window else None
    night = Night(order=order, talk=talk, session=session, now=now, work=work, began_at=now())
    if window and session is None:
        talk.mention(_closed(window, now()))
        return night.stay_closed()
    if order.nights.state_dir is None:
        return night.go_on_with_the_list()
    with nights.alone(order.nights.state_dir, order.job_name):
        return night.spend(order.nights.state_dir)


class Night(msgspec.Struct, frozen=True, kw_only=True):
    """One night at work, from `began_at` to the end of its session."""

    order: Order
    talk: Talk
    session: Session | None
    now: Callable[[], float]
    work: Work
    began_at: float

    def stay_closed(self) -> int:
        """Out of hours nothing begins; servers that an earlier night left down are brought up."""
        folder, job = self.order.nights.state_dir, self.order.job_name
        known = [self.order.state_path] if folder is None else nights.nights_of(folder, job)
        if not (left := nights.with_servers_down(known)):
            return WINDOW_CLOSED
        with nullcontext() if folder is None else nights.alone(folder, job):
            for path in left:
                self._bring_servers_up(path)
        return SERVERS_DOWN if nights.with_servers_down(left) else WINDOW_CLOSED

    def go_on_with_the_list(self) -> int:
        """A job with one state file: as much of its list as the night allows."""
        if not self.order.state_path.exists() and self._is_over():
            return WINDOW_CLOSED
        path = self.order.state_path
        return self._work_on(path, begin(self.order, path, self.talk), [path])

    def spend(self, folder: Path) -> int:
        """A job with a state file a night: the unfinished one first, then tonight's."""
        plan, job = self.order.nights, self.order.job_name
        tonight = nights.night_path(folder, job, nights.night_name(plan, self.session, self.began_at))
        known = nights.nights_of(folder, job)
        unfinished, code = None, 0
        if plan.on_unfinished is not OnUnfinished.ABANDON:
            unfinished = nights.unfinished_before(tonight, known)
        for path in nights.with_servers_down(known):
            if path not in (unfinished, tonight) or not nights.rows_to_do(path):
                self._bring_servers_up(path)
        if unfinished is not None:
            code = self._carry_on(unfinished, known)
            if nights.rows_to_do(unfinished) or plan.on_unfinished is OnUnfinished.SKIP:
                return code
        code = self._spend_on_tonight(tonight, known, unfinished) or code
        if code in _ENDED_BY_ITSELF and tonight.exists():
            until = self.session.watched_until if self.session else None
            prune_after(self.order, tonight, nights.nights_of(folder, job), self.talk, until=until)
        if plan.keep is not None:
            self._forget(nights.nights_of(folder, job), plan.keep)
        return code

    def _spend_on_tonight(self, tonight: Path, known: list[Path], unfinished: Path | None) -> int:
        if tonight.exists():
            if not nights.rows_to_do(tonight):
                self.talk.mention(f"this night is done already: {tonight}")
                return _ended_with(tonight)
            return self._carry_on(tonight, known)
        if self._is_over():
            return WINDOW_CLOSED
        since = self.session.opens_at if self.session else self.began_at
        done = nights.exported_since(unfinished, since) if unfinished else frozenset()
        if done:
            self.talk.mention(
                f"{count_of(len(done), 'volume')} exported earlier this night: left out of the list"
            )
        return self._work_on(tonight, begin(self.order, tonight, self.talk, leave_out=done), known)

    def _carry_on(self, path: Path, known: list[Path]) -> int:
        """Go on with a night as its list and its image settings were when it began."""
        return self._work_on(path, carry_on(self.order, path, self.talk), known)

    def _bring_servers_up(self, path: Path) -> None:
        """Nothing begins in this: it waits for the exports that keep servers down, and starts them."""
        self.talk.mention(f"servers were left down by an earlier night: bringing them up, state file {path}")
        over = OpenHours(closes_at=0.0, watched_until=0.0)
        settings = carry_on(self.order, path, self.talk)
        self.work(path, settings, self.order.access, self.talk, hours=over)

    def _work_on(self, path: Path, settings: Settings, known: list[Path]) -> int:
        hours, window = None, self.order.nights.window
        if self.session is not None and window is not None:
            hours = OpenHours(
                closes_at=self.session.closes_at,
                watched_until=self.session.watched_until,
                pace=nights.pace_of(known, window),
            )
        code = self.work(path, settings, self.order.access, self.talk, hours=hours)
        if code == WINDOW_CLOSED and hours is not None and window is not None:
            self._tell_what_is_left(path, window, hours.pace)
        return code

    def _is_over(self) -> bool:
        return self.session is not None and self.now() >= self.session.closes_at

    def _tell_what_is_left(self, path: Path, window: Window, pace: Pace) -> None:
        left = f"{count_of(nights.rows_to_do(path), 'row')} left for another night"
        opening = next_session(window, self.now())
        if opening is None:
            self.talk.mention(left)
            return
        self.talk.mention(f"{left}; the window opens again {told(opening.opens_at, window.zone)}")
        most_gib = pace.most_gib(opening.closes_at - opening.opens_at)
        if never := nights.too_large(path, most_gib):
            self.talk.mention(_too_large(never, most_gib))

    def _forget(self, known: list[Path], keep: int) -> None:
        gone = nights.forget_old(known, keep=keep, on_unfinished=self.order.nights.on_unfinished)
        if gone:
            self.talk.mention(f"removed the state files of {count_of(len(gone), 'old night')}")


def _closed(window: Window, now: float) -> str:
    opening = next_session(window, now)
    when = f"it opens {told(opening.opens_at, window.zone)}" if opening else "it does not open within a year"
    return f"the window is closed, nothing was started; {when}"


def _too_large(volume_ids: Sequence[str], most_gib: int) -> str:
    shown = ", ".join(volume_ids[:3]) + (" …" if len(volume_ids) > 3 else "")
    return (
        f"{count_of(len(volume_ids), 'volume')} larger than {most_gib} GiB, which is what the whole window"
        f" is expected to hold: {shown}; export them with `batchexport resume`, which knows no window"
    )


def _ended_with(path: Path) -> int:
    with StateReader(path) as reader:
        return exit_code(Totals.of(reader.tallies()), stopped=None, wait=True)
