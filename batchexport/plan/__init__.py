"""Checks before and after a run: which rows can be exported, which volumes exist, how images turned out.

Findings come from plain functions on plain records; what reads the cloud asks for pages, not rows.
"""

from batchexport.plan.image_checks import check_image, is_size_verified
from batchexport.plan.inventory import Inventory, Unseen, take_inventory
from batchexport.plan.row_checks import Finding, Rules, Severity, check_row, most_severe
from batchexport.plan.summary import PlanSummary, RowFindings

__all__ = [
    "Finding",
    "Inventory",
    "PlanSummary",
    "RowFindings",
    "Rules",
    "Severity",
    "Unseen",
    "check_image",
    "check_row",
    "is_size_verified",
    "most_severe",
    "take_inventory",
]
