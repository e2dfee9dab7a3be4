"""Whether an account can do a run. Plain functions on what the cloud reported; nothing is tried out here."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

import msgspec

from batchexport.cloud import AccountFacts
from batchexport.dialect import Dialect
from batchexport.model import ImageQuota

#: Seconds off at which a clock is noted, and beyond which signed requests are refused.
ODD_CLOCK_S, REFUSED_CLOCK_S = 60.0, 900.0
#: Seconds; a token with less may expire before the export of a large volume ends.
SHORT_LIFE_S = 3600.0
#: Roles with read access only.
READ_ONLY_ROLES = frozenset({"reader", "readonly", "te_guest", "observer"})


class CheckResult(StrEnum):
    """The result of a check."""

    OK = "ok"
    NOTE = "note"  #: worth knowing; does not prevent a run
    BAD = "bad"  #: a run would fail


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One check and its result."""

    name: str
    result: CheckResult
    words: str


def of_account(facts: AccountFacts) -> list[Check]:
    """Checks of the account and its permissions."""
    where = f"project {facts.project_name or facts.project_id or 'not told'}"
    if facts.signs_requests:
        words = f"requests are signed with an access key, {where}"
        return [Check(name="sign-in", result=CheckResult.OK, words=words)]
    who = f"user {facts.user_name}, " if facts.user_name else ""
    checks = [Check(name="sign-in", result=CheckResult.OK, words=f"{who}{where}")]
    if facts.token_life_s is not None:
        checks.append(_token(facts.token_life_s))
    if facts.roles:
        checks.append(_roles(facts.roles))
    return checks


def of_configuration(facts: AccountFacts) -> list[Check]:
    """Which files configure the account, and security notes on the connection to the cloud."""
    files = " and ".join(facts.config_files) or "variables and flags"
    checks = [Check(name="configuration", result=CheckResult.OK, words=files)]
    return checks + [Check(name="security", result=CheckResult.NOTE, words=note) for note in facts.notes]


def _token(life_s: float) -> Check:
    words = f"lasts {life_s / 3600:.1f} hours"
    if life_s >= SHORT_LIFE_S:
        return Check(name="token", result=CheckResult.OK, words=words)
    words += "; longer exports may fail where the services have no tokens of their own"
    return Check(name="token", result=CheckResult.NOTE, words=words)


def _roles(roles: Sequence[str]) -> Check:
    listed = ", ".join(sorted(roles))
    if set(roles) <= READ_ONLY_ROLES:
        words = f"{listed}: read only; an export needs a role that may write, such as member"
        return Check(name="roles", result=CheckResult.BAD, words=words)
    return Check(
        name="roles",
        result=CheckResult.OK,
        words=f"{listed}; only an export shows whether they allow exports",
    )


def of_endpoints(facts: AccountFacts, dialect: Dialect) -> list[Check]:
    """Checks of the service endpoints."""
    return [
        Check(
            name="block storage",
            result=CheckResult.OK,
            words=f"{facts.block_storage_url} (dialect {dialect.name})",
        ),
        Check(name="image service", result=CheckResult.OK, words=facts.image_url),
    ]


def of_clock(ahead_s: float, *, signs_requests: bool) -> Check:
    """Check of this machine's clock; the cloud's is `ahead_s` seconds ahead of it."""
    off_s = abs(ahead_s)
    # The cloud reports whole seconds, and a response takes time.
    if off_s < ODD_CLOCK_S:
        return Check(name="clock", result=CheckResult.OK, words="within a minute of the cloud's")
    direction = "behind" if ahead_s > 0 else "ahead of"
    words = f"{off_s / 60:.0f} minutes {direction} the cloud's"
    if signs_requests and off_s > REFUSED_CLOCK_S:
        return Check(name="clock", result=CheckResult.BAD, words=f"{words}: signatures are refused beyond 15")
    return Check(name="clock", result=CheckResult.NOTE, words=f"{words}; a run uses the cloud's")


def of_list(name: str, count: int, *, more: bool) -> Check:
    """Check of a list of which one page was read."""
    words = f"can be listed; there are {f'more than {count:,}' if more else f'{count:,}'}"
    return Check(name=name, result=CheckResult.OK, words=words)


def of_quota(quota: ImageQuota | None) -> Check:
    """Check of how many images may be made."""
    if quota is None:
        return Check(name="image quota", result=CheckResult.NOTE, words="not reported by the cloud")
    words = f"{quota.used} of {quota.allowed} images used, {quota.left} may be made"
    return Check(name="image quota", result=CheckResult.OK if quota.left else CheckResult.BAD, words=words)
