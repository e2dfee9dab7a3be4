"""A 503 is the word of a gateway that took nothing; one that says so and passes the request on is met too."""

from __future__ import annotations

from pathlib import Path

from tests.crash.cloud import flaky_cloud
from tests.crash.flaky_cloud import Fate
from tests.crash.invariants import violations
from tests.crash.site import Site


def test_a_503_after_the_request_was_passed_on_makes_no_second_image(tmp_path: Path) -> None:
    with flaky_cloud(tmp_path, "--share", "0.2", "--fate", Fate.UNAVAILABLE_AFTER) as cloud:
        site = Site(tmp_path, cloud, volumes=40, seed="gateway")
        ended = site.run()
        assert ended.exit_code == 0, ended.talk
        assert Fate.UNAVAILABLE_AFTER in {fate for _, fate in cloud.requests()}
        assert violations(site.state_path, site.volume_ids, cloud) == []
