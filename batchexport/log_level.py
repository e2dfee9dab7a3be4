"""The level of log records of ordinary events that a person wants to see, as a server that is up again."""

from __future__ import annotations

import logging

#: Between INFO, which `-v` shows, and WARNING, which calls for somebody. Shown as INFO.
NOTICE = 25

logging.addLevelName(NOTICE, "INFO")
logging.addLevelName(logging.INFO, "INFO")  # what the name stands for
