"""Whether an account is fit for a run. Plain functions on what the cloud told; nothing is tried out here."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from batchexport.cloud import AccountFacts
from batchexport.dialect import Dialect
from batchexport.model import ImageQuota

#: A clock this far off is worth a word; signatures are refused beyond the second.
ODD_CLOCK_S, REFUSED_CLOCK_S = 60.0, 900.0
#: A token that lasts less may end before the copying of a large volume does.
SHORT_LIFE_S = 3600.0
#: Roles that may look and no more.
LOOKERS = frozenset({"reader", "readonly", "te_guest", "observer"})


class Fit(StrEnum):
    """What a check came to."""

    OK = "ok"
    NOTE = "note"  #: worth knowing; stands in no run's way
    BAD = "bad"  #: a run would fail


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was checked."""

    name: str
    fit: Fit
    words: str


def of_account(facts: AccountFacts) -> list[Check]:
    """The checks of who asks, and of what that may do."""
    where = f"project {facts.project_name or facts.project_id or 'not told'}"
    if facts.signs_requests:
        words = f"requests are signed with an access key, {where}"
        return [Check(name="sign-in", fit=Fit.OK, words=words)]
    who = f"user {facts.user_name}, " if facts.user_name else ""
    checks = [Check(name="sign-in", fit=Fit.OK, words=f"{who}{where}")]
    if facts.token_life_s is not None:
        checks.append(_token(facts.token_life_s))
    if facts.roles:
        checks.append(_roles(facts.roles))
    return checks


def of_configuration(facts: AccountFacts) -> list[Check]:
    """Which files describe the account, and what should be known of the way to the cloud."""
    files = " and ".join(facts.config_files) or "variables and flags"
    checks = [Check(name="configuration", fit=Fit.OK, words=files)]
    return checks + [Check(name="security", fit=Fit.NOTE, words=note) for note in facts.notes]


def _token(life_s: float) -> Check:
    words = f"lasts {life_s / 3600:.1f} hours"
    if life_s >= SHORT_LIFE_S:
        return Check(name="token", fit=Fit.OK, words=words)
    words += "; an export that takes longer may fail where the services have no tokens of their own"
    return Check(name="token", fit=Fit.NOTE, words=words)


def _roles(roles: Sequence[str]) -> Check:
    listed = ", ".join(sorted(roles))
    if set(roles) <= LOOKERS:
        words = f"{listed}: may look and no more; an export needs a role that may write, as member"
        return Check(name="roles", fit=Fit.BAD, words=words)
    return Check(name="roles", fit=Fit.OK, words=f"{listed}; whether they allow exports, only one can show")


def of_endpoints(facts: AccountFacts, dialect: Dialect) -> list[Check]:
    """The checks of where the services are."""
    return [
        Check(name="block storage", fit=Fit.OK, words=f"{facts.block_storage_url} (dialect {dialect.name})"),
        Check(name="image service", fit=Fit.OK, words=facts.image_url),
    ]


def of_clock(ahead_s: float, *, signs_requests: bool) -> Check:
    """The check of this machine's clock; `ahead_s` is how far the cloud's is ahead of it."""
    off_s = abs(ahead_s)
    # The cloud tells whole seconds, and an answer takes its time.
    if off_s < ODD_CLOCK_S:
        return Check(name="clock", fit=Fit.OK, words="within a minute of the cloud's")
    direction = "behind" if ahead_s > 0 else "ahead of"
    words = f"{off_s / 60:.0f} minutes {direction} the cloud's"
    if signs_requests and off_s > REFUSED_CLOCK_S:
        return Check(name="clock", fit=Fit.BAD, words=f"{words}: signatures are refused beyond 15")
    return Check(name="clock", fit=Fit.NOTE, words=f"{words}; a run goes by the cloud's")


def of_list(name: str, count: int, *, more: bool) -> Check:
    """The check of a list of which one page was read."""
    words = f"may be listed; there are {f'more than {count:,}' if more else f'{count:,}'}"
    return Check(name=name, fit=Fit.OK, words=words)


def of_quota(quota: ImageQuota | None) -> Check:
    """The check of how many images may be made."""
    if quota is None:
        return Check(name="image quota", fit=Fit.NOTE, words="the cloud does not tell")
    words = f"{quota.used} of {quota.allowed} images used, {quota.left} may be made"
    return Check(name="image quota", fit=Fit.OK if quota.left else Fit.BAD, words=words)
