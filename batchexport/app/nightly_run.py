"""One night of a job file: what was left unfinished first, then tonight's list, all within the window."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec

from batchexport import nightly_runs
from batchexport.app.console import Console
from batchexport.app.retention import prune_after
from batchexport.app.run import NEEDS_ATTENTION, WINDOW_CLOSED, outcome_of
from batchexport.app.run_config import RunConfig
from batchexport.app.start import resume, start_run
from batchexport.config import CloudSettings, Settings
from batchexport.config.schedule import OnUnfinished
from batchexport.errors import BatchExportError, StateError, StateWriteError, TransientError
from batchexport.model import TargetKey
from batchexport.nightly_runs import NightlyRun
from batchexport.report.text import count_of, duration
from batchexport.scheduling.cron import told
from batchexport.scheduling.throughput import OpenHours, Throughput
from batchexport.scheduling.window import Opening, Window, next_opening, opening_at
from batchexport.store import stores

#: Whoever stopped a night does not wait for its old images.
_ENDED_BY_ITSELF = frozenset({0, 3, WINDOW_CLOSED})
#: Exit codes above are those of signals.
SIGNALLED = 128
#: Rows are left that no night will ever take: somebody has to look at it.
_NEVER_FITS = 3
#: How long a service that is away when a night begins is waited for where no window says it.
_WAIT_S = 900.0
#: And before it is given up for what is left of last night: tonight's list is not to wait for that.
_EARLIER_WAIT_S = 120.0
_FIRST_PAUSE_S, _MAX_PAUSE_S = 15.0, 300.0
#: For how long exports of nights before the last one are polled, and of how many nights.
_OLDER_S, _OLDER_NIGHTS = 90.0, 5
#: How long deliveries of nights before the last one may take where no window says it: a day.
_DELIVERING_S = 86400.0


class Work(Protocol):
    """Works on one state file; the exit code. Reports progress and result by itself."""

    def __call__(
        self,
        state_path: Path,
        settings: Settings,
        access: CloudSettings,
        *,
        hours: OpenHours | None,
        watch: bool = True,
    ) -> int: ...


def run_night(
    config: RunConfig,
    console: Console,
    *,
    now: Callable[[], float] = time.time,
    work: Work,
    report_on: Callable[[Path], None] = lambda path: None,
    pause: Callable[[float], None] = time.sleep,
) -> int:
    """Do what the job file asks of this night; the exit code. Raises BatchExportError as `run` does."""
    window = config.schedule.window
    opening = opening_at(window, now()) if window else None
    night = Night(
        config=config,
        console=console,
        opening=opening,
        now=now,
        work=work,
        report_on=report_on,
        pause=pause,
        began_at=now(),
    )
    if window and opening is None:
        console.info(_closed(window, now()))
        return night.outside_window()
    if config.schedule.state_dir is None:
        return night.go_on_with_the_list()
    with nightly_runs.exclusive_lock(config.schedule.state_dir, config.job_name):
        return night.spend(config.schedule.state_dir)


class Night(msgspec.Struct, frozen=True, kw_only=True):
    """One night at work, from `began_at` to the end of its opening."""

    config: RunConfig
    console: Console
    opening: Opening | None
    now: Callable[[], float]
    work: Work
    report_on: Callable[[Path], None]  #: called with the state file that this night is about
    pause: Callable[[float], None]
    began_at: float

    def outside_window(self) -> int:
        """Out of hours nothing begins; servers that an earlier night left down are brought up."""
        folder, job = self.config.schedule.state_dir, self.config.job_name
        known = nightly_runs.run_files(folder, job) if folder else [self.config.state_path]
        if not (left := [night.path for night in self._survey(known) if night.unreleased]):
            return WINDOW_CLOSED
        with nullcontext() if folder is None else nightly_runs.exclusive_lock(folder, job):
            for path in left:
                self._of_an_earlier(path, self._bring_servers_up)
        return NEEDS_ATTENTION if any(night.unreleased for night in self._survey(left)) else WINDOW_CLOSED

    def go_on_with_the_list(self) -> int:
        """A job with one state file: as much of its list as the night allows."""
        path = self.config.state_path
        if not path.exists() and self._is_over():
            return WINDOW_CLOSED
        return self._patiently(
            lambda: self._work_on(path, start_run(self.config, path, self.console).settings, [path])
        )

    def spend(self, folder: Path) -> int:
        """A job with a state file a night: what can go of the unfinished one first, then tonight's list.

        Nothing left over from an earlier night keeps tonight's list from starting; an earlier night that
        cannot be worked on is reported and skipped.
        """
        plan, job = self.config.schedule, self.config.job_name
        tonight = nightly_runs.night_path(
            folder, job, nightly_runs.night_name(plan, self.opening, self.began_at)
        )
        known = nightly_runs.run_files(folder, job)
        earlier = self._survey(path for path in known if path != tonight)
        last = nightly_runs.unfinished_before(tonight, earlier)
        if plan.on_unfinished is OnUnfinished.ABANDON:
            last = None
        self._bring_all_up(tonight, earlier, last)
        code = self._go_on_with(last, known) if last and (last.pending or last.unreleased) else 0
        if code > SIGNALLED or (last and plan.on_unfinished is OnUnfinished.SKIP and self._got_on(last)):
            return code
        tonights = self._patiently(lambda: self._spend_on_tonight(tonight, known, last))
        if tonights < SIGNALLED and plan.on_unfinished is not OnUnfinished.ABANDON:
            code = self._watch(earlier, last, code, known)
            if code <= SIGNALLED:
                code = self._deliver_older(earlier, last, code)
            self.report_on(tonight)
        code = code if code > SIGNALLED else tonights or code
        if tonights in _ENDED_BY_ITSELF and code <= SIGNALLED and tonight.exists():
            until = self.opening.watched_until if self.opening else None
            prune_after(self.config, tonight, nightly_runs.run_files(folder, job), self.console, until=until)
        if plan.keep is not None:
            self._forget(nightly_runs.run_files(folder, job), plan.keep)
        return code

    def _survey(self, paths: Iterable[Path]) -> list[NightlyRun]:
        """What is left in these state files. One that cannot be read is named, kept, and passed over."""
        found, unreadable = nightly_runs.read_runs(path for path in paths if path.exists())
        for error in unreadable:
            self._warn(f"skipped and left unchanged: {error}")
        return found

    def _warn(self, text: str) -> None:
        """Say it now, and in the notification of this night."""
        self.console.warning(text, notify=True)

    def _of_an_earlier(self, path: Path, do: Callable[[Path], int]) -> int:
        """Do something about an earlier night; an error is reported and ends nothing.

        The exit code, which is 0 where its state file cannot be used: it says nothing of tonight.
        """
        try:
            return do(path)
        except StateWriteError:
            raise
        except BatchExportError as error:
            self._warn(f"{path.name}: this earlier run is skipped: {error}")
            return 0 if isinstance(error, StateError) else error.exit_code

    def _bring_all_up(self, tonight: Path, earlier: Sequence[NightlyRun], last: NightlyRun | None) -> None:
        """The servers of nights that are not worked on anyway."""
        for night in (*earlier, *(self._survey([tonight]))):
            is_worked_on = night is last or (night.path == tonight and night.to_do)
            if night.unreleased and not is_worked_on:
                self._of_an_earlier(night.path, self._bring_servers_up)

    def _go_on_with(self, last: NightlyRun, known: list[Path]) -> int:
        """Send what is left of last night; what is under way then is watched after tonight's list has begun,
        unless that is not to begin.
        """
        watch = self.config.schedule.on_unfinished is OnUnfinished.SKIP
        until = min(self._end(), self.began_at + _EARLIER_WAIT_S)
        go_on = partial(self._resume, known=known, watch=watch)
        return self._of_an_earlier(last.path, lambda path: self._patiently(lambda: go_on(path), until=until))

    def _got_on(self, last: NightlyRun) -> bool:
        """Whether rows of last night came to their end in this one."""
        return any(night.to_do < last.to_do for night in self._survey([last.path]))

    def _watch(
        self, earlier: Sequence[NightlyRun], last: NightlyRun | None, code: int, known: list[Path]
    ) -> int:
        """Watch what is still under way of earlier nights; the exit code of the last one.

        Older ones are looked at for a moment: what ended meanwhile is noted.
        """
        older = [night for night in earlier if night is not last and night.under_way][-_OLDER_NIGHTS:]
        for night in self._survey([*([last.path] if last else []), *(each.path for each in older)]):
            if not night.under_way or (self.opening and self.now() >= self.opening.watched_until):
                continue
            is_last = last is not None and night.path == last.path
            if not is_last and night.under_way == night.undelivered:
                continue  # no export of it is running
            look = partial(self._resume, known=known) if is_last else self._look_at
            found = self._of_an_earlier(night.path, look)
            if found > SIGNALLED:
                return found
            code = found if is_last else code
        return code

    def _deliver_older(self, earlier: Sequence[NightlyRun], last: NightlyRun | None, code: int) -> int:
        """Go on with what nights before the last one left undelivered, the newest first; the exit code.

        None of their exports starts: tonight's list has their volumes, if they are still wanted.
        """
        older = [night.path for night in earlier if night is not last and night.undelivered]
        for night in reversed(self._survey(older)):
            if not night.undelivered or self._is_over():
                continue
            self.console.info(f"delivering what an earlier run left, state file {night.path}")
            found = self._of_an_earlier(night.path, self._only_deliver)
            if found > SIGNALLED:
                return found
            if any(each.undelivered for each in self._survey([night.path])):
                code = code or found
        return code

    def _only_deliver(self, path: Path) -> int:
        closes_at = watched_until = self.now() + _DELIVERING_S
        if self.opening is not None:
            closes_at, watched_until = self.opening.closes_at, self.opening.watched_until
        hours = OpenHours(closes_at=closes_at, watched_until=watched_until, starts_exports=False)
        return self.work(path, resume(self.config, path, self.console), self.config.access, hours=hours)

    def _look_at(self, path: Path) -> int:
        """See what became of the exports of a night; nothing of it begins."""
        self.console.info(f"polling running exports of an earlier run for {duration(_OLDER_S)}")
        hours = OpenHours(closes_at=0.0, watched_until=self.now() + _OLDER_S)
        return self.work(path, resume(self.config, path, self.console), self.config.access, hours=hours)

    def _patiently(self, do: Callable[[], int], *, until: float | None = None) -> int:
        """Do it, and again while a service that is needed is away: until the window closes, or this time."""
        until = self._end() if until is None else until
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                return do()
            except TransientError as error:
                if self.now() + pause_s >= until:
                    raise
                self.console.warning(f"{error}; retrying in {duration(pause_s)}")
            self.pause(pause_s)
            pause_s = min(2 * pause_s, _MAX_PAUSE_S)

    def _end(self) -> float:
        """Until when a service that is away is waited for."""
        return self.opening.closes_at if self.opening else self.began_at + _WAIT_S

    def _spend_on_tonight(self, tonight: Path, known: list[Path], last: NightlyRun | None) -> int:
        if tonight.exists():
            if not nightly_runs.rows_to_do(tonight):
                self.console.info(f"tonight's run is already complete: {tonight}")
                return _ended_with(tonight)
            return self._resume(tonight, known)
        if self._is_over():
            return WINDOW_CLOSED
        done = self._exported_tonight(last.path) if last else frozenset()
        if done:
            self.console.info(
                f"{count_of(len(done), 'volume')} already exported tonight: left out of the list"
            )
        return self._work_on(
            tonight, start_run(self.config, tonight, self.console, leave_out=done).settings, known
        )

    def _exported_tonight(self, path: Path) -> frozenset[tuple[TargetKey, str]]:
        """The volumes of last night's list whose export began this night."""
        since = self.opening.opens_at if self.opening else self.began_at
        try:
            return nightly_runs.exported_since(path, since, self.now())
        except StateError as error:
            self._warn(f"{path.name}: its exports of today may be repeated: {error}")
            return frozenset()

    def _resume(self, path: Path, known: list[Path], watch: bool = True) -> int:
        """Go on with a night as its list and its image settings were when it began."""
        return self._work_on(path, resume(self.config, path, self.console), known, watch=watch)

    def _bring_servers_up(self, path: Path) -> int:
        """Nothing begins in this: it waits for the exports that keep servers down, and starts them."""
        self.console.info(f"starting servers that an earlier run left stopped, state file {path}")
        over = OpenHours(closes_at=0.0, watched_until=0.0)
        settings = resume(self.config, path, self.console)
        return self.work(path, settings, self.config.access, hours=over)

    def _work_on(self, path: Path, settings: Settings, known: list[Path], *, watch: bool = True) -> int:
        hours, window = None, self.config.schedule.window
        if self.opening is not None and window is not None:
            hours = OpenHours(
                closes_at=self.opening.closes_at,
                watched_until=self.opening.watched_until,
                throughput=nightly_runs.throughput_of(known, window),
            )
        code = self.work(path, settings, self.config.access, hours=hours, watch=watch)
        if code == WINDOW_CLOSED and hours is not None and window is not None:
            return self._tell_what_is_left(path, window, hours.throughput)
        return code

    def _is_over(self) -> bool:
        return self.opening is not None and self.now() >= self.opening.closes_at

    def _tell_what_is_left(self, path: Path, window: Window, throughput: Throughput) -> int:
        """The exit code: 75 unless no window will ever be long enough for what is left."""
        to_do = nightly_runs.rows_to_do(path)
        left = f"{count_of(to_do, 'row')} left for the next run"
        opening = next_opening(window, self.now())
        if opening is None:
            self.console.info(left)
            return WINDOW_CLOSED
        self.console.info(f"{left}; the window opens again {told(opening.opens_at, window.zone)}")
        most_gib = throughput.max_gib(opening.closes_at - opening.opens_at)
        if never := nightly_runs.too_large(path, most_gib):
            self.console.info(_too_large(never, most_gib))
        return _NEVER_FITS if len(never) == to_do else WINDOW_CLOSED

    def _forget(self, known: list[Path], keep: int) -> None:
        gone = nightly_runs.remove_old(known, keep=keep, on_unfinished=self.config.schedule.on_unfinished)
        if gone:
            self.console.info(f"removed the state files of {count_of(len(gone), 'old run')}")


def _closed(window: Window, now: float) -> str:
    opening = next_opening(window, now)
    when = f"it opens {told(opening.opens_at, window.zone)}" if opening else "it does not open within a year"
    return f"the window is closed, nothing was started; {when}"


def _too_large(volume_ids: Sequence[str], most_gib: int) -> str:
    shown = ", ".join(volume_ids[:3]) + (" …" if len(volume_ids) > 3 else "")
    return (
        f"{count_of(len(volume_ids), 'volume')} larger than {most_gib} GiB, the most that the whole window"
        f" is expected to hold: {shown}; export them with `batchexport resume`, which ignores the window"
    )


def _ended_with(path: Path) -> int:
    with stores.read(path) as reader:
        return outcome_of(reader, stopped=None, wait=True).exit_code
