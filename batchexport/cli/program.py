"""The `batchexport` program: its commands, and the one place where errors become messages and exit codes."""

from __future__ import annotations

import os
import re
import signal
import sys
from typing import Any

import click

from batchexport.cli.commands import Commands, write_commands
from batchexport.cli.console import console_of, err, flush_output, is_gone, silence_stdout
from batchexport.cli.options import console_options
from batchexport.cli.streams import is_of_stdout, too_many_files
from batchexport.errors import EXIT_CODES, BatchExportError, ConfigError, StateWriteError
from batchexport.version import __version__

_EPILOG = """\b
Exit codes:
{}

\b
Examples:
  batchexport validate volumes.csv
  batchexport run volumes.csv --os-cloud sandbox
  batchexport status volumes.state
""".format("\n".join(f"  {code:>3}  {each.meaning}" for code, each in EXIT_CODES.items()))


#: How Click begins what is wrong with a value.
_NAMED = re.compile(r"^Invalid value for (?:'[^']*' / )*'([^']+)'(?: \(env var: '([A-Z_]+)'\))?: ")

#: Columns that help is written for at most.
WIDEST_HELP = 100


def help_width() -> int:
    """Columns for help: as Click finds them, but without shutil, a twentieth of what `--help` costs."""
    try:
        columns = int(os.environ.get("COLUMNS") or 0) or os.get_terminal_size().columns
    except (OSError, ValueError):
        columns = 80
    return max(50, min(columns, WIDEST_HELP) - 2)


class Program(click.Group):
    """The group of all commands, which ends with the exit code that an error stands for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """The commands in the order of work."""
        return list(self.commands)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """What the help says of the commands, without loading any."""
        if isinstance(self.commands, Commands):
            write_commands(formatter)
        else:
            super().format_commands(ctx, formatter)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a BatchExportError is printed with its hint."""
        from batchexport.cli.observe_run import notify_on_exit

        if any(name.startswith("BATCHEXPORT_") for name in os.environ):
            from batchexport.cli.commands import unknown_variables

            for words in unknown_variables(self, os.environ):
                err(f"warning: {words}", level="warning")
        with notify_on_exit(console_of(ctx)):
            return self._invoke(ctx)

    def make_context(self, *words: Any, **extra: Any) -> click.Context:
        """The context of a call; usage errors are printed like all others."""
        try:
            return super().make_context(*words, **extra)
        except click.UsageError as error:
            raise _told(error) from error
        except OSError as error:  # the help cannot be printed
            if is_gone(error):
                raise
            raise _unforeseen(error) from error

    def _invoke(self, ctx: click.Context) -> Any:
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
            return result
        except click.UsageError as error:
            raise _told(error, f"{ctx.command_path} {ctx.invoked_subcommand or ''}".rstrip()) from error
        except BatchExportError as error:
            from batchexport.cli.error_output import print_error

            print_error(error)
            raise click.exceptions.Exit(error.exit_code) from error
        except OSError as error:
            if not is_gone(error):
                raise _unforeseen(error) from error
            silence_stdout()
            raise click.exceptions.Exit(0) from error  # the reader has what it wanted
        except KeyboardInterrupt as error:
            err("interrupted")
            raise click.exceptions.Exit(128 + signal.SIGINT) from error
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except Exception as error:  # the last resort of the program: one line instead of a traceback
            raise _unforeseen(error) from error


def _told(error: click.UsageError, command: str = "batchexport") -> Exception:
    """The exit for a call that Click could not parse, once the error is printed; `command` where Click
    does not name it.
    """
    if isinstance(error, click.exceptions.NoArgsIsHelpError):
        return error  # asks for the help, which Click shows
    from batchexport.cli.error_output import print_error

    words = _NAMED.sub(_place_of, error.format_message()).rstrip(".")
    command = error.ctx.command_path if error.ctx else command
    print_error(
        ConfigError(
            words if words[:1] == "-" or words[1:2].isupper() else words[:1].lower() + words[1:],
            hint=f"`{command} --help` shows the usage",
        )
    )
    return click.exceptions.Exit(ConfigError.exit_code)


def _place_of(named: re.Match[str]) -> str:
    """The option or argument, and the variable where it was that."""
    variable = named[2]
    return f"{named[1]} ({variable}): " if variable and variable in os.environ else f"{named[1]}: "


def _unforeseen(error: Exception) -> click.exceptions.Exit:
    """The exit for an error that is none of ours, once it is printed."""
    from batchexport.cli.error_output import print_error, print_unexpected

    if isinstance(error, OSError) and is_of_stdout(error):
        silence_stdout()
        print_error(StateWriteError(f"cannot write to standard output: {error.strerror}"))
        return click.exceptions.Exit(StateWriteError.exit_code)
    if limit := too_many_files(error):
        print_error(ConfigError(limit, hint="raise the limit, with `ulimit -n 1024`, or lower --concurrency"))
        return click.exceptions.Exit(ConfigError.exit_code)
    print_unexpected(error)
    return click.exceptions.Exit(1)


@click.group(
    cls=Program,
    commands=Commands(),
    epilog=_EPILOG,
    context_settings={"help_option_names": ["-h", "--help"], "terminal_width": help_width()},
)
@console_options
@click.version_option(__version__, prog_name="batchexport")
def app() -> None:
    """Export a list of cloud volumes to images, each exactly once, at the rate the cloud allows.

    Interrupted, the same command resumes. Almost every option is also an environment variable. Precedence:
    list row, flag, environment variable, job file.
    """


def main() -> None:
    """Run the program and exit."""
    from batchexport.cli.streams import MIN_OPEN_FILES, prepare_streams, raise_file_limit

    prepare_streams()
    if (limit := raise_file_limit()) is not None:
        err(f"error: this process may open {limit} files at once, and needs {MIN_OPEN_FILES}")
        err("hint: raise the limit first: ulimit -n 1024")
        sys.exit(ConfigError.exit_code)
    _exit_on_signals()
    try:
        app.main(prog_name="batchexport")
    finally:
        flush_output()


def _exit_on_signals() -> None:
    """Tidy up at the end also before a run can drain: SystemExit does, a signal's default does not."""
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT):
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup: it stays ignored
            signal.signal(number, lambda number, _: sys.exit(128 + number))
