"""Shorter waits, so that a run that meets many faults ends in seconds. Which waits there are stays as it is."""

from __future__ import annotations

from batchexport.cloud import session
from batchexport.engine import ledger, submit, target
from batchexport.engine.settle import Settler
from batchexport.retry import Backoff
from batchexport.store import StateFile, lease


def shorten_waits() -> None:
    """Make every pause after a failure a fraction of a second, and look for lost answers as often."""
    ledger.BETWEEN_ATTEMPTS = Backoff(first_s=0.1, cap_s=0.4)
    submit.UNREACHABLE = Backoff(first_s=0.05, cap_s=0.2)
    session.READS = Backoff(first_s=0.05, cap_s=0.2)
    # As in the product half the settling time, but without its least of a second.
    Settler._interval_s = lambda settler: settler._settle_s / 2  # type: ignore[method-assign]


def shorten_leases(ttl_s: float) -> None:
    """Leases of `ttl_s` seconds, in the proportions of the real ones."""
    share = ttl_s / 30.0
    defaults = StateFile.take.__kwdefaults__
    assert defaults is not None
    defaults["ttl_s"] = ttl_s
    lease.MARGIN_S *= share
    target.RENEW_EVERY_S *= share
