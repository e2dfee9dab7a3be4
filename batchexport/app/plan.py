"""Look at every row of a list in the cloud before a run; send nothing and keep nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from pathlib import Path
from tempfile import TemporaryDirectory

from batchexport import intake
from batchexport.app.connections import connections
from batchexport.app.console import NullConsole
from batchexport.app.run_config import RunConfig
from batchexport.app.start import already_there, differences_lines, look_up, start
from batchexport.engine.plan import plan
from batchexport.model import TargetKey
from batchexport.plan import PlanSummary
from batchexport.plan.deliveries import PlannedDelivery
from batchexport.store import stores


async def plan_list(config: RunConfig) -> Mapping[TargetKey, PlanSummary]:
    """What a run of this list would meet, by target. Raises JobListError, ConfigError, CloudError."""
    # The list may have a million rows: they wait on disk for their volumes, as those of a run do.
    with TemporaryDirectory(prefix="batchexport-") as folder:
        state_path = Path(folder) / "plan.state"
        found = await look_up(config, state_path)
        await asyncio.to_thread(start, config, state_path, NullConsole(), found)
        async with stores.open_for_work(state_path) as state:
            keys = [target.key for target in state.targets]
            limits = config.settings.limits
            async with connections(keys, config.access, limits, state_path=state_path) as connect:
                summaries = await plan(state, connect, config.settings)
        planned = _together(summaries.values())
        if planned:
            from batchexport.app.plan_deliveries import check_planned

            await check_planned(planned, config.settings.limits, config.access)
    return summaries


def _together(summaries: Iterable[PlanSummary]) -> dict[str, PlannedDelivery]:
    """The deliveries of all targets by destination, each in the place of those of one target."""
    planned: dict[str, PlannedDelivery] = {}
    for summary in summaries:
        for text, theirs in summary.deliveries.items():
            if text in planned:
                planned[text].take_in(theirs)
            else:
                planned[text] = theirs
        summary.deliveries = {text: planned[text] for text in summary.deliveries}
    return planned


def expected_changes(config: RunConfig) -> list[str]:
    """What a run would say of a list whose state file is there already. Raises what the run would."""
    can_be_known = (
        config.volume_filter is None and config.schedule.state_dir is None and intake.is_file(config.source)
    )
    if not can_be_known or not config.state_path.exists():
        return []
    checked = intake.check(
        config.source, config.settings, dialect=config.dialect, state_path=config.state_path
    )
    there = f"state file {config.state_path} is {already_there(config.state_path)}"
    return [there, *differences_lines(checked.differences)]


def _deliveries(config: RunConfig) -> list[str]:
    told = config.settings.deliveries
    if not told.deliver:
        return []
    after = ", and then the source image deleted" if told.drop_source else ""
    return [f"deliveries: {', '.join(told.deliver)}, unless a row names others{after}"]


def dry_run_lines(config: RunConfig, environment: Mapping[str, str]) -> list[str]:
    """What a run would do, without a look at the cloud. Raises JobListError if the list has problems."""
    volumes, state_path = "the volumes that match [discover] when the run begins", config.state_path
    changes: list[str] = []
    if config.volume_filter is None:
        its_own = state_path if config.schedule.state_dir is None else None
        checked = intake.check(config.source, config.settings, dialect=config.dialect, state_path=its_own)
        changes = differences_lines(checked.differences)
        volumes = f"{checked.rows} volumes of {config.source}"
    limits, image = config.settings.limits, config.settings.image
    rate = f"{limits.requests_per_second:g} requests/s" if limits.requests_per_second else "no request limit"
    there = "would be made"
    if state_path.exists():
        there = f"{already_there(state_path)}: would resume it"
    state = f"state file: {state_path} ({there})"
    if config.schedule.state_dir is not None:
        state = f"state files: one per run in {config.schedule.state_dir}"
    cloud = config.access.cloud or environment.get("OS_CLOUD") or "by the OS_ variables"
    return [
        f"would export {volumes} to images",
        f"cloud: {cloud}, unless a row names one",
        f"image name: {config.settings.name_template}, unless a row names one",
        f"disk format: {image.disk_format or 'the default of the cloud'}, unless a row names one",
        f"limits: {rate}, {limits.max_exports} exports at once, {limits.retries} retries",
        f"volumes in use: {config.settings.in_use}",
        *_deliveries(config),
        state,
        *changes,
        "nothing was sent, nothing was written",
    ]
