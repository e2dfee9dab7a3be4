"""The variables that options read, so that a misspelt one can be told without loading every command."""

from __future__ import annotations

from collections.abc import Iterable

PREFIX = "BATCHEXPORT_"
#: Behind the prefix. A test compares them with the options of all commands.
VARIABLES = frozenset(
    """
    APPEND CLEANUP_DRY_RUN CLEANUP_YES COMPARE CONCURRENCY CONTAINER_FORMAT COUNT DIALECT
    DISCOVER_ATTACHED_TO DISCOVER_AVAILABILITY_ZONE DISCOVER_FORMAT DISCOVER_NAME DISCOVER_OUTPUT
    DISCOVER_STATUS DISCOVER_TYPE DISK_FORMAT DROP_SHARE DRY_RUN EMIT_OUTPUT ENCODING ERROR_SHARE EVENTS
    EVERY FAIL_SHARE HARD_STOP IGNORE_FORCE IMAGE INSECURE IN_USE JOB JOURNAL LOG_FORMAT MAX_EXPORTS
    MAX_FAILURES MAX_SERVERS_DOWN MAX_SIZE METADATA METRICS_ADDR METRICS_FILE MIN_SIZE NAME_TEMPLATE
    NO_PREFLIGHT NO_WAIT ONLY OS_TYPE PLAN_FORMAT POLL_INTERVAL PORT PROFILE PROTECTED QUIET RATE
    REBIND_CLOUD REPORT_FORMAT REPORT_OUTPUT REQUESTS_PER_SECOND RETRIES RUNS_FORMAT SANDBOX_LIST SEED
    SERVERS SERVERS_ANYWAY SERVERS_FORMAT SERVERS_START SETTLE_TIME SIGN_IN_TIMEOUT SKIPPED SLOW_SHARE
    STATE STATUS_FORMAT STOP_TIMEOUT TIME_SCALE TOKEN_LIFE VERBOSE VERIFY_FORMAT VISIBILITY VOLUMES
    WATCH WRITE_CLOUDS_YAML YES
    """.split()  # noqa: SIM905 - a line for each would be no easier to read
)


def unknown_variables(environment: Iterable[str]) -> list[str]:
    """A sentence for each variable that looks like one of ours and that no option reads."""
    unknown = sorted(
        name for name in environment if name.startswith(PREFIX) and name.removeprefix(PREFIX) not in VARIABLES
    )
    return [_told(name) for name in unknown]


def _told(name: str) -> str:
    from difflib import get_close_matches

    close = get_close_matches(name, [PREFIX + known for known in VARIABLES], n=1, cutoff=0.8)
    meant = f"; did you mean {close[0]}?" if close else ""
    return f"no option reads the variable {name}{meant}"
