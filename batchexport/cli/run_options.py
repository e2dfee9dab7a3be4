"""The options of `run`, `resume` and `retry`: limits, images, deliveries."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import click

from batchexport.cli.cloud_options import cloud_options
from batchexport.cli.observe_run import observe_options
from batchexport.cli.options import Decorator, Section, all_of, console_options, flag, option
from batchexport.cli.parameters import NEW_STATE, STATE_FILE, Parsed, ParsedEach, choice, dialect_option
from batchexport.config import (
    CopyLimits,
    DeliverySettings,
    InUse,
    Limits,
    MaxFailures,
    ServerStops,
    Settings,
)
from batchexport.config.values import bytes_per_second, duration_s
from batchexport.image_labels import parse_property, parse_tag
from batchexport.model import ExportOrder

if TYPE_CHECKING:
    from batchexport.config.destination import Destination

_LIMITS = Limits()


def rate(text: str) -> float:
    """Requests per second, 0 or more. Raises ValueError for anything else."""
    number = float(text)
    if not math.isfinite(number) or number < 0:
        raise ValueError(f"{text} is not a rate: it must be 0 (unlimited) or more")
    return number


def interval_s(text: str) -> float:
    """A duration of more than 0, in seconds. Raises ValueError for anything else."""
    if (seconds := duration_s(text)) <= 0:
        raise ValueError(f"{text} is too short: it must be more than 0")
    return seconds


def _number(*names: str, least: int, default: int, help: str) -> Decorator:
    return option(*names, type=click.IntRange(min=least), metavar="N", show_default=str(default), help=help)


state_option = option(
    "--state",
    "state_path",
    type=NEW_STATE,
    metavar="FILE|DATABASE/RUN",
    show_default="the list's name with .state, beside the list",
    help="State file, or postgresql://USER@HOST/DATABASE/RUN: everything the run knows.",
)
job_option = option(
    "--job",
    "job_path",
    type=STATE_FILE,
    metavar="JOBFILE.toml",
    help="Job file for cloud, limits, reports and notifications; flags override it.",
)
rate_option = option(
    "--requests-per-second",
    type=Parsed("number", rate),
    metavar="R",
    show_default=f"{_LIMITS.requests_per_second:g}",
    help="Maximum requests per second; 0: unlimited.",
)
max_exports_option = _number(
    "--max-exports",
    least=1,
    default=_LIMITS.max_exports,
    help="Maximum volumes that the cloud copies at once.",
)
order_option = option(
    "--order",
    type=click.Choice([each.value for each in ExportOrder]),
    show_default="the largest first",
    help="Which volumes are exported first. priority: by the list's column, and by size among equals: the"
    " default of a list with priorities.",
)
in_use_option = option(
    "--in-use",
    type=click.Choice([each.value for each in InUse]),
    show_default=InUse.FAIL.value,
    help="What to do with volumes attached to a server; snapshot: export a temporary copy; stop: stop the"
    " server meanwhile (needs --yes).",
)
server_options = all_of(
    flag(
        "--hard-stop",
        help="With --in-use stop: cut the power (ECS) instead of shutting down the guest.",
    ),
    _number(
        "--max-servers-down",
        "max_down",
        least=1,
        default=ServerStops().max_down,
        help="With --in-use stop: maximum servers down at once.",
    ),
    option(
        "--stop-timeout",
        "stop_timeout_s",
        type=Parsed("duration", interval_s),
        metavar="S",
        show_default="15m",
        help="With --in-use stop: how long a server may take to stop.",
    ),
    flag(
        "-y",
        "--yes",
        "agreed",
        help="Consent to stopping servers, for --in-use stop or rows with in_use stop.",
    ),
    section=Section.IN_USE,
)
copy_options = all_of(
    _number(
        "--max-temporary",
        least=1,
        default=CopyLimits().max_temporary,
        help="With --in-use snapshot: maximum temporary volumes at once.",
    ),
    option(
        "--max-temporary-gib",
        type=click.IntRange(min=1),
        metavar="GIB",
        show_default="as the quota allows",
        help="With --in-use snapshot: maximum GiB of these together; a larger volume goes alone.",
    ),
    section=Section.IN_USE,
)
#: Those that hold wherever a run is worked on.
submitted_limit_options = all_of(
    rate_option,
    max_exports_option,
    order_option,
    _number(
        "-j",
        "--concurrency",
        least=1,
        default=_LIMITS.concurrency,
        help="Maximum requests in flight at once.",
    ),
    option(
        "--poll-interval",
        "poll_interval_s",
        type=Parsed("duration", interval_s),
        metavar="S",
        show_default="5 to 60 s, by age",
        help="Time between two polls, such as 90, 90s or 5m.",
    ),
    _number("--retries", least=0, default=_LIMITS.retries, help="Further attempts after one that failed."),
    option(
        "--max-failures",
        type=Parsed("failures", MaxFailures.parse),
        metavar="N|N%",
        show_default="never",
        help="Stop the run at this many failed rows.",
    ),
    option(
        "--in-doubt-timeout",
        "settle_s",
        old_names=["--settle-time"],
        type=Parsed("duration", duration_s),
        metavar="S",
        show_default=f"{_LIMITS.settle_s:g}",
        help="How long the cloud may still carry out a request that it did not answer.",
    ),
    all_of(in_use_option, section=Section.IN_USE),
    server_options,
    copy_options,
    flag("--no-preflight", help="Do not check the volumes before sending."),
    section=Section.PACE,
)
limit_options = all_of(
    submitted_limit_options,
    option(
        "--max-duration",
        "max_duration_s",
        type=Parsed("duration", interval_s),
        metavar="S",
        show_default="no limit",
        help="End after this time with what is left to do, and exit with 75; run again to resume.",
    ),
    option(
        "--max-gib",
        type=click.IntRange(min=1),
        metavar="N",
        show_default="no limit",
        help="Export at most this many GiB, then exit with 75.",
    ),
    flag("--no-wait", help="Exit once every row was accepted; `resume` watches the rest."),
    section=Section.PACE,
)


def _destination(text: str) -> Destination:
    from batchexport.config.destination import read_destination

    return read_destination(text)


#: A place that images are delivered to.
DESTINATION = Parsed("destination", _destination)
drop_source_option = flag(
    "--drop-source-image",
    "drop_source",
    variable=False,  # left in an environment, it would let images of every later run go
    help="Delete the image in its own cloud once everything is delivered and verified.",
)
transfer_options = all_of(
    option(
        "--max-transfers",
        type=click.IntRange(1, 64),
        metavar="N",
        show_default=str(DeliverySettings().max_transfers),
        help="Maximum images that are streamed at once; each destination has a share.",
    ),
    option(
        "--bandwidth",
        type=Parsed("rate", bytes_per_second),
        metavar="RATE",
        show_default="unlimited",
        help="Maximum bytes per second of all streams together, such as 200M.",
    ),
)
deliver_option = option(
    "--deliver",
    type=DESTINATION,
    metavar="DESTINATION",
    multiple=True,
    show_default="as the run was last told",
    help="Deliver each image there after its export: project:ID shares it, cloud:NAME copies it,"
    " volume:NAME makes a volume of the copy, file:///…, s3://…, gs://… and az://… save a file."
    " Repeatable.",
)
delivery_options = all_of(
    deliver_option,
    drop_source_option,
    transfer_options,
    section=Section.DELIVERIES,
)
image_options = all_of(
    option(
        "--name-template",
        metavar="TEXT",
        show_default=Settings().name_template,
        help="Image name for rows without one, from {volume_id}, {volume_name}, {run}, {date}, {line}.",
    ),
    choice(
        "--disk-format", among="disk_format", show_default="vhd on evs, raw on cinder", help="Disk format."
    ),
    choice("--container-format", among="container_format", help="Container format."),
    choice("--os-type", among="os_type", help="Operating system on the volumes (evs)."),
    choice("--visibility", among="visibility", help="Who can see the images (cinder)."),
    option("--protected/--no-protected", default=None, help="Protect the images from deletion (cinder)."),
    option(
        "--property",
        "properties",
        type=ParsedEach("property", parse_property),
        multiple=True,
        metavar="KEY=VALUE",
        help="Set this property on each image; may be repeated. One request more for each image.",
    ),
    option(
        "--tag",
        "tags",
        type=ParsedEach("tag", parse_tag),
        multiple=True,
        metavar="TAG",
        help="Set this tag on each image (cinder); may be repeated.",
    ),
    option(
        "--provenance/--no-provenance",
        default=None,
        show_default="where properties or tags are set",
        help="Set properties that say what each image was made of: volume, run and line.",
    ),
    section=Section.IMAGES,
)
rebind_option = flag(
    "--rebind-cloud",
    variable=False,  # left in an environment, it would open every later run to a copy of its cloud
    help="Accept new addresses for the cloud of the state file. Project and region must be the same. Never"
    " use it for a copy of a cloud.",
)
again_option = flag(
    "--again",
    "export_again",
    help="Export even volumes that another state file in the folder shows as exported. Nights always do.",
)
#: What a command takes that only visits the cloud.
visiting_options = all_of(
    all_of(rate_option, section=Section.PACE),
    cloud_options,
    all_of(rebind_option, section=Section.CLOUD),
    console_options,
)
#: What a command takes that looks ahead.
planning_options = all_of(
    all_of(deliver_option, section=Section.DELIVERIES),
    all_of(rate_option, max_exports_option, section=Section.PACE),
    all_of(in_use_option, section=Section.IN_USE),
    copy_options,
    all_of(dialect_option, section=Section.CLOUD),
    cloud_options,
    console_options,
)
#: What every command takes that works on a state file.
working_options = all_of(
    again_option,
    limit_options,
    delivery_options,
    all_of(dialect_option, rebind_option, section=Section.CLOUD),
    cloud_options,
    observe_options,
    console_options,
)
