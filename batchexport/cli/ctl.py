"""`batchexport ctl`: talk to a run while it works."""

from __future__ import annotations

from pathlib import Path

import click

from batchexport.cli.console import out
from batchexport.cli.options import Command, console_options, option
from batchexport.cli.parameters import STATE_OR_JOB, Parsed, form_option
from batchexport.cli.run_options import rate
from batchexport.model import ExportOrder

EPILOG = """\b
Examples:
  batchexport ctl volumes.state
  batchexport ctl volumes.state pause
  batchexport ctl volumes.state continue
  batchexport ctl volumes.state limits --max-exports 20 --requests-per-second 3
  batchexport ctl volumes.state order --to size
  batchexport ctl volumes.state drain
  batchexport ctl postgresql://worker@db.example/exports/march cancel
"""
_ACTIONS = ("show", "pause", "continue", "drain", "limits", "order", "cancel")


@click.command(cls=Command, epilog=EPILOG)
@click.argument("state_path", metavar="STATE|JOBFILE.toml", type=STATE_OR_JOB)
@click.argument("action", metavar="[ACTION]", type=click.Choice(_ACTIONS), default="show")
@option(
    "--max-exports",
    type=click.IntRange(min=1),
    metavar="N",
    variable=False,
    help="With limits: maximum volumes that the cloud copies at once, for each target.",
)
@option(
    "--requests-per-second",
    type=Parsed("number", rate),
    metavar="R",
    variable=False,
    help="With limits: maximum requests per second; 0: unlimited.",
)
@option(
    "--to",
    "order",
    type=click.Choice([each.value for each in ExportOrder]),
    variable=False,
    help="With order: which volumes are exported first from now on.",
)
@form_option("table", "json", of="ctl")
@console_options
def ctl(
    state_path: Path,
    action: str,
    max_exports: int | None,
    requests_per_second: float | None,
    order: str | None,
    form: str,
) -> None:
    """Control a run while it works: pause, continue, drain, limits, order.

    Without ACTION, shows the current limits. pause: nothing new begins, and stopped servers are restarted.
    drain: the same, and the run ends; run it again to resume. Changes last until the run ends. Exit code 5:
    no run is working on the state file.

    A run that was submitted to workers takes pause, continue and cancel: rows for which nothing is under way
    end as failed, the others are watched to their end, and servers are started again.
    """
    from batchexport.app.control import Request, answer_json, answer_text, ask
    from batchexport.store.stores import is_in_database

    has_limits = max_exports is not None or requests_per_second is not None
    if has_limits != (action == "limits"):
        raise click.UsageError("limits goes with --max-exports or --requests-per-second, and these with it")
    if (order is not None) != (action == "order"):
        raise click.UsageError("order goes with --to, and --to with it")
    if action == "cancel" and not is_in_database(state_path):
        raise click.UsageError(
            "cancel is for a run that was submitted to workers: drain ends this one, and give-up its rows"
        )
    request = Request(
        action=action,  # type: ignore[arg-type] # Click has checked it
        max_exports=max_exports,
        requests_per_second=requests_per_second,
        order=None if order is None else ExportOrder(order),
    )
    if is_in_database(state_path):
        from batchexport.app.fleet import steer

        out(steer(state_path, action))
        return
    answer = ask(state_path, request)
    out(answer_json(answer) if form == "json" else answer_text(answer))
