"""What differs between the two families of clouds, as one small table.

EVS is the block storage of Huawei Cloud, Open Telekom Cloud and FlexibleEngine; Cinder that of all others.
`None` as dialect means "not known yet": a value is accepted if either family accepts it.
"""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec


class DialectName(StrEnum):
    """The two families of block storage."""

    EVS = "evs"
    CINDER = "cinder"


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """The rules of one family for the export of a volume."""

    name: DialectName
    #: API versions, best first. Cinder removed v2 in 2021; the EVS documentation describes v2.
    api_versions: tuple[str, ...]
    disk_formats: tuple[str, ...]
    #: Always sent: the clouds' documents disagree on their default (vhd, zvhd2, raw).
    default_disk_format: str
    #: Cinder refuses `__os_type` (400, additional property), EVS documents it.
    takes_os_type: bool
    #: Cinder takes `visibility` and `protected` from microversion 3.1; EVS documents neither.
    takes_visibility: bool
    #: Glance sets tags along with properties; IMS changes properties alone, by its documentation.
    takes_tags: bool
    image_name_pattern: re.Pattern[str]
    image_name_rule: str
    max_image_name_length: int  #: characters
    forbidden_in_image_names: re.Pattern[str]  #: what a name must not contain
    #: The largest volume that can be exported, by the documentation; None = not documented.
    max_gib: int | None
    #: The formats of disk and container in which an encrypted volume can be exported; None = any.
    encrypted_only_as: tuple[str, str] | None

    def image_name_problem(self, name: str) -> str | None:
        """What is wrong with an image name; None = the cloud accepts it."""
        if self.image_name_pattern.fullmatch(name):
            return None
        if bad := _CONTROL.search(name):
            return f"has a control character (U+{ord(bad[0]):04X}) at position {bad.start() + 1}"
        if name != name.strip(" ") and self.image_name_pattern.fullmatch(name.strip(" ")):
            return "starts or ends with a space"
        for position, character in enumerate(name, start=1):
            if not self.image_name_pattern.fullmatch(f"a{character}a"):
                return f'has "{character}" at position {position}'
        return f"is {len(name)} characters long"

    def disk_format_problem(self, disk_format: str | None) -> str | None:
        """What is wrong with a disk format for clouds of this family; None = nothing, or none was given."""
        if disk_format is None or disk_format in self.disk_formats:
            return None
        allowed = ", ".join(self.disk_formats)
        return f"disk format {disk_format} is not supported by {self.name}; allowed: {allowed}"


#: Control characters, and those that can hide parts of a text: line separators, bidirectional marks.
_UNPRINTABLE = r"\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069"
_CONTROL = re.compile(f"[{_UNPRINTABLE}]")

CONTAINER_FORMATS = ("ami", "ari", "aki", "ovf", "bare")
OS_TYPES = ("windows", "linux")
VISIBILITIES = ("private", "shared", "community", "public")

EVS = Dialect(
    name=DialectName.EVS,
    api_versions=("v2", "v3"),
    disk_formats=("vhd", "zvhd", "zvhd2", "raw", "qcow2"),
    default_disk_format="vhd",
    takes_os_type=True,
    takes_visibility=False,
    takes_tags=False,
    # The documentation says "Chinese characters" without a range: the unified ideographs and extension A.
    image_name_pattern=re.compile(r"(?! )[A-Za-z0-9\u3400-\u4dbf\u4e00-\u9fff._\- ]{1,128}(?<! )"),
    image_name_rule=(
        "1 to 128 letters, digits, Chinese characters, hyphens, periods, underscores and spaces; "
        "no space at the start or the end"
    ),
    max_image_name_length=128,
    forbidden_in_image_names=re.compile(r"[^A-Za-z0-9\u3400-\u4dbf\u4e00-\u9fff._\- ]+"),
    max_gib=1024,
    encrypted_only_as=None,
)
CINDER = Dialect(
    name=DialectName.CINDER,
    api_versions=("v3", "v2"),
    disk_formats=("raw", "vmdk", "vdi", "qcow2", "vhd", "vhdx", "ploop"),
    default_disk_format="raw",
    takes_os_type=False,
    takes_visibility=True,
    takes_tags=True,
    image_name_pattern=re.compile(f"[^{_UNPRINTABLE}]{{1,255}}"),
    image_name_rule="1 to 255 characters, none of them a control character",
    max_image_name_length=255,
    forbidden_in_image_names=re.compile(f"[{_UNPRINTABLE}]+"),
    max_gib=None,
    encrypted_only_as=("raw", "bare"),
)
#: The rules for image names until the cloud is known: the more generous ones, which accept every name that
#: the other family accepts. The cloud's own rules apply after signing in.
LENIENT = CINDER
DIALECTS: dict[DialectName, Dialect] = {dialect.name: dialect for dialect in (EVS, CINDER)}


def disk_formats(dialect: Dialect | None) -> tuple[str, ...]:
    """The disk formats that can be requested; without a dialect, those of either family."""
    if dialect is not None:
        return dialect.disk_formats
    return tuple(dict.fromkeys(EVS.disk_formats + CINDER.disk_formats))


def image_name_message(fault: str, dialect: Dialect) -> str:
    """Why an image cannot have its name on a cloud of this family, and what to do."""
    return (
        f"the image name {fault}; {dialect.name} takes {dialect.image_name_rule}: give the row another "
        "image_name, or none and a --name-template"
    )


#: The words that an option, or a key of a job file, may hold.
ALLOWED = {
    "dialect": [name.value for name in DialectName],
    "disk_format": disk_formats(None),
    "container_format": CONTAINER_FORMATS,
    "os_type": OS_TYPES,
    "visibility": VISIBILITIES,
}
