"""Job lists: parsed and validated, every problem reported with its line and column.

The format is detected by the content, not by the file name. See `JobList`.
"""

from batchexport.lists.columns import DISCOVERED_COLUMNS, REPORT_COLUMNS, Column
from batchexport.lists.job_list import JobList
from batchexport.lists.problem import Problem
from batchexport.lists.source import sha256_of

__all__ = ["DISCOVERED_COLUMNS", "REPORT_COLUMNS", "Column", "JobList", "Problem", "sha256_of"]
