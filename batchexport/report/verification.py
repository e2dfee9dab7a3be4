"""A verification for people and as JSON: the images that are not what was asked for, and the sums."""

from __future__ import annotations

import json
from collections.abc import Mapping

from batchexport.model import TargetKey
from batchexport.plan.image_checks import Mismatch, Verification
from batchexport.report.words import count_of, number, one_line

_LINE = "{:>7}  {:<36}  {:<36}  {}"


def verification_text(found: Mapping[TargetKey, Verification]) -> str:
    """A table of what is wrong, and what the images come to."""
    lines = []
    kept = [each for verification in found.values() for each in _in_order(verification)]
    if kept:
        lines.append(_LINE.format("LINE", "VOLUME", "IMAGE", "FINDING"))
        lines += [_row(each) for each in kept]
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
            f"{count_of(unverified, 'image')} not verified: the cloud does not tell whether they are as large"
            " as their volumes"
        )
    if unseen := sum(each.unseen for each in found.values()):
        lines.append(f"{count_of(unseen, 'image')} in no list of the project, and not read one by one")
    return "\n".join(lines)


def verification_json(found: Mapping[TargetKey, Verification]) -> str:
    """The same as one JSON object."""
    targets = [
        {
            "target": str(target),
            **target._asdict(),
            "images": each.images,
            "not_as_asked": each.mismatched,
            "size_not_verified": each.unverified,
            "compared_by_hash": each.hashed,
            "not_seen": each.unseen,
            "findings": [_json(unlike) for unlike in _in_order(each)],
        }
        for target, each in found.items()
    ]
    passed = all(each.passed for each in found.values())
    return json.dumps({"passed": passed, "targets": targets}, ensure_ascii=False, indent=2)


def _in_order(found: Verification) -> list[Mismatch]:
    return sorted(found.kept, key=lambda each: each.row.line)


def _row(each: Mismatch) -> str:
    words = "; ".join(finding.words for finding in each.findings)
    return _LINE.format(each.row.line, each.row.volume_id, each.row.image_id, one_line(words, 200))


def _json(each: Mismatch) -> dict[str, object]:
    return {
        "line": each.row.line,
        "volume_id": each.row.volume_id,
        "image_id": each.row.image_id,
        "findings": [{"code": finding.code, "words": finding.words} for finding in each.findings],
    }
