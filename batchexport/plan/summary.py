"""What a run would meet on one target: sums over all rows, the rows with findings, the time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from batchexport.config import CopyLimits
from batchexport.model import ImageQuota, Server, StorageQuota, Volume
from batchexport.plan.copies import Copies, CopyOutlook, copy_outlook
from batchexport.plan.deliveries import PlannedDelivery
from batchexport.plan.row_checks import Finding, Severity, most_severe
from batchexport.store import NeverAttempted

#: The severities of rows that are sent.
_SENT = (Severity.NEEDS_STOP, Severity.NEEDS_COPY, Severity.WARNING)
#: Findings beyond these are counted, not kept.
MAX_KEPT = 10_000


class RowFindings(msgspec.Struct, frozen=True, kw_only=True):
    """One row with findings."""

    line: int
    volume_id: str
    size_gib: int | None
    findings: tuple[Finding, ...]
    volume_name: str | None = None


class PlanSummary(msgspec.Struct):
    """What a run would meet on one target, summed up row by row."""

    rows: int = 0  #: checked
    sized: int = 0  #: rows that would be sent and whose size is known
    gib: int = 0  #: of these together
    max_gib: int = 0  #: of these
    by_severity: Counter[Severity] = msgspec.field(
        default_factory=Counter
    )  #: rows by their most severe finding
    kept: list[RowFindings] = msgspec.field(default_factory=list)
    #: Volume ids by the id of the server that must be stopped for them.
    volumes_by_server: dict[str, list[str]] = msgspec.field(default_factory=dict)
    volume_names: dict[str, str] = msgspec.field(default_factory=dict)  #: of these volumes, by id
    servers: dict[str, Server] = msgspec.field(
        default_factory=dict
    )  #: the servers that the cloud listed, by id
    unseen: int = 0  #: rows that were not checked
    presumed_missing: int = 0  #: rows in no list; of the others like them that were read, none exists
    images: int = 0  #: in the project
    quota: ImageQuota | None = None
    copies: Copies | None = None  #: of volumes in use
    storage_quota: StorageQuota | None = None  #: None = not told, or no volume is to be copied
    copy_limits: CopyLimits = CopyLimits()
    deliveries: dict[str, PlannedDelivery] = msgspec.field(default_factory=dict)  #: by destination

    def add(self, row: NeverAttempted, volume: Volume | None, findings: Sequence[Finding]) -> None:
        """Add one row."""
        self.rows += 1
        size = None if volume is None else volume.size_gib
        worst = most_severe(findings)
        if worst is not None:
            self.by_severity[worst.severity] += 1
            if len(self.kept) < MAX_KEPT:
                self.kept.append(
                    RowFindings(
                        line=row.line,
                        volume_id=row.job.volume_id,
                        size_gib=size,
                        findings=tuple(findings),
                        volume_name=None if volume is None else volume.name,
                    )
                )
        if volume is not None and worst is not None and worst.severity is Severity.NEEDS_STOP:
            for server_id in volume.server_ids:
                self.volumes_by_server.setdefault(server_id, []).append(volume.volume_id)
            if volume.name:
                self.volume_names[volume.volume_id] = volume.name
        is_copied = worst is not None and worst.severity is Severity.NEEDS_COPY
        if is_copied and volume is not None and self.copies is not None:
            self.copies.add(volume)
        if size is not None and (worst is None or worst.severity in _SENT):
            self.sized += 1
            self.gib += size
            self.max_gib = max(self.max_gib, size)

    def rule_out(self, server_id: str, finding: Finding) -> None:
        """Block the rows that depend on this server, which cannot be stopped."""
        of_it = set(self.volumes_by_server.get(server_id, ()))
        for place, row in enumerate(self.kept):
            worst = most_severe(row.findings)
            if row.volume_id not in of_it or worst is None or worst.severity is not Severity.NEEDS_STOP:
                continue
            self.by_severity[Severity.NEEDS_STOP] -= 1
            self.by_severity[Severity.BLOCKED] += 1
            self.kept[place] = replace(row, findings=(*row.findings, finding))
            if row.size_gib is not None:
                self.sized -= 1
                self.gib -= row.size_gib

    @property
    def not_kept(self) -> int:
        """Rows with findings beyond those kept."""
        return sum(self.by_severity.values()) - len(self.kept)

    @property
    def all_rows(self) -> int:
        """Every row of the target."""
        return self.rows + self.unseen + self.presumed_missing

    @property
    def to_export(self) -> int:
        """Rows that would be sent."""
        stopped = self.by_severity[Severity.BLOCKED] + self.by_severity[Severity.EXCLUDED]
        return self.rows + self.unseen - stopped

    @property
    def over_quota(self) -> int:
        """Rows that would be sent but whose images exceed the quota."""
        return 0 if self.quota is None else max(0, self.to_export - self.quota.left)

    def copy_outlook(self) -> CopyOutlook | None:
        """What copies of volumes in use take, and whether the quotas leave room; None = there are none."""
        if not self.copies:
            return None
        limits = self.copy_limits
        return copy_outlook(
            self.copies.counted(),
            self.storage_quota,
            max_temporary=limits.max_temporary,
            max_temporary_gib=limits.max_temporary_gib,
        )

    @property
    def cannot(self) -> int:
        """Rows that cannot be exported, for whatever reason."""
        outlook = self.copy_outlook()
        no_room = 0 if outlook is None else outlook.no_room
        return self.by_severity[Severity.BLOCKED] + self.presumed_missing + self.over_quota + no_room

    @property
    def undeliverable(self) -> list[str]:
        """The destinations that will refuse what goes there."""
        return [text for text, planned in self.deliveries.items() if planned.problems]


#: Documented read speeds of the slowest and the fastest disk types of EVS. No export was seen to be faster.
SLOW_MIB_PER_S, FAST_MIB_PER_S = 40, 320


class Expected(msgspec.Struct, frozen=True, kw_only=True):
    """The likely duration of a run, in seconds."""

    fast_s: float
    slow_s: float


def expected(*, rows: int, gib: int, max_gib: int, max_exports: int, requests_per_second: float) -> Expected:
    """The likely duration of a run of `rows` rows and `gib` GiB, with a largest volume of `max_gib`.

    The maximum of three times: the largest volume, all volumes over `max_exports`, the requests.
    """
    sending_s = rows / requests_per_second if requests_per_second else 0.0
    shared_gib = max(float(max_gib), gib / max(1, min(max_exports, rows)))
    fast_s, slow_s = (
        max(sending_s, shared_gib * 1024 / mib_per_s) for mib_per_s in (FAST_MIB_PER_S, SLOW_MIB_PER_S)
    )
    return Expected(fast_s=fast_s, slow_s=slow_s)
