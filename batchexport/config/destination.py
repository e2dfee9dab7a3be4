"""Where images are delivered to: `project:ID`, `cloud:NAME`, a URL of files, `volume:CLOUD`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import StrEnum

import msgspec

from batchexport.config.values import Table
from batchexport.errors import ConfigError

#: What may be filled in in the URL of a place for files.
URL_FIELDS = ("date", "run")
_SCHEMES = ("file", "s3", "s3a", "gs", "az", "azure", "abfs", "abfss")
_OPTIONS = {"volume": ("type",), "project": ("accept",)}
_PROJECT_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")
_HINT = "a destination is project:ID, cloud:NAME, volume:NAME, file:///folder/ or s3://bucket/folder/"


class DestinationKind(StrEnum):
    """What is done there."""

    PROJECT = "project"  #: shared with it
    CLOUD = "cloud"  #: copied to its image service
    FILES = "files"  #: saved as a file with a manifest
    VOLUME = "volume"  #: a volume is made of the image


class Destination(msgspec.Struct, frozen=True, kw_only=True):
    """One destination. `text` is what the user wrote, and tells it from all others."""

    text: str
    kind: DestinationKind
    name: str  #: of the cloud in clouds.yaml, the id of the project, or the URL
    volume_type: str | None = None
    accept: str | None = None  #: the cloud in clouds.yaml that is a sign-in to the project

    def url(self, *, run_id: str) -> str:
        """The URL of a place for files, filled in."""
        return self.name.replace("{date}", run_id[:8]).replace("{run}", run_id)


def read_destination(text: str) -> Destination:
    """The destination in this text. Raises ConfigError."""
    text = text.strip()
    scheme, colon, rest = text.partition(":")
    if not colon or not rest:
        raise ConfigError(f"destination {text!r}: it has no kind and name", hint=_HINT)
    if scheme in _SCHEMES:
        return _files(text)
    if scheme not in ("project", "cloud", "volume"):
        raise ConfigError(f"destination {text!r}: {scheme!r} is no kind of destination", hint=_HINT)
    name, *pairs = rest.split(",")
    options = dict(pair.partition("=")[::2] for pair in pairs)
    known = _OPTIONS.get(scheme, ())
    if unknown := sorted(options.keys() - set(known)):
        words = f"known are {', '.join(known)}" if known else "it takes none"
        raise ConfigError(f"destination {text!r}: unknown option {unknown[0]!r}; {words}")
    if not name or any(not value for value in options.values()):
        raise ConfigError(f"destination {text!r}: a name or a value is empty", hint=_HINT)
    if scheme == "project" and not _PROJECT_ID.fullmatch(name):
        raise ConfigError(
            f"destination {text!r}: {name!r} is not the id of a project",
            hint="name it by its id: clouds accept any text there, and a wrong one shares with nobody",
        )
    return Destination(
        text=text,
        kind=DestinationKind(scheme),
        name=name,
        volume_type=options.get("type"),
        accept=options.get("accept"),
    )


#: The array of tables of a job file, one for each destination.
DELIVER = "deliver"
#: A row's word for no destination at all.
NOWHERE = "none"


def deliver_from(content: Mapping[str, object], problems: list[str]) -> tuple[str, ...] | None:
    """The destinations that the tables `[[deliver]]` of a job file name, in order; None = there are none."""
    if DELIVER not in content:
        return None
    tables = content[DELIVER]
    if not isinstance(tables, list):
        problems.append(f"[{DELIVER}]: write [[{DELIVER}]], once for each destination")
        return None
    found = []
    for number, each in enumerate(tables, start=1):
        table = Table(f"{DELIVER} {number}", each, problems, {})
        text = table.text("to", required=True)
        options = [(name, table.text(name)) for name in ("type", "accept")]
        table.refuse_unread()
        if text is not None:
            text += "".join(f",{name}={value}" for name, value in options if value is not None)
            try:
                found.append(read_destination(text))
            except ConfigError as error:
                table.problem("to", str(error))
    try:
        check_destinations(found)
    except ConfigError as error:
        problems.append(f"[{DELIVER}]: {error}")
    return tuple(each.text for each in found)


def read_destinations(text: str) -> tuple[str, ...]:
    """The destinations of a row, separated by blanks, in their order; `none` is none. Raises ConfigError."""
    if text.strip().lower() == NOWHERE:
        return ()
    found = [read_destination(each) for each in text.split()]
    check_destinations(found)
    return tuple(each.text for each in found)


def check_destinations(destinations: Sequence[Destination]) -> None:
    """Raise ConfigError where they do not go together: twice the same, a volume before its image."""
    seen: set[str] = set()
    for each in destinations:
        if each.text in seen:
            raise ConfigError(f"destination {each.text!r} is given twice")
        if each.kind is DestinationKind.VOLUME and f"cloud:{each.name}" not in seen:
            raise ConfigError(
                f"destination {each.text!r}: the image has to be in that cloud first",
                hint=f"give cloud:{each.name} before it",
            )
        seen.add(each.text)


def _files(text: str) -> Destination:
    left = text
    for field in URL_FIELDS:
        left = left.replace("{" + field + "}", "")
    if "{" in left or "}" in left:
        known = ", ".join("{" + field + "}" for field in URL_FIELDS)
        raise ConfigError(f"destination {text!r}: only {known} can be filled in")
    if "?" in left or "#" in left or "@" in left:
        raise ConfigError(
            f"destination {text!r}: a URL here has no query, no fragment and no user name",
            hint="credentials of object stores come from the environment, such as AWS_ACCESS_KEY_ID",
        )
    return Destination(text=text, kind=DestinationKind.FILES, name=text)
