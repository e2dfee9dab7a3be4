"""Job lists: read, checked, and every problem told with its line and column.

CSV, JSON and JSON Lines are told apart by what the file holds, not by its name. See `JobList`.
"""

from batchexport.joblist.columns import DISCOVERED_COLUMNS, REPORT_COLUMNS, Column
from batchexport.joblist.job_list import JobList
from batchexport.joblist.problem import Problem
from batchexport.joblist.source import sha256_of

__all__ = ["DISCOVERED_COLUMNS", "REPORT_COLUMNS", "Column", "JobList", "Problem", "sha256_of"]
