"""What becomes of an export, decided when it is accepted: how long it takes and whether it fails."""

from __future__ import annotations

import hashlib

import msgspec
from msgspec.structs import replace

from batchexport.sandbox.settings import SandboxSettings
from batchexport.sandbox.weather.settings import Fault, Weather

#: A time that does not come: the year 3000.
NEVER = 32503680000.0

#: Share of an export during which the image stays `queued`. A real cloud streams raw at once; every other
#: format is first converted into a file, and only the upload of that file is `saving`.
QUEUED_SHARE_RAW = 0.1
QUEUED_SHARE_CONVERTED = 0.6
#: How much longer the volume stays `uploading`, as a share of the export.
FREE_SHARE = 0.1
#: Where a failing export fails, as a share of its time.
FAIL_SHARE = 0.5


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """The times at which an export passes its stages, and how it ends."""

    saving_at: float
    ends_at: float
    free_at: float
    fails: bool
    finishing_at: float | None = None
    hidden_from: float | None = None
    hidden_until: float = 0.0
    bytes_share: float = 1.0


def pseudo_random(seed: int, *what: str | int) -> float:
    """A number in [0, 1) that depends on the arguments alone."""
    text = "/".join(str(part) for part in (seed, *what))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) / 2**64


def export_outcome(
    settings: SandboxSettings, *, volume_id: str, size_gib: int, disk_format: str, earlier: int, now: float
) -> Outcome:
    """The outcome of an export accepted at `now`, when `earlier` exports of the volume came before it."""
    faults = settings.faults
    takes_s = (settings.seconds_base + settings.seconds_per_gib * size_gib) * settings.time_scale
    if pseudo_random(faults.seed, "slow", volume_id, earlier) < faults.slow_share:
        takes_s *= faults.slow_factor
    fails = pseudo_random(faults.seed, "fail", volume_id, earlier) < faults.fail_share
    ends_at = now + takes_s * (FAIL_SHARE if fails else 1)
    outcome = Outcome(
        saving_at=now + takes_s * _queued_share(disk_format),
        ends_at=ends_at,
        free_at=ends_at + takes_s * FREE_SHARE,
        fails=fails,
    )
    return outcome if fails else _under_weather(outcome, settings.weather, volume_id, earlier)


def _queued_share(disk_format: str) -> float:
    return QUEUED_SHARE_RAW if disk_format == "raw" else QUEUED_SHARE_CONVERTED


def _under_weather(outcome: Outcome, weather: Weather, volume_id: str, earlier: int) -> Outcome:
    """The outcome of an export that does not fail, with what the weather adds."""

    def struck(name: str, fault: Fault | None) -> bool:
        return (
            fault is not None
            and pseudo_random(weather.seed, f"weather {name}", volume_id, earlier) < fault.share
        )

    if weather.stuck is not None and struck("stuck", weather.stuck):
        saving_at = NEVER if weather.stuck.status == "queued" else outcome.saving_at
        return replace(outcome, saving_at=saving_at, ends_at=NEVER, free_at=NEVER)
    if weather.short_image is not None and struck("short_image", weather.short_image):
        outcome = replace(outcome, bytes_share=weather.short_image.keeps)
    if weather.late is not None and struck("late", weather.late):
        ends_at = outcome.free_at + weather.late.seconds
        outcome = replace(outcome, finishing_at=outcome.ends_at, ends_at=ends_at)
    if weather.vanishing is not None and struck("vanishing", weather.vanishing):
        hidden_until = outcome.ends_at + weather.vanishing.seconds
        outcome = replace(outcome, hidden_from=outcome.ends_at, hidden_until=hidden_until)
    return outcome
