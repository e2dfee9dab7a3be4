"""The `batchexport` program: its commands, and the one place where errors become words and exit codes."""

from __future__ import annotations

import signal
import sys
import traceback
from typing import Any

import click

from batchexport import __version__
from batchexport.cli.cleanup import cleanup
from batchexport.cli.completion import completion
from batchexport.cli.discover import discover
from batchexport.cli.doctor import doctor
from batchexport.cli.options import talk_options
from batchexport.cli.plan import plan
from batchexport.cli.reconcile import reconcile
from batchexport.cli.report import report
from batchexport.cli.resume import resume
from batchexport.cli.retry import retry
from batchexport.cli.run import run
from batchexport.cli.runs import runs
from batchexport.cli.sandbox import sandbox
from batchexport.cli.schedule import schedule
from batchexport.cli.status import status
from batchexport.cli.talk import marked, say, silence_stdout, talk_of
from batchexport.cli.telling import end_told
from batchexport.cli.validate import validate
from batchexport.cli.verify import verify
from batchexport.errors import BatchExportError, JobListError

EXIT_CODES = """\b
Exit codes:
    0  all done: every row succeeded or was skipped
    1  unexpected error
    2  usage, a setting, or the job list is wrong; nothing was started
    3  finished, some rows failed or are ambiguous
    4  another process works on the state file
    5  the state file cannot be used, or the list has changed
    6  the whole run was stopped: sign-in, rights, quota, too many failures
   74  the state file cannot be written
   75  the window closed with work left, or is closed; the next night goes on
  130  drained after SIGINT; run the same command again to go on
  143  drained after SIGTERM; likewise

\b
Examples:
  batchexport validate volumes.csv
  batchexport run volumes.csv --os-cloud sandbox
  batchexport status volumes.state
"""


class Program(click.Group):
    """The group of all commands, which ends with the exit code that an error stands for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of work, which is the order in which they were added."""
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a BatchExportError is told, with what to do next."""
        with end_told(talk_of(ctx)):
            return self._invoke(ctx)

    def _invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except BatchExportError as error:
            _show(error)
            raise click.exceptions.Exit(error.exit_code) from error
        except BrokenPipeError as error:
            silence_stdout()
            raise click.exceptions.Exit(0) from error  # the reader has what it wanted
        except KeyboardInterrupt as error:
            say("interrupted")
            raise click.exceptions.Exit(128 + signal.SIGINT) from error
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:  # the last resort of the program: one line instead of a traceback
            _show_unexpected(error)
            raise click.exceptions.Exit(1) from error


@click.group(
    cls=Program,
    epilog=EXIT_CODES,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@talk_options
@click.version_option(__version__, prog_name="batchexport")
def app() -> None:
    """Export a list of cloud volumes to images, each exactly once, at the rate the cloud allows.

    Whatever interrupts a run, the same command carries on where it was. Every option can be given as an
    environment variable too; a flag wins over the variable, the variable over the job file.
    """


for _command in (
    doctor,
    discover,
    validate,
    plan,
    run,
    resume,
    retry,
    status,
    report,
    verify,
    reconcile,
    cleanup,
    schedule,
    runs,
    sandbox,
    completion,
):
    app.add_command(_command)


def main() -> None:
    """Run the program and exit."""
    # Before a run can drain, the end must still tidy up: SystemExit does, the default of SIGTERM does not.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    app.main(prog_name="batchexport")


def _show(error: BatchExportError) -> None:
    if talk_of().verbose > 1:
        say("".join(traceback.format_exception(error)).rstrip())
    say(f"{marked('error:', 'red')} {error}")
    if isinstance(error, JobListError):
        for problem in error.problems:
            say(f"  {problem}")
        if error.total > len(error.problems):
            say(f"  … and {error.total - len(error.problems)} more")
    if error.hint:
        say(f"{marked('hint:', 'yellow')} {error.hint}")


def _show_unexpected(error: Exception) -> None:
    if talk_of().verbose > 1:
        say("".join(traceback.format_exception(error)).rstrip())
    say(f"{marked('error:', 'red')} unexpected {type(error).__name__}: {error}")
    if talk_of().verbose < 2:
        say(f"{marked('hint:', 'yellow')} run again with -vv to see where")
