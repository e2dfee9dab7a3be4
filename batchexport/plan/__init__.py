"""Looking before and after: which rows can go, which volumes there are, whether images are as asked.

What is found is judged by plain functions on plain records; what asks the cloud asks for pages, not rows.
"""

from batchexport.plan.findings import Finding, Weight, worst
from batchexport.plan.image_check import check_image, is_size_verified
from batchexport.plan.judge import Rules, judge
from batchexport.plan.outlook import Outlook, RowFindings
from batchexport.plan.ports import Inventory
from batchexport.plan.survey import Unseen, survey

__all__ = [
    "Finding",
    "Inventory",
    "Outlook",
    "RowFindings",
    "Rules",
    "Unseen",
    "Weight",
    "check_image",
    "is_size_verified",
    "judge",
    "survey",
    "worst",
]
