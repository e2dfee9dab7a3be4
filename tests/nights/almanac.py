"""A month of nights on jumping time: one cloud in memory, a list, and a timer that fires as it is told."""

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from batchexport.app.nightly_run import run_night
from batchexport.app.run import closing, exit_code, sending_only
from batchexport.changes import JobChange, SizesLearned
from batchexport.cli.console import TerminalConsole
from batchexport.cli.flags import config_of_run
from batchexport.config import CloudSettings, Settings
from batchexport.engine import run
from batchexport.errors import CloudError
from batchexport.model import ExportRequest, JobState, TargetKey
from batchexport.report.totals import Totals
from batchexport.scheduling.throughput import OpenHours
from batchexport.scheduling.window import opening_at, opening_on
from batchexport.store import StateFile, StateReader
from tests.engine.conftest import volume_ids
from tests.engine.fake_cloud import EPOCH, FakeCloud
from tests.engine.fast_time import fast_now, let_pass, run_fast

BERLIN = ZoneInfo("Europe/Berlin")
KILLED, WINDOW_CLOSED = 137, 75

JOB_FILE = """
[job]
list = "volumes.csv"
{state}
{job}
[limits]
requests_per_second = 0
max_exports = {max_exports}
poll_interval = 20
[window]
hours = "{hours}"
time_zone = "Europe/Berlin"
grace = "5m"
{window}
"""


def now() -> float:
    return EPOCH + fast_now()


def travel_to(at: float) -> None:
    """Let time pass until an instant that is still to come."""
    assert at >= now(), "time goes one way"
    let_pass(at - now())


def local(day: Any, hour: Any, minute: int = 0) -> float:
    return datetime(day.year, day.month, day.day, hour, minute, tzinfo=BERLIN).timestamp()


class Almanac:
    """A job file with its folder, and every export that the cloud ever accepted."""

    def __init__(
        self,
        folder: Path,
        *,
        volumes: int = 5,
        max_exports: int = 5,
        state: str = 'state_dir = "nights"',
        job: str = "",
        hours: str = "22:00-06:00",
        window: str = "",
        upload_s: float = 60.0,
    ) -> None:
        self.folder, self.console = folder, TerminalConsole(quiet=True)
        self.sizes: dict[str, int] = {}
        self.worked_on: list[tuple[str, bool]] = []  # state files, and whether their exports were watched
        self.cloud = FakeCloud(upload_s=upload_s)
        self.job_path = folder / "nightly.toml"
        text = JOB_FILE.format(state=state, job=job, hours=hours, window=window, max_exports=max_exports)
        self.job_path.write_text(text)
        self.listed(volume_ids(volumes))

    def listed(self, ids: list[str]) -> None:
        """Write the list anew."""
        self.ids = list(ids)
        (self.folder / "volumes.csv").write_text("\n".join(["volume_id", *self.ids]) + "\n")

    def sized(self, size_gib: int) -> None:
        """Let the cloud tell the size of every volume before its export."""
        self.sizes = dict.fromkeys(self.ids, size_gib)

    def never_ends(self, volume_id: str) -> None:
        """From now on the cloud copies this volume for ever."""
        accept = self.cloud._accept

        def stuck(request: ExportRequest, at: float, fault: str | None = None) -> Any:
            image_id = accept(request, at, "orphan" if request.volume_id == volume_id else fault)
            if request.volume_id == volume_id:
                self.cloud.records[image_id]["free_at"] = float("inf")
            return image_id

        self.cloud._accept = stuck  # type: ignore[method-assign]

    def ends_now(self, volume_id: str) -> None:
        """What is copied of this volume comes to its end."""
        del self.cloud._accept
        for image_id in self.cloud.exports_of(volume_id):
            self.cloud.records[image_id] |= {"free_at": now(), "active_at": now()}

    @property
    def window(self) -> Any:
        return self.order().schedule.window

    def order(self) -> Any:
        return config_of_run(str(self.job_path), {}, {})

    def start(self, *, killed_after: Any = None) -> Any:
        """What a timer does: the exit code of a night that starts now."""

        def work(
            state_path: Path,
            settings: Settings,
            access: CloudSettings,
            *,
            hours: OpenHours | None,
            watch: bool = True,
        ) -> int:
            self.worked_on.append((state_path.name, watch))
            return self._work(state_path, settings, hours, killed_after, watch)

        return run_night(self.order(), self.console, now=now, work=work)

    def start_at(self, day: Any, hour: Any, minute: int = 0, **how: Any) -> Any:
        travel_to(local(day, hour, minute))
        return self.start(**how)

    def _work(
        self, path: Path, settings: Settings, hours: OpenHours | None, killed_after: Any, watch: bool
    ) -> int:
        settings = replace(settings, limits=replace(settings.limits, settle_s=5.0))
        accepted: Counter[JobState] = Counter()

        async def go() -> None:
            stop = asyncio.Event()

            def changed(change: JobChange) -> None:
                accepted[change.after] += 1
                if killed_after is not None and accepted[JobState.EXPORTING] >= killed_after:
                    stop.set()

            await self._tell_sizes(path)
            async with (
                self._open(path) as state,
                closing(hours, stop, TerminalConsole(), now=now),
                sending_only(None if watch else path, stop),
            ):
                await run(
                    state,
                    self._connect,
                    settings,
                    stop=stop,
                    now=now,
                    on_change=changed,
                    max_gib_at=hours.max_gib_at if hours else None,
                )

        try:
            run_fast(go())
        except CloudError as error:
            return error.exit_code
        with StateReader(path) as reader:
            totals = Totals.of(reader.overview().tallies)
        stopped = KILLED if killed_after is not None else None
        return exit_code(totals, stopped=stopped, wait=True, in_window=hours is not None)

    async def _tell_sizes(self, path: Path) -> None:
        async with self._open(path) as state:
            work = await state.take(1)
            work.apply(SizesLearned(self.sizes))
            await work.release()

    def _open(self, path: Path) -> Any:
        return StateFile.open(path, now=now, clock=fast_now)

    @contextlib.asynccontextmanager
    async def _connect(self, key: TargetKey, rate: float | None) -> AsyncIterator[Any]:
        yield self.cloud

    def exports_in(self, night: date) -> Any:
        """How often each volume's export began in the opening that opened on this date."""
        opening = opening_on(self.window, night)
        return Counter(
            record["volume_id"]
            for record in self.cloud.records.values()
            if opening is not None and opening.opens_at <= record["created"] < opening.closes_at
        )

    def exports_outside(self) -> Any:
        """Exports that began while the window was closed."""
        closed = []
        for record in self.cloud.records.values():
            opening = opening_at(self.window, record["created"])
            if opening is None or record["created"] >= opening.closes_at:
                closed.append(record)
        return closed

    def states(self) -> Any:
        """By state file: how many rows are in which state."""
        found = {}
        for path in sorted((self.folder / "nights").glob("*.state")):
            with StateReader(path) as reader:
                found[path.name] = {str(tally.state): tally.jobs for tally in reader.overview().tallies}
        return found


def days_from(first: date, count: int) -> list[date]:
    return [first + timedelta(days=step) for step in range(count)]


def spring(count: int = 30) -> list[date]:
    return days_from(date(2027, 3, 10), count)


def autumn(count: int = 30) -> list[date]:
    return days_from(date(2027, 10, 15), count)
