"""Shorter waits, so that a run that meets many faults ends in seconds. None of them is left out."""

from __future__ import annotations

from batchexport.cloud.http import session
from batchexport.engine import decide, ledger, send_failures, target
from batchexport.engine.resources import groups, last_call, requests
from batchexport.engine.settle import Settler
from batchexport.engine.steps import (
    copy_watch,
    listed_volumes,
    server_copies,
    server_witness,
    stop_server,
    temporary_volume,
)
from batchexport.retry import Backoff
from batchexport.store import StateFile
from batchexport.store.sqlite import lease


def shorten_waits() -> None:
    """Make every pause after a failure a fraction of a second, and look for lost answers as often."""
    _replace(ledger, "BETWEEN_ATTEMPTS", Backoff(first_s=0.1, cap_s=0.4))
    _replace(send_failures, "UNREACHABLE", Backoff(first_s=0.05, cap_s=0.2))
    _replace(session, "READS", Backoff(first_s=0.05, cap_s=0.2))
    # What is not there has to be missing for longer than the cloud may hold a request back, or hide an image.
    _replace(decide, "ABSENT_BASE_S", 1.5)
    _replace(decide, "ABSENT_PER_GIB_S", 0.0)
    _replace(decide, "ORPHAN_BASE_S", 3.0)
    _replace(decide, "ORPHAN_PER_GIB_S", 0.0)
    _replace(decide, "DEADLINE_BASE_S", 8.0)
    _replace(decide, "DEADLINE_PER_GIB_S", 0.0)
    _replace(decide, "DEADLINE_MIN_S", 8.0)
    _shorten_downtimes()
    _shorten_copies()
    # As in the product half the settling time, but without its least of a second.
    _replace(Settler, "_interval_s", lambda settler: settler._settle_s / 2)


def _shorten_downtimes() -> None:
    _replace(stop_server, "STABLE_FOR_S", 1.0)
    _replace(stop_server, "UP_AFTER_S", 1.0)
    _replace(stop_server, "GONE_AFTER_S", 1.0)
    _replace(groups, "LOOK_AGAIN_S", 0.3)
    _replace(server_copies, "LAG_S", 2.0)
    _replace(server_copies, "LOOK_AGAIN_S", 0.1)
    _replace(stop_server.StopServer, "poll_s", 0.1)
    _replace(server_witness, "CONFIRM_WITHIN_S", 8.0)
    _replace(server_witness, "LOOK_AGAIN_S", 0.2)
    _replace(requests, "ASK_AGAIN_S", 1.0)
    _replace(last_call, "ASK_EVERY_S", 0.2)


def _shorten_copies() -> None:
    _replace(temporary_volume.TemporaryVolume, "poll_s", 0.1)
    _replace(temporary_volume, "ABSENT_AFTER_S", 1.5)
    _replace(temporary_volume, "GONE_AFTER_S", 0.5)
    _replace(temporary_volume, "NEVER_SEEN_S", 2.0)
    _replace(listed_volumes, "LIST_S", 0.5)
    _replace(copy_watch, "HELD_EVERY_S", 1.0)


def shorten_leases(ttl_s: float) -> None:
    """Leases of `ttl_s` seconds, in the proportions of the real ones."""
    share = ttl_s / 30.0
    defaults = StateFile.take.__kwdefaults__
    assert defaults is not None
    defaults["ttl_s"] = ttl_s
    _replace(lease, "MARGIN_S", lease.MARGIN_S * share)
    _replace(target, "RENEW_EVERY_S", target.RENEW_EVERY_S * share)


def _replace(where: object, name: str, value: object) -> None:
    """Set an attribute that has to be there already: a renamed one must not go unnoticed."""
    getattr(where, name)
    setattr(where, name, value)
