"""`batchexport doctor`: whether an account is fit for a run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from batchexport.cli.console import console_of, err, out
from batchexport.cli.listing import listed, listing_options
from batchexport.cli.options import Command
from batchexport.cli.parameters import dialect_option
from batchexport.cli.run_options import visiting_options

if TYPE_CHECKING:
    from batchexport.plan.account_checks import Check
    from batchexport.report.listing import Listing

EPILOG = """\b
Examples:
  batchexport doctor --os-cloud prod
  OS_CLOUD=prod batchexport doctor
"""


COLUMNS = ("result", "check", "words")


@click.command(cls=Command, epilog=EPILOG)
@dialect_option
@listing_options(lambda: COLUMNS, of="doctor")
@visiting_options
def doctor(form: str, **flags: Any) -> None:
    """Check credentials, endpoints, permissions and clock. Changes nothing.

    Signs in, reads one page of volumes and one of images, and asks for the image quota if the cloud has one.
    Exit code 2: the configuration is wrong; 6: a run would fail for another reason.
    """
    from batchexport.app import run_in_loop
    from batchexport.app.doctor import check_account
    from batchexport.cli.flags import settings_of_account
    from batchexport.cli.logs import start_log
    from batchexport.plan.account_checks import CheckResult

    start_log(console_of())
    checks, error = run_in_loop(check_account(*settings_of_account(flags)))
    out(listed(form, _listing(checks), text=lambda: _text(checks)))
    if error is not None:
        if error.hint:
            err(f"hint: {error.hint}")
        raise click.exceptions.Exit(error.exit_code)
    raise click.exceptions.Exit(6 if any(check.result is CheckResult.BAD for check in checks) else 0)


def _listing(checks: Sequence[Check]) -> Listing:
    """The checks as records."""
    from batchexport.report.listing import Listing

    records = [{"result": str(check.result), "check": check.name, "words": check.words} for check in checks]
    return Listing(columns=COLUMNS, records=records)


def _text(checks: Sequence[Check]) -> str:
    """One line for each check."""
    return "\n".join(f"{check.result:<5} {check.name:<14} {check.words}" for check in checks)
