"""Deliveries of a run: where each image is now, what verified it, and what is missing."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

import msgspec

from batchexport.deliveries import Delivery, DeliveryCounts, DeliveryPolicy, DeliveryState
from batchexport.model import JobState
from batchexport.report.text import count_of, number
from batchexport.store import JobReport, Reader, count_deliveries, read_deliveries, read_policy

_GIB = 2**30
_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
#: A row is as far as the least of its deliveries, in this order.
_ORDER = (
    DeliveryState.FAILED,
    DeliveryState.IN_DOUBT,
    DeliveryState.DELIVERING,
    DeliveryState.PENDING,
    DeliveryState.DELIVERED,
)


class RowDeliveries(msgspec.Struct, frozen=True, kw_only=True):
    """The deliveries of one row, in words."""

    state: str | None = None  #: None = it has no image, or that is to go nowhere
    places: str | None = None  #: what is where: `cloud:west = 81eaff52-…`, several with `; `
    notes: str | None = None  #: how each was verified, or why it is not there


class DeliveryReport(msgspec.Struct, frozen=True, kw_only=True):
    """The deliveries of a run. Of a run that delivers nothing there are none."""

    counts: DeliveryCounts | None = None
    policy: DeliveryPolicy | None = None
    by_job: Mapping[int, Sequence[Delivery]] = msgspec.field(default_factory=dict)

    def of(self, job: JobReport) -> RowDeliveries:
        """Those of a row."""
        if job.state is not JobState.SUCCEEDED or not (self.policy or self.by_job):
            return RowDeliveries()
        theirs = [each for each in self.by_job.get(job.job_id, ()) if each.image_id == job.image_id]
        wanted = self.policy.of(job.options.deliver) if self.policy else ()
        return _in_words(theirs, [each for each in wanted if each not in {one.destination for one in theirs}])

    @property
    def by_destination(self) -> Mapping[str, Sequence[Delivery]]:
        """Every delivery on record, by where it goes, in the order of their places."""
        found: dict[str, list[Delivery]] = {}
        for theirs in self.by_job.values():
            for each in theirs:
                found.setdefault(each.destination, []).append(each)
        return found


def delivery_report(reader: Reader) -> DeliveryReport:
    """The deliveries of a run, all of them read at once: a run that delivers has them in memory anyway."""
    by_job: dict[int, list[Delivery]] = {}
    for each in read_deliveries(reader):
        by_job.setdefault(each.job_id, []).append(each)
    return DeliveryReport(counts=count_deliveries(reader), policy=read_policy(reader), by_job=by_job)


def delivery_lines(counts: DeliveryCounts | None) -> list[str]:
    """How far the deliveries are; empty for a run that has none."""
    if counts is None or not counts.total:
        return []
    done = counts.deliveries.get(DeliveryState.DELIVERED, 0)
    parts = [f"{number(done)} of {number(counts.total)} deliveries done and verified"]
    parts += [f"{counts.bytes_delivered / _GIB:.2f} GiB"] if counts.bytes_delivered else []
    parts += [f"{number(counts.open)} to do"] if counts.open else []
    parts += [f"{number(counts.failed)} failed"] if counts.failed else []
    lines = [", ".join(parts)]
    if counts.rows_undelivered:
        lines.append(f"{count_of(counts.rows_undelivered, 'row')} exported, but not delivered")
    if counts.undropped:
        lines.append(f"{count_of(counts.undropped, 'source image')} delivered, but not deleted")
    return lines


def counts_json(counts: DeliveryCounts | None) -> Mapping[str, object] | None:
    """The counts for JSON; None for a run that delivers nothing."""
    if counts is None:
        return None
    return {
        **{state.value: counts.deliveries.get(state, 0) for state in DeliveryState},
        "bytes_delivered": counts.bytes_delivered,
        "rows_undelivered": counts.rows_undelivered,
        "source_images_to_delete": counts.undropped,
    }


def deliveries_json(report: DeliveryReport, job: JobReport) -> list[Mapping[str, object]]:
    """The deliveries of a row for JSON."""
    return [
        {
            "to": each.destination,
            "state": each.state.value,
            "result_id": each.result_id if each.state is DeliveryState.DELIVERED else None,
            "size_bytes": each.size_bytes,
            "hash": each.image_hash,
            "verified_by": each.verified_by,
            "reason": each.reason,
        }
        for each in report.by_job.get(job.job_id, ())
    ]


def missing(report: DeliveryReport) -> list[Delivery]:
    """The deliveries on record that are not there, those that failed first."""
    found = [
        each
        for theirs in report.by_job.values()
        for each in theirs
        if each.state is not DeliveryState.DELIVERED
    ]
    return sorted(found, key=lambda each: (_ORDER.index(each.state), each.line, each.position))


def summary_rows(report: DeliveryReport) -> list[list[str]]:
    """For each destination: its name, how many, delivered, to do, failed, GiB, and what verified them."""
    rows = []
    for destination, theirs in report.by_destination.items():
        done = [each for each in theirs if each.state is DeliveryState.DELIVERED]
        failed = sum(each.state is DeliveryState.FAILED for each in theirs)
        size = sum(each.size_bytes or 0 for each in done)
        counts = (len(theirs), len(done), len(theirs) - len(done) - failed, failed)
        rows.append([destination, *map(number, counts), f"{size / _GIB:.2f}", _proofs(done)])
    return rows


def _proofs(done: Collection[Delivery]) -> str:
    """What verified these, each wording once, without what differs from row to row."""
    words = dict.fromkeys(_ID.sub("", each.verified_by or "").strip() for each in done)
    shown = list(words)[:3]
    return "; ".join(shown) + (" …" if len(words) > len(shown) else "")


def _in_words(theirs: Sequence[Delivery], unplanned: Sequence[str]) -> RowDeliveries:
    if not theirs and not unplanned:
        return RowDeliveries()
    states = {each.state for each in theirs} | ({DeliveryState.PENDING} if unplanned else set())
    there = [each for each in theirs if each.state is DeliveryState.DELIVERED]
    notes = [
        f"{each.destination}: {(each.verified_by if each in there else each.reason) or each.state}"
        for each in theirs
    ]
    return RowDeliveries(
        state=next(state for state in _ORDER if state in states).value,
        places="; ".join(f"{each.destination} = {each.result_id}" for each in there) or None,
        notes="; ".join([*notes, *(f"{each}: not begun" for each in unplanned)]),
    )
