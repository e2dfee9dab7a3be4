import pytest

from batchexport.cloud import AccountFacts
from batchexport.dialect import EVS
from batchexport.model import ImageQuota
from batchexport.plan import fitness
from batchexport.plan.fitness import Fit


def facts(**changes):
    given = {
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


def fits(checks):
    return {check.name: check.fit for check in checks}


def test_an_account_that_may_write_is_fit():
    assert fits(fitness.of_account(facts())) == {"sign-in": Fit.OK, "token": Fit.OK, "roles": Fit.OK}


def test_roles_that_only_look_are_not():
    assert fits(fitness.of_account(facts(roles=("reader",))))["roles"] is Fit.BAD
    assert fits(fitness.of_account(facts(roles=("reader", "member"))))["roles"] is Fit.OK


def test_a_token_that_lasts_less_than_an_hour_is_worth_a_word():
    assert fits(fitness.of_account(facts(token_life_s=600.0)))["token"] is Fit.NOTE


def test_what_is_not_told_is_left_out():
    checks = fitness.of_account(facts(token_life_s=None, roles=(), user_name=None, project_name=None))
    assert [(check.name, check.words) for check in checks] == [("sign-in", "project p1")]
    (check,) = fitness.of_account(facts(signs_requests=True, project_name=None))
    assert check.words == "requests are signed with an access key, project p1"


def test_endpoints_are_shown_with_the_dialect():
    block, image = fitness.of_endpoints(facts(), EVS)
    assert block.words == "https://evs/v2/p1 (dialect evs)"
    assert image.words == "https://ims/v2"


@pytest.mark.parametrize(
    ("ahead_s", "signs", "fit", "words"),
    [
        (59.0, True, Fit.OK, "within a minute"),
        (-300.0, False, Fit.NOTE, "5 minutes ahead of the cloud's"),
        (300.0, True, Fit.NOTE, "5 minutes behind the cloud's"),
        (1200.0, False, Fit.NOTE, "20 minutes behind"),
        (1200.0, True, Fit.BAD, "refused beyond 15"),
    ],
)
def test_a_clock_is_judged_by_what_it_is_needed_for(ahead_s, signs, fit, words):
    check = fitness.of_clock(ahead_s, signs_requests=signs)
    assert check.fit is fit
    assert words in check.words


def test_lists_and_quota_are_told_in_numbers():
    assert fitness.of_list("volumes", 12, more=False).words == "may be listed; there are 12"
    assert fitness.of_list("volumes", 1000, more=True).words == "may be listed; there are more than 1,000"
    assert fitness.of_quota(None).fit is Fit.NOTE
    assert fitness.of_quota(ImageQuota(allowed=50, used=12)).words == "12 of 50 images used, 38 may be made"
    assert fitness.of_quota(ImageQuota(allowed=50, used=60)).fit is Fit.BAD
