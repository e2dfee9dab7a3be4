"""The body of `os-volume_upload_image`: what either API takes, and how it words its refusal of the rest.

v3 is Cinder's and v2 is that of EVS: they differ in formats, names, defaults and extra fields.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import msgspec

from batchexport.sandbox.requests import one_action
from batchexport.sandbox.responses import Refusal

ACTION = "os-volume_upload_image"

CINDER_FORMATS = ("raw", "vmdk", "vdi", "qcow2", "vhd", "vhdx", "ploop")
EVS_FORMATS = ("vhd", "zvhd", "zvhd2", "raw", "qcow2")
#: Cinder leaves the container to Glance, and this is Glance's list.
GLANCE_CONTAINERS = (None, "ami", "ari", "aki", "bare", "ovf", "ova", "docker", "compressed")
EVS_CONTAINERS = ("ami", "ari", "aki", "ovf", "bare")
EVS_OS_TYPES = ("windows", "linux")
VISIBILITIES = ("community", "public", "private", "shared")
TRUE_WORDS = (True, "True", "TRUE", "true", "1", "ON", "On", "on", "YES", "Yes", "yes", "y", "t")
FALSE_WORDS = (False, "False", "FALSE", "false", "0", "OFF", "Off", "off", "NO", "No", "no", "n", "f")
#: Letters, digits, Chinese characters and `-._ `, no space at either end.
EVS_NAME = re.compile(r"(?! )[A-Za-z0-9\u3400-\u4dbf\u4e00-\u9fff._\- ]{1,128}(?<! )")

VISIBILITY_SINCE = (3, 1)  #: the microversion from which Cinder takes `visibility` and `protected`


class UploadRequest(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for, every default filled in."""

    image_name: str
    disk_format: str
    container_format: str
    force: bool
    visibility: str
    protected: bool = False
    os_type: str | None = None


def read_action(body: bytes) -> object:
    """The options of the one action that the sandbox knows; anything else is refused."""
    if not body:
        raise _no_such_action("None")
    name, options = one_action(body)
    if name != ACTION:
        raise _no_such_action(name)
    return options


def cinder_request(options: object, microversion: tuple[int, int]) -> UploadRequest:
    """What Cinder understands under this microversion."""
    may_share = microversion >= VISIBILITY_SINCE
    optional = ("force", "disk_format", "container_format") + (
        ("visibility", "protected") if may_share else ()
    )
    fields = _fields(options, optional)
    name = _text(fields, "image_name")
    if not name:
        raise _invalid("image_name", name, "'' should be non-empty")
    if len(name) > 255:
        raise _invalid("image_name", name, f"{name!r} is too long")
    request = UploadRequest(
        image_name=name,
        disk_format=_one_of(fields, "disk_format", CINDER_FORMATS, default="raw"),
        container_format=_container(fields),
        force=_flag(fields, "force"),
        visibility=_one_of(fields, "visibility", VISIBILITIES, default="private" if may_share else "shared"),
        protected=_flag(fields, "protected"),
    )
    if request.visibility == "public":
        words = "Policy doesn't allow volume_extension:volume_actions:upload_public to be performed."
        raise Refusal(403, words)
    return request


def evs_request(options: object) -> UploadRequest:
    """What EVS understands."""
    fields = _fields(options, ("force", "disk_format", "container_format", "__os_type"))
    name = _text(fields, "image_name")
    if not EVS_NAME.fullmatch(name):
        raise _invalid("image_name", name, f"{name!r} does not match {EVS_NAME.pattern!r}")
    return UploadRequest(
        image_name=name,
        disk_format=_one_of(fields, "disk_format", EVS_FORMATS, default="vhd"),
        container_format=_one_of(fields, "container_format", EVS_CONTAINERS, default="bare"),
        force=_flag(fields, "force"),
        visibility="private",
        os_type=_one_of(fields, "__os_type", EVS_OS_TYPES, default="linux"),
    )


def glance_container_refusal(container_format: str) -> Refusal | None:
    """What Glance says of a container it does not know, as Cinder passes it on; None = it knows it."""
    if container_format in GLANCE_CONTAINERS:
        return None
    known = ", ".join(repr(container) for container in GLANCE_CONTAINERS)
    return Refusal(
        400,
        f"Unable to set 'container_format' to '{container_format}'. "
        f"Reason: '{container_format}' is not one of [{known}]\n\nFailed validating 'enum' in "
        f"schema['properties']['container_format']:\n"
        f"    {{'type': ['null', 'string'],\n     'description': 'Format of the container',\n"
        f"     'enum': [{known}]}}\n\nOn instance['container_format']:\n    '{container_format}'",
    )


def _fields(options: object, optional: Sequence[str]) -> Mapping[str, object]:
    if not isinstance(options, dict):
        raise _invalid(ACTION, options, f"{options!r} is not of type 'object'")
    if "image_name" not in options:
        raise _invalid(ACTION, options, "'image_name' is a required property")
    for name in options:
        if name != "image_name" and name not in optional:
            words = f"Additional properties are not allowed ('{name}' was unexpected)"
            raise _invalid(ACTION, options, words)
    return options


def _text(fields: Mapping[str, object], name: str) -> str:
    value = fields[name]
    if not isinstance(value, str):
        raise _invalid(name, value, f"{value!r} is not of type 'string'")
    return value


def _one_of(fields: Mapping[str, object], name: str, allowed: Sequence[str], *, default: str) -> str:
    if name not in fields:
        return default
    value = _text(fields, name)
    if value not in allowed:
        raise _invalid(name, value, f"{value!r} is not one of {list(allowed)!r}")
    return value


def _container(fields: Mapping[str, object]) -> str:
    value = fields.get("container_format", "bare")
    if value is not None and not isinstance(value, str):
        raise _invalid("container_format", value, f"{value!r} is not of type 'string', 'null'")
    return value or "bare"


def _flag(fields: Mapping[str, object], name: str) -> bool:
    value = fields.get(name, False)
    # The number 1 equals True in Python; only the booleans and the words count here.
    if isinstance(value, bool | str) and value in TRUE_WORDS + FALSE_WORDS:
        return value in TRUE_WORDS
    raise _invalid(name, value, f"{value!r} is not one of {list(TRUE_WORDS + FALSE_WORDS)!r}")


def _invalid(name: str, value: object, words: str) -> Refusal:
    return Refusal(400, f"Invalid input for field/attribute {name}. Value: {value}. {words}")


def _no_such_action(name: str) -> Refusal:
    return Refusal(
        400,
        f"There is no such action: {name}. Verify the request body and Content-Type header and try again.",
    )
