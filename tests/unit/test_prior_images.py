"""What images that were found prove of the row whose name they bear."""

import pytest

from batchexport.engine.prior_images import Prior
from batchexport.model import Image

OURS = Image(image_id="i-1", name="db", status="active")
NAMED = Image(image_id="i-2", name="db", status="active")


@pytest.mark.parametrize(
    ("prior", "is_proved", "found"),
    [
        (Prior(), True, []),
        (Prior(live=[OURS]), True, [OURS]),  # its id was the answer to our own request
        (Prior(named=[NAMED]), False, [NAMED]),
        (Prior(named=[NAMED], proved=True), True, [NAMED]),  # nobody else's can bear the name
        (Prior(live=[OURS], named=[NAMED]), False, [OURS, NAMED]),
        (Prior(live=[OURS], proved=True), True, [OURS]),
        (Prior(orphaned=[OURS]), True, []),
    ],
)
def test_an_image_of_the_name_alone_is_no_proof(prior: Prior, is_proved: bool, found: list[Image]) -> None:
    assert prior.is_proved is is_proved
    assert prior.found == found
