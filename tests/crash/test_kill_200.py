"""200 volumes, `kill -9` in the middle, the same command again: exactly one image each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from tests.crash.invariants import violations
from tests.crash.site import Site
from tests.crash.waiting import wait_until

QUICK = ("--requests-per-second", "0", "--max-exports", "200", "--poll-interval", "0.2")
RUN = ("batchexport", "run", "volumes.csv", "--settle-time", "1", *QUICK)


def test_200_volumes_killed_in_the_middle_end_as_200_images(calm_site: Callable[[int], Site]) -> None:
    site = calm_site(200)
    before = len(site.cloud.exports())
    with site.plain_process(*RUN) as process:
        wait_until(lambda: len(site.cloud.exports()) - before >= 60)
        process.kill()
        killed = site.end_of(process)
    assert killed.killed
    assert len(site.cloud.exports()) - before < 200

    with site.plain_process(*RUN) as process:
        ended = site.end_of(process)
    assert ended.exit_code == 0, ended.talk
    assert "200 rows = 200 succeeded" in ended.talk
    assert len(site.cloud.exports()) - before == 200
    assert violations(site.state_path, site.volume_ids, site.cloud) == []


def test_the_practice_cloud_that_dies_with_its_run_holds_one_image_each_as_well(
    calm_site: Callable[[int], Site],
) -> None:
    site = calm_site(200)
    (site.folder / "clouds.yaml").write_text("clouds: {}\n")
    site.environment["OS_CLIENT_CONFIG_FILE"] = str(site.folder / "clouds.yaml")
    journal = site.folder / "volumes.state.sandbox"
    with site.plain_process(*RUN, "--no-wait") as process:
        wait_until(lambda: len(accepted(journal)) >= 60)
        process.kill()
        assert site.end_of(process).killed

    with site.plain_process(*RUN, "--no-wait") as process:
        ended = site.end_of(process)
    assert ended.exit_code == 0, ended.talk
    assert sorted(accepted(journal)) == sorted(site.volume_ids)


def accepted(journal: Path) -> list[str]:
    """The volumes of all exports that a journal tells of."""
    lines = journal.read_bytes().split(b"\n")[:-1] if journal.exists() else []
    events = map(msgspec.json.decode, lines)
    return [event["volume_id"] for event in events if event["event"] == "export"]
