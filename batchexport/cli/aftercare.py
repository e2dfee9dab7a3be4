"""Short visits to the cloud after a run: settle what is ambiguous, find and remove what was left over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

from msgspec.structs import replace

from batchexport import engine
from batchexport.cli.connections import connections, visits
from batchexport.cli.console import err
from batchexport.cli.execution import run_in_loop
from batchexport.cli.signals import stop_on_signals
from batchexport.config import CloudSettings, Settings
from batchexport.engine import Claims, Cleaned, Found, Reconciled
from batchexport.errors import CloudError
from batchexport.model import JobState, TargetKey
from batchexport.report.text import count_of
from batchexport.store import Abandoned, StateFile, StateReader


def reconciled(
    state_path: Path, settings: Settings, access: CloudSettings, claims: Claims
) -> list[Reconciled]:
    """A look at every ambiguous row, settled in the state file where it is clear now whose its images are."""

    async def look() -> list[Reconciled]:
        async with StateFile.open(state_path) as state:
            keys = [target.key for target in state.targets()]
            async with connections(keys, access, settings.limits, state_path=state_path) as connect:
                return await engine.reconcile_all(
                    state, connect, claims, settle_s=settings.limits.settle_s, rebind=settings.rebind_cloud
                )

    return run_in_loop(look())


def cleaned(state_path: Path, settings: Settings, access: CloudSettings, *, remove: bool) -> list[Cleaned]:
    """Every image of an attempt that came to nothing, and what became of it in the cloud.

    To `remove`, the state file must be nobody else's at work. Raises StateError.
    """
    images: dict[TargetKey, list[Abandoned]] = {}
    with StateReader(state_path) as reader:
        run_id = reader.run.run_id
        for image in reader.abandoned():
            images.setdefault(image.target, []).append(image)

    async def look() -> list[Cleaned]:
        results: list[Cleaned] = []
        async with visits(images, access, settings, state_path=state_path) as connect:
            for target, theirs in images.items():
                try:
                    async with connect(target, None) as cloud:
                        if remove:
                            results += await engine.clean_up(
                                cloud, target, theirs, state_path, run_id=run_id, now=time.time
                            )
                        else:
                            results += await engine.cleanup(cloud, theirs)
                except CloudError as error:
                    results += [Cleaned(image=image, found=Found.STUCK, words=str(error)) for image in theirs]
        return results

    return run_in_loop(look())


def start_servers(state_path: Path, settings: Settings, access: CloudSettings, *, anyway: bool) -> None:
    """Start every server that is down for exports and whose volumes are free, or all `anyway`; returns when
    they are up.
    """

    async def start() -> None:
        nothing_more = asyncio.Event()
        nothing_more.set()  # what is left of such a run is to bring servers up
        words = "servers that were asked to start are waited for; once more leaves at once"
        async with StateFile.open(state_path) as state:
            if not await state.count_afoot():
                return
            keys = [target.key for target in state.targets()]
            quick = replace(settings, wait=False, preflight=False)
            async with connections(keys, access, settings.limits, state_path=state_path) as connect:
                with stop_on_signals(err, first=words):
                    await engine.run(state, connect, quick, stop=nothing_more, start_anyway=anyway)

    run_in_loop(start())


def reconciled_text(results: Sequence[Reconciled]) -> str:
    """What was found of each row, and how many are still ambiguous."""
    if not results:
        return "no row is ambiguous"
    lines = [f"{each.job.volume_id}  {each.state}: {each.words}" for each in results]
    left = sum(each.state is JobState.AMBIGUOUS for each in results)
    lines.append(f"{len(results) - left} of {len(results)} settled, {left} still ambiguous")
    return "\n".join(lines)


def cleaned_text(results: Sequence[Cleaned], kind: str, *, remove: bool) -> str:
    """What was found of each image, how many are of this kind, and what to do next."""
    shown = [each for each in results if each.found is not Found.GONE]
    lines = [f"{each.image.image_id}  {each.image.image_name}  {each.found}: {each.words}" for each in shown]
    gone = len(results) - len(shown)
    retained = sum(each.found is Found.RETAINED for each in results)
    stay = f"; {count_of(retained, 'image')} retained" if retained else ""
    lines.append(f"{count_of(len(results) - retained, 'image')} {kind}; {gone} gone already{stay}")
    if not remove and any(each.found is Found.LEFT_OVER for each in shown):
        lines.append("nothing was removed; the same command with --yes removes what is left over")
    return "\n".join(lines)


def unsettled(results: Sequence[Reconciled]) -> bool:
    """Whether a row is ambiguous still."""
    return any(each.state is JobState.AMBIGUOUS for each in results)


def stuck(results: Sequence[Cleaned]) -> bool:
    """Whether an image could not be looked at or removed."""
    return any(each.found is Found.STUCK for each in results)
