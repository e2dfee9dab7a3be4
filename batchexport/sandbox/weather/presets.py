"""Weather by name: one for each fault, and some that matter by themselves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args, get_type_hints

from batchexport.sandbox.weather import settings
from batchexport.sandbox.weather.settings import Weather

#: The struct of each fault, by its name in a file.
FAULTS: Mapping[str, type] = {
    name: get_args(hint)[0] for name, hint in get_type_hints(Weather).items() if name != "seed"
}

STORM = Weather(
    lag=settings.Lag(share=0.2, seconds=1.5),
    missing=settings.Missing(share=0.03),
    stale=settings.Stale(share=0.05, seconds=2.0),
    odd_image=settings.OddImage(),
    gateway=settings.Gateway(share=0.03),
    capped_lists=settings.CappedLists(share=0.1),
    refused_lists=settings.RefusedLists(share=0.05),
    slow_lists=settings.SlowLists(share=0.05, seconds=0.2),
    flapping_token=settings.FlappingToken(share=0.02),
    forbidden=settings.Forbidden(share=0.02),
    throttled=settings.Throttled(share=0.02),
    quota=settings.Quota(share=0.02),
    identity=settings.Identity(share=0.5, slow_s=0.3, per_second=5.0),
    long_headers=settings.LongHeaders(share=0.05),
    gzip=settings.Gzip(share=0.05),
    clocks=settings.Clocks(volume_s=40.0, image_s=-90.0, compute_s=15.0, drift_s_per_hour=30.0),
    cell=settings.Cell(share=0.3, from_s=5.0, for_s=20.0),
    stuck=settings.Stuck(share=0.02),
    late=settings.Late(share=0.05, seconds=8.0),
    vanishing=settings.Vanishing(share=0.05, seconds=3.0),
    short_image=settings.ShortImage(share=0.02),
    foreign_image=settings.ForeignImage(share=0.05),
    swapped=settings.Swapped(share=0.03),
    repeated=settings.Repeated(share=0.02),
    lost=settings.Lost(share=0.05),
    starter=settings.Starter(share=0.1),
    deleter=settings.Deleter(share=0.02),
    rival=settings.Rival(share=0.02),
)

#: Several sides of one fault, each with a name of its own.
SIDES: Mapping[str, Weather] = {
    "absurd-retry-after": Weather(
        throttled=settings.Throttled(
            waits=("1000000000", "Thu, 31 Dec 2099 23:59:59 GMT", "soon", "-1", "nan")
        )
    ),
    "status-498": Weather(throttled=settings.Throttled(status=498, header="X-Retry-After")),
    "status-497": Weather(throttled=settings.Throttled(status=497, header="")),
    "x-retry-after": Weather(throttled=settings.Throttled(header="X-Retry-After")),
    "cut-image": Weather(short_image=settings.ShortImage(keeps=0.01)),
    "jumping-clock": Weather(clocks=settings.Clocks(image_s=0.0, jump_s=-3600.0)),
    "drifting-clock": Weather(clocks=settings.Clocks(image_s=0.0, volume_s=5.0, drift_s_per_hour=600.0)),
    "records-clock": Weather(clocks=settings.Clocks(shown_in="records")),
    "identity-away": Weather(identity=settings.Identity(away_for_s=4.0, per_second=0.0)),
    "identity-slow": Weather(identity=settings.Identity(slow_s=3.0, per_second=0.0)),
    "lagging-lists": Weather(lag=settings.Lag(share=1.0, seconds=20.0, reads="lists")),
    "no-lists": Weather(refused_lists=settings.RefusedLists(services=settings.ALL)),
}

PRESETS: Mapping[str, Weather] = {
    "fair": Weather(),
    **{name.replace("_", "-"): Weather(**{name: fault()}) for name, fault in FAULTS.items()},
    **SIDES,
    "storm": STORM,
}
