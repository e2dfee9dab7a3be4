"""Every error of batchexport, in one tree.

::

    BatchExportError                 .exit_code, .hint: what the user may do about it
    ├── ConfigError                  2   a setting, job file or sign-in value is missing or wrong
    ├── JobListError                 2   the job list has problems: .problems holds all of them
    ├── StateError                   5   the state file cannot be used as it is
    │   ├── StateInUseError          4   another process owns it: names host, pid and since when
    │   ├── StateVersionError        5   written by a newer batchexport
    │   ├── StateCorruptError        5   damaged, or not a state file at all; never overwritten
    │   ├── WrongCloudError          5   signed in to another cloud, project or region than its exports are in
    │   ├── ListChangedError         5   the job list or its image settings changed since the run began
    │   └── StateWriteError          74  the disk is full or broken; nothing is lost
    ├── LeaseLostError               4   another process took the target over while this one slept
    ├── StopRequestedError           1   a stop was asked for before work began; the signal makes the code
    ├── RunStoppedError              6   the whole run ends early: sign-in, rights, quota, too many failures
    └── CloudError                   .method .url .status .code .request_id
        ├── TransientError           nothing happened; send again later (.retry_after_s)
        │   ├── ThrottledError       the cloud asked for fewer requests
        │   └── UnreachableError     no connection was made, or none survived to carry the request
        ├── RefusedError             refused, and would be refused again
        │   ├── NotFoundError        no such volume, image or path
        │   ├── VolumeStateError     the volume's status forbids it now: look at the volume
        │   └── FatalError           no request of this run can succeed: rights, project, account
        │       ├── ForbiddenError   not allowed (403): perhaps for this row alone, another tells
        │       ├── AuthenticationError      no token to be had with these credentials
        │       └── QuotaError       a quota refuses it: perhaps for this row alone, another tells
        └── OutcomeUnknownError      may have happened: look before sending again

A job that fails is a result, not an error: it ends in the state file with its reason. Errors are for what
stops a call or a run. Foreign errors (aiohttp, sqlite3, keystoneauth) become these in one place per package.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol

from batchexport.redaction import redacted

#: The longest wait that is believed of a cloud: a wrong `Retry-After` is not to stop a run for days.
MAX_RETRY_AFTER_S = 900.0


class ExitCode(NamedTuple):
    """How a command ended, for people. `--help` and the documentation show both texts."""

    meaning: str
    remedy: str  #: what to do next, in Markdown


_RESUME = "Run the same command again to resume."
#: Every exit code of the program.
EXIT_CODES: Mapping[int, ExitCode] = {
    0: ExitCode("every row succeeded or was skipped", "Nothing."),
    1: ExitCode("unexpected error", "Run it again with `-vv` and report the bug."),
    2: ExitCode(
        "wrong usage, setting or job list; nothing was started", "Fix what the message names and try again."
    ),
    3: ExitCode(
        "finished, with failed or ambiguous rows, images that may be incomplete or are not delivered, or"
        " something not released",
        "`report` names them; then `retry`, `reconcile` if ambiguous, or `resources --release` for what is"
        " held.",
    ),
    4: ExitCode("another process is working on the state file", "Wait for it, or watch it with `status`."),
    5: ExitCode(
        "the state file is unusable, or made for another cloud or other images",
        "Follow the message. The file was left as it is.",
    ),
    6: ExitCode(
        "stopped early: authentication, permissions, quota, too many failures",
        "Fix the cause, then run the same command again to resume.",
    ),
    74: ExitCode(
        "the state file or the output cannot be written",
        "Free some disk space, then run the same command again. Nothing is lost.",
    ),
    75: ExitCode(
        "the window is closed, a limit of the run is reached (`--max-duration`, `--max-gib`), or `ctl drain`"
        " ended it; with work left to do",
        "Nothing: the next run resumes it.",
    ),
    129: ExitCode("stopped by SIGHUP (terminal closed)", _RESUME),
    130: ExitCode("stopped by SIGINT (Ctrl-C)", _RESUME),
    131: ExitCode("stopped by SIGQUIT", _RESUME),
    143: ExitCode("stopped by SIGTERM", _RESUME),
}


class BatchExportError(Exception):
    """Root of the tree. `hint` says what to do next, or is None where the message already does.

    Neither repeats a secret that this process knows: see `redaction`.
    """

    exit_code = 1

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(redacted(message))
        self.hint = None if hint is None else redacted(hint)


class ConfigError(BatchExportError):
    """A setting is missing or wrong; the message names the setting and where it was read."""

    exit_code = 2


class ProblemLike(Protocol):
    """What the tree needs to know of a problem in a list: how it reads."""

    def __str__(self) -> str: ...


class JobListError(BatchExportError):
    """The job list cannot be used. `problems` holds those found; `total` counts also those cut."""

    exit_code = 2

    def __init__(
        self, message: str, *, problems: Sequence[ProblemLike] = (), total: int = 0, hint: str | None = None
    ):
        super().__init__(message, hint=hint)
        self.problems = tuple(problems)
        self.total = max(total, len(self.problems))


class StateError(BatchExportError):
    """The state file cannot be used as it is."""

    exit_code = 5


class StateInUseError(StateError):
    """Another living process owns the state file."""

    exit_code = 4


class StateVersionError(StateError):
    """The state file was written by a newer version."""


class StateCorruptError(StateError):
    """The file is damaged or is no state file. It is left exactly as it was found."""


class WrongCloudError(StateError):
    """Signed in to another cloud, project or region than the one that the state file belongs to."""


class ListChangedError(StateError):
    """The job list, or what is asked of its images, is not what the state file was made from."""


class StateWriteError(StateError):
    """The state file cannot be written, for instance because the disk is full."""

    exit_code = 74


class LeaseLostError(BatchExportError):
    """Another process took over: nothing more may be sent from here."""

    exit_code = 4


class RunStoppedError(BatchExportError):
    """The run ended before its list did, for a reason that every further row would meet."""

    exit_code = 6


class StopRequestedError(BatchExportError):
    """A stop was asked for before the work had begun: nothing is wrong, and nothing was sent."""


class CloudError(BatchExportError):
    """A call to the cloud failed. The message holds the cloud's own words.

    `retry_after_s` is what the cloud asked for, capped at `MAX_RETRY_AFTER_S` here for every caller.
    """

    exit_code = 6

    def __init__(
        self,
        message: str,
        *,
        method: str = "",
        url: str = "",
        status: int | None = None,
        code: str | None = None,
        request_id: str | None = None,
        retry_after_s: float | None = None,
        hint: str | None = None,
    ) -> None:
        super().__init__(message, hint=hint)
        self.method = method
        self.url = redacted(url)
        self.status = status
        self.retry_after_s = None if retry_after_s is None else min(retry_after_s, MAX_RETRY_AFTER_S)
        self.code = None if code is None else redacted(code)
        self.request_id = None if request_id is None else redacted(request_id)


class TransientError(CloudError):
    """Nothing happened in the cloud: the same request may be sent again, after `retry_after_s` if given."""


class ThrottledError(TransientError):
    """The cloud limits the rate (429, 413 over limit, flow-control codes)."""


class UnreachableError(TransientError):
    """The request never reached the service: name not resolved, connection refused, TLS not agreed."""


class RefusedError(CloudError):
    """The cloud understood and said no."""


class NotFoundError(RefusedError):
    """The thing asked for is not there (404)."""


class VolumeStateError(RefusedError):
    """Refused because of the volume's status. `uploading` may be our own earlier request: look first."""


class FatalError(RefusedError):
    """No other request of this target can succeed either: the target stops."""


class ForbiddenError(FatalError):
    """Not allowed (403). It may be about this volume or image name alone: one more row tells."""


class AuthenticationError(FatalError):
    """The identity service gave no token, or the fresh token is not accepted."""


class QuotaError(FatalError):
    """A quota does not allow it. It may be about this volume's size alone: one more row tells."""


class OutcomeUnknownError(CloudError):
    """The request may have been carried out: no answer, a broken one, or a 5xx after it was sent."""
