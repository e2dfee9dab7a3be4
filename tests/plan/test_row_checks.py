from typing import Any

import pytest

from batchexport.config import InUse
from batchexport.dialect import CINDER, EVS
from batchexport.model import JobState, Volume
from batchexport.plan import Finding, Severity, check_row, most_severe
from batchexport.plan.row_checks import ending_for, name_taken
from tests.plan.records import job, rules, volume


def told(findings: list[Finding]) -> Any:
    return [(finding.severity, finding.code) for finding in findings]


def test_nothing_speaks_against_a_free_volume_of_a_usual_size() -> None:
    assert check_row(job(), volume(), rules()) == []
    assert check_row(job(), volume(), rules(EVS)) == []


def test_a_volume_that_is_not_there_cannot_go() -> None:
    assert told(check_row(job(), None, rules())) == [(Severity.BLOCKED, "volume_not_found")]


def test_what_a_short_record_does_not_tell_is_not_held_against_the_row() -> None:
    bare = Volume(volume_id="v", status="available")
    assert check_row(job(), bare, rules()) == []


@pytest.mark.parametrize("status", ["error", "deleting", "error_extending", "managing", "some-new-word"])
def test_a_status_that_does_not_pass_by_itself_stops_the_row(status: str) -> None:
    (finding,) = check_row(job(), volume(status=status), rules())
    assert finding.severity is Severity.BLOCKED
    assert status in finding.words


@pytest.mark.parametrize("status", ["backing-up", "creating", "reserved"])
def test_a_status_that_passes_does_not(status: str) -> None:
    assert told(check_row(job(), volume(status=status), rules())) == [(Severity.WARNING, "volume_busy")]


def test_a_volume_that_is_being_exported_may_be_our_own_doing() -> None:
    assert told(check_row(job(), volume(status="uploading"), rules())) == [(Severity.WARNING, "uploading")]


@pytest.mark.parametrize(
    ("in_use", "force", "weight"),
    [
        (InUse.FAIL, None, Severity.BLOCKED),
        (InUse.FAIL, False, Severity.BLOCKED),
        (InUse.FAIL, True, Severity.WARNING),
        (InUse.FORCE, None, Severity.WARNING),
        (InUse.SKIP, None, Severity.EXCLUDED),
        (InUse.SKIP, True, Severity.EXCLUDED),
        (InUse.STOP, None, Severity.NEEDS_STOP),
        (InUse.STOP, True, Severity.NEEDS_STOP),
    ],
)
def test_a_volume_in_use_goes_by_the_settings(in_use: InUse, force: bool | None, weight: Any) -> None:
    row = job(force=force) if force is not None else job()
    (finding,) = check_row(row, volume(status="in-use", servers=["s1"]), rules(in_use=in_use))
    assert (finding.severity, finding.code) == (weight, "in_use")
    assert "server s1" in finding.words


def test_a_row_has_its_own_word_about_volumes_in_use() -> None:
    (finding,) = check_row(job(in_use=InUse.STOP), volume(status="in-use"), rules(in_use=InUse.FAIL))
    assert finding.severity is Severity.NEEDS_STOP


@pytest.mark.parametrize(
    ("servers", "words"),
    [
        ([], "attached to a server;"),
        (["a"], "attached to server a;"),
        (["a", "b"], "attached to servers a, b;"),
        (["a", "b", "c", "d", "e"], "attached to servers a, b, c and 2 more;"),
    ],
)
def test_the_servers_of_a_volume_are_named(servers: list[str], words: str) -> None:
    (finding,) = check_row(job(), volume(status="in-use", servers=servers), rules())
    assert words in finding.words


def test_evs_takes_volumes_up_to_its_limit() -> None:
    assert check_row(job(), volume(size_gib=1024), rules(EVS)) == []
    assert told(check_row(job(), volume(size_gib=1025), rules(EVS))) == [(Severity.BLOCKED, "too_large")]


def test_elsewhere_the_limit_is_only_likely() -> None:
    assert told(check_row(job(), volume(size_gib=1025), rules(CINDER))) == [(Severity.WARNING, "too_large")]
    assert check_row(job(), volume(size_gib=None), rules(CINDER)) == []


def test_a_format_that_the_cloud_has_not_stops_the_row() -> None:
    assert told(check_row(job(disk_format="vmdk"), volume(), rules(EVS))) == [
        (Severity.BLOCKED, "disk_format")
    ]
    assert told(check_row(job(), volume(), rules(CINDER, disk_format="zvhd"))) == [
        (Severity.BLOCKED, "disk_format")
    ]
    assert check_row(job(disk_format="raw"), volume(), rules(CINDER, disk_format="zvhd")) == []


def test_wishes_that_the_cloud_has_no_field_for_are_told() -> None:
    (finding,) = check_row(job(visibility="shared", protected=False), volume(), rules(EVS))
    assert (finding.severity, finding.code) == (Severity.WARNING, "option_dropped")
    assert finding.words.startswith("visibility and protection will not be set")
    assert check_row(job(visibility="shared"), volume(), rules(CINDER)) == []
    (finding,) = check_row(job(os_type="linux"), volume(), rules(CINDER))
    assert finding.words.startswith("os type will not be set")
    assert check_row(job(os_type="linux"), volume(), rules(EVS)) == []


def test_an_encrypted_volume_goes_as_raw_and_bare_only() -> None:
    encrypted = volume(encrypted=True)
    assert check_row(job(), encrypted, rules(CINDER)) == []
    assert check_row(job(), encrypted, rules(EVS, disk_format="zvhd2")) == []
    (finding,) = check_row(job(disk_format="qcow2"), encrypted, rules(CINDER))
    assert (finding.severity, finding.code) == (Severity.BLOCKED, "encrypted")
    assert "raw/bare only, not as qcow2/bare" in finding.words
    assert told(check_row(job(container_format="ovf"), encrypted, rules(CINDER))) == [
        (Severity.BLOCKED, "encrypted")
    ]


def test_reserved_image_metadata_may_make_an_export_fail() -> None:
    marked = volume(
        image_metadata={"os_glance_import_task": "x", "os_glance_failed_import": "", "os_type": "linux"}
    )
    (finding,) = check_row(job(), marked, rules())
    assert (finding.severity, finding.code) == (Severity.WARNING, "reserved_metadata")
    assert "os_glance_failed_import, os_glance_import_task" in finding.words


def test_the_gravest_finding_decides_how_a_row_ends() -> None:
    findings = check_row(job(disk_format="vmdk"), volume(status="in-use"), rules(EVS, in_use=InUse.SKIP))
    assert told(findings) == [(Severity.EXCLUDED, "in_use"), (Severity.BLOCKED, "disk_format")]
    assert most_severe(findings) is findings[1]
    ended = ending_for(findings)
    assert ended is not None
    state, ending = ended
    assert (state, ending.code) == (JobState.FAILED, "disk_format")
    assert ending.reason.startswith("not sent: disk format vmdk")


def test_a_row_that_is_left_out_is_skipped_and_one_that_may_fail_goes() -> None:
    skipped = check_row(job(), volume(status="in-use"), rules(in_use=InUse.SKIP))
    ended = ending_for(skipped)
    assert ended is not None and ended[0] is JobState.SKIPPED
    assert ending_for([name_taken(job(name="x"))]) is None
    assert ending_for([]) is None
    assert most_severe([]) is None
