"""What a run would meet on one target: sums over all rows, and the rows that something speaks against."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec
from msgspec.structs import replace

from batchexport.model import ImageQuota, Server, Volume
from batchexport.plan.findings import Finding, Weight, worst
from batchexport.store import Unsent

#: More findings than anybody reads are counted, not kept.
MOST_KEPT = 10_000


class RowFindings(msgspec.Struct, frozen=True, kw_only=True):
    """One row that something speaks against."""

    line: int
    volume_id: str
    size_gib: int | None
    findings: tuple[Finding, ...]


class Outlook(msgspec.Struct):
    """One target, row by row."""

    rows: int = 0  #: looked at
    sized: int = 0  #: rows that can go and whose size is known
    gib: int = 0  #: of these together
    largest_gib: int = 0  #: of these
    by_weight: Counter[Weight] = msgspec.field(default_factory=Counter)  #: rows by their gravest finding
    kept: list[RowFindings] = msgspec.field(default_factory=list)
    #: Ids; the servers that rows hang on.
    volumes_by_server: dict[str, list[str]] = msgspec.field(default_factory=dict)
    servers: dict[str, Server] = msgspec.field(default_factory=dict)  #: of these, those that the cloud showed
    unseen: int = 0  #: rows that were not looked at
    presumed_missing: int = 0  #: rows whose volumes are in no list, as those of others that were read
    images: int = 0  #: that the project has
    quota: ImageQuota | None = None

    def add(self, row: Unsent, volume: Volume | None, findings: Sequence[Finding]) -> None:
        """Take one row."""
        self.rows += 1
        size = None if volume is None else volume.size_gib
        gravest = worst(findings)
        if gravest is not None:
            self.by_weight[gravest.weight] += 1
            if len(self.kept) < MOST_KEPT:
                self.kept.append(
                    RowFindings(
                        line=row.line,
                        volume_id=row.job.volume_id,
                        size_gib=size,
                        findings=tuple(findings),
                    )
                )
        if volume is not None and gravest is not None and gravest.weight is Weight.STOPS:
            for server_id in volume.server_ids:
                self.volumes_by_server.setdefault(server_id, []).append(volume.volume_id)
        if size is not None and (gravest is None or gravest.weight in (Weight.STOPS, Weight.MAY_FAIL)):
            self.sized += 1
            self.gib += size
            self.largest_gib = max(self.largest_gib, size)

    def rule_out(self, server_id: str, finding: Finding) -> None:
        """The rows that hang on this server cannot go, for it cannot be stopped."""
        of_it = set(self.volumes_by_server.get(server_id, ()))
        for place, row in enumerate(self.kept):
            gravest = worst(row.findings)
            if row.volume_id not in of_it or gravest is None or gravest.weight is not Weight.STOPS:
                continue
            self.by_weight[Weight.STOPS] -= 1
            self.by_weight[Weight.CANNOT] += 1
            self.kept[place] = replace(row, findings=(*row.findings, finding))
            if row.size_gib is not None:
                self.sized -= 1
                self.gib -= row.size_gib

    @property
    def not_kept(self) -> int:
        """Rows with findings beyond those that are kept."""
        return sum(self.by_weight.values()) - len(self.kept)

    @property
    def all_rows(self) -> int:
        """Every row of the target."""
        return self.rows + self.unseen + self.presumed_missing

    @property
    def to_export(self) -> int:
        """Rows that would be sent."""
        stopped = self.by_weight[Weight.CANNOT] + self.by_weight[Weight.LEFT_OUT]
        return self.rows + self.unseen - stopped

    @property
    def over_quota(self) -> int:
        """Rows that would be sent, but for whose images the project has no room."""
        return 0 if self.quota is None else max(0, self.to_export - self.quota.left)

    @property
    def cannot(self) -> int:
        """Rows that cannot go, for whatever reason."""
        return self.by_weight[Weight.CANNOT] + self.presumed_missing + self.over_quota
