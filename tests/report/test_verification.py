import json
from typing import Any

from batchexport.model import NO_OPTIONS, TargetKey
from batchexport.plan import Finding, Severity
from batchexport.plan.image_checks import Mismatch, Verification
from batchexport.report.verification import verification_json, verification_text
from batchexport.store import Exported

HERE = TargetKey()


def unlike(line: int) -> Any:
    row = Exported(
        line=line,
        volume_id=f"v{line}",
        image_id=f"i{line}",
        image_name="n",
        options=NO_OPTIONS,
        size_gib=1,
        image_hash=None,
        is_shared=False,
    )
    words = (
        Finding(severity=Severity.MISMATCH, code="image_short", words="it is short"),
        Finding(severity=Severity.MISMATCH, code="image_hash", words="its hash is another"),
    )
    return Mismatch(row=row, findings=words)


def test_each_image_that_is_not_as_asked_is_one_line() -> None:
    found = Verification(images=5, mismatched=2, hashed=4, kept=[unlike(9), unlike(2)])
    lines = verification_text({HERE: found}).splitlines()
    assert lines[1].split() == ["2", "v2", "i2", "it", "is", "short;", "its", "hash", "is", "another"]
    assert lines[2].split()[:3] == ["9", "v9", "i9"]
    assert lines[-1] == "5 images: 3 as asked, 2 not; 4 compared by their hash"


def test_names_of_volumes_stand_before_their_ids() -> None:
    found = {HERE: Verification(images=5, mismatched=2, kept=[unlike(9), unlike(2)])}
    lines = verification_text(found, {"v2": "db-02 data"}).splitlines()
    assert lines[0].split() == ["LINE", "NAME", "VOLUME", "IMAGE", "FINDING"]
    assert lines[1].split()[:4] == ["2", "db-02", "data", "v2"]
    assert lines[2].split()[:2] == ["9", "v9"]
    (target,) = json.loads(verification_json(found, {"v2": "db-02 data"}))["targets"]
    assert [each["volume_name"] for each in target["findings"]] == ["db-02 data", None]


def test_images_whose_size_nobody_tells_are_not_called_as_asked() -> None:
    lines = verification_text({HERE: Verification(images=5, unverified=2)}).splitlines()
    assert lines[0] == "5 images: 3 as asked, 0 not; 0 compared by their hash"
    assert lines[1].startswith("2 images not verified: the cloud does not report")


def test_images_beyond_many_and_those_not_seen_are_counted() -> None:
    found = Verification(images=5, mismatched=3, unseen=7, kept=[unlike(2)])
    lines = verification_text({HERE: found}).splitlines()
    assert "… and 2 images more" in lines
    assert lines[-1] == "7 images in no list of the project, and not read one by one"


def test_json_holds_every_finding_by_target() -> None:
    found = {
        HERE: Verification(images=1),
        TargetKey(cloud="b"): Verification(images=1, mismatched=1, kept=[unlike(2)]),
    }
    content = json.loads(verification_json(found))
    assert content["passed"] is False
    assert [target["not_as_asked"] for target in content["targets"]] == [0, 1]
    assert content["targets"][1]["findings"][0]["findings"][0] == {
        "code": "image_short",
        "words": "it is short",
    }
