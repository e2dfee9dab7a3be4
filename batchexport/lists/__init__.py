"""Job lists: read, checked, and every problem told with its line and column.

CSV, JSON and JSON Lines are told apart by what the file holds, not by its name. See `JobList`.
"""

from batchexport.lists.columns import DISCOVERED_COLUMNS, REPORT_COLUMNS, Column
from batchexport.lists.job_list import JobList
from batchexport.lists.problem import Problem
from batchexport.lists.source import sha256_of

__all__ = ["DISCOVERED_COLUMNS", "REPORT_COLUMNS", "Column", "JobList", "Problem", "sha256_of"]
