"""Shorter waits, so that a run that meets many faults ends in seconds. None of them is left out."""

from __future__ import annotations

from batchexport.cloud import session
from batchexport.engine import ledger, submit, target
from batchexport.engine.settle import Settler
from batchexport.retry import Backoff
from batchexport.store import StateFile, lease


def shorten_waits() -> None:
    """Make every pause after a failure a fraction of a second, and look for lost answers as often."""
    _replace(ledger, "BETWEEN_ATTEMPTS", Backoff(first_s=0.1, cap_s=0.4))
    _replace(submit, "UNREACHABLE", Backoff(first_s=0.05, cap_s=0.2))
    _replace(session, "READS", Backoff(first_s=0.05, cap_s=0.2))
    # As in the product half the settling time, but without its least of a second.
    _replace(Settler, "_interval_s", lambda settler: settler._settle_s / 2)


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
