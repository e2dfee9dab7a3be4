"""What `verify` found, as text, records and JSON."""

from __future__ import annotations

import json
from collections.abc import Mapping

from batchexport.model import TargetKey
from batchexport.plan.image_checks import Mismatch, Verification
from batchexport.report.listing import Listing
from batchexport.report.servers import NO_NAMES
from batchexport.report.text import count_of, name_cell, number, printable

#: Columns of the list of findings.
MISMATCH_COLUMNS = ("target", "line", "volume_id", "volume_name", "image_id", "code", "words")
_LINE = "{:>7}  {}{:<36}  {:<36}  {}"


def verification_text(found: Mapping[TargetKey, Verification], names: Mapping[str, str] = NO_NAMES) -> str:
    """A table of what is wrong, and the sums. `names` are those of volumes, by id."""
    lines = []
    kept = [each for verification in found.values() for each in _by_line(verification)]
    if kept:
        named = any(each.row.volume_id in names for each in kept)
        lines.append(_LINE.format("LINE", name_cell("NAME", named), "VOLUME", "IMAGE", "FINDING"))
        lines += [_mismatch_text(each, name_cell(names.get(each.row.volume_id), named)) for each in kept]
        lines.append("")
    unlike = sum(each.mismatched for each in found.values())
    if unlike > len(kept):
        lines.insert(-1, f"… and {count_of(unlike - len(kept), 'image')} more")
    images = sum(each.images for each in found.values())
    hashed = sum(each.hashed for each in found.values())
    unverified = sum(each.unverified for each in found.values())
    lines.append(
        f"{count_of(images, 'image')}: {number(images - unlike - unverified)} as asked, {number(unlike)} not;"
        f" {number(hashed)} compared by their hash"
    )
    if unverified:
        lines.append(
            f"{count_of(unverified, 'image')} not verified: the cloud does not report whether they are"
            " as large as their volumes"
        )
    if unseen := sum(each.unseen for each in found.values()):
        lines.append(f"{count_of(unseen, 'image')} in no list of the project, and not read one by one")
    return "\n".join(lines)


def verification_json(found: Mapping[TargetKey, Verification], names: Mapping[str, str] = NO_NAMES) -> str:
    """The verification as one JSON object."""
    targets = [
        {
            "target": str(target),
            **target._asdict(),
            "images": each.images,
            "not_as_asked": each.mismatched,
            "size_not_verified": each.unverified,
            "compared_by_hash": each.hashed,
            "not_seen": each.unseen,
            "findings": [_mismatch_json(unlike, names) for unlike in _by_line(each)],
        }
        for target, each in found.items()
    ]
    passed = all(each.passed for each in found.values())
    return json.dumps({"passed": passed, "targets": targets}, ensure_ascii=False, indent=2)


def verification_listing(
    found: Mapping[TargetKey, Verification], names: Mapping[str, str] = NO_NAMES
) -> Listing:
    """What is wrong with images, as records."""
    records = [
        {
            "target": str(target),
            **_mismatch_json(each, names),
            "code": finding.code,
            "words": finding.words,
        }
        for target, verification in found.items()
        for each in _by_line(verification)
        for finding in each.findings
    ]
    return Listing(columns=MISMATCH_COLUMNS, records=records)


def _by_line(found: Verification) -> list[Mismatch]:
    return sorted(found.kept, key=lambda each: each.row.line)


def _mismatch_text(each: Mismatch, name: str) -> str:
    words = "; ".join(finding.words for finding in each.findings)
    return _LINE.format(each.row.line, name, each.row.volume_id, each.row.image_id, printable(words))


def _mismatch_json(each: Mismatch, names: Mapping[str, str]) -> dict[str, object]:
    return {
        "line": each.row.line,
        "volume_id": each.row.volume_id,
        "volume_name": names.get(each.row.volume_id),
        "image_id": each.row.image_id,
        "findings": [{"code": finding.code, "words": finding.words} for finding in each.findings],
    }
