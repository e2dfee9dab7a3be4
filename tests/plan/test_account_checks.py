from typing import Any

import pytest

from batchexport.cloud import AccountFacts
from batchexport.dialect import EVS
from batchexport.model import ImageQuota
from batchexport.plan import account_checks
from batchexport.plan.account_checks import Check, CheckResult


def facts(**changes: Any) -> AccountFacts:
    given: dict[str, Any] = {
        "signs_requests": False,
        "project_id": "p1",
        "project_name": "night",
        "user_name": "ann",
        "roles": ("member",),
        "token_life_s": 86400.0,
        "block_storage_url": "https://evs/v2/p1",
        "image_url": "https://ims/v2",
    }
    return AccountFacts(**(given | changes))


def fits(checks: list[Check]) -> dict[str, CheckResult]:
    return {check.name: check.result for check in checks}


def test_an_account_that_may_write_is_fit() -> None:
    assert fits(account_checks.of_account(facts())) == {
        "sign-in": CheckResult.OK,
        "token": CheckResult.OK,
        "roles": CheckResult.OK,
    }


def test_roles_that_only_look_are_not() -> None:
    assert fits(account_checks.of_account(facts(roles=("reader",))))["roles"] is CheckResult.BAD
    assert fits(account_checks.of_account(facts(roles=("reader", "member"))))["roles"] is CheckResult.OK


def test_a_token_that_lasts_less_than_an_hour_is_worth_a_word() -> None:
    assert fits(account_checks.of_account(facts(token_life_s=600.0)))["token"] is CheckResult.NOTE


def test_what_is_not_told_is_left_out() -> None:
    checks = account_checks.of_account(facts(token_life_s=None, roles=(), user_name=None, project_name=None))
    assert [(check.name, check.words) for check in checks] == [("sign-in", "project p1")]
    (check,) = account_checks.of_account(facts(signs_requests=True, project_name=None))
    assert check.words == "requests are signed with an access key, project p1"


def test_endpoints_are_shown_with_the_dialect() -> None:
    block, image = account_checks.of_endpoints(facts(), EVS)
    assert block.words == "https://evs/v2/p1 (dialect evs)"
    assert image.words == "https://ims/v2"


@pytest.mark.parametrize(
    ("ahead_s", "signs", "fit", "words"),
    [
        (59.0, True, CheckResult.OK, "within a minute"),
        (-300.0, False, CheckResult.NOTE, "5 minutes ahead of the cloud's"),
        (300.0, True, CheckResult.NOTE, "5 minutes behind the cloud's"),
        (1200.0, False, CheckResult.NOTE, "20 minutes behind"),
        (1200.0, True, CheckResult.BAD, "refused beyond 15"),
    ],
)
def test_a_clock_is_judged_by_what_it_is_needed_for(
    ahead_s: float, signs: bool, fit: CheckResult, words: str
) -> None:
    check = account_checks.of_clock(ahead_s, signs_requests=signs)
    assert check.result is fit
    assert words in check.words


def test_lists_and_quota_are_told_in_numbers() -> None:
    assert account_checks.of_list("volumes", 12, more=False).words == "can be listed; there are 12"
    assert (
        account_checks.of_list("volumes", 1000, more=True).words == "can be listed; there are more than 1,000"
    )
    assert account_checks.of_quota(None).result is CheckResult.NOTE
    assert (
        account_checks.of_quota(ImageQuota(allowed=50, used=12)).words
        == "12 of 50 images used, 38 may be made"
    )
    assert account_checks.of_quota(ImageQuota(allowed=50, used=60)).result is CheckResult.BAD
