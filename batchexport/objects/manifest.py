"""The manifest beside the file of an image: enough to know what it is, to check it, and to restore it."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from batchexport.errors import ConfigError

#: What the name of a manifest has behind that of its file.
MANIFEST_SUFFIX = ".manifest.json"
#: A manifest has some KiB; what is larger is none.
MAX_BYTES = 2**20


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """What one file is. Times are ISO 8601, UTC."""

    kind: str = "batchexport image"
    version: int = 1
    file: str  #: its name, in the same folder
    size_bytes: int
    hashes: Mapping[str, str]  #: hexadecimal digests by algorithm: `sha512` …
    image_id: str  #: in the cloud that it comes from
    volume_id: str
    run_id: str
    saved_at: str
    saved_by: str  #: the version of batchexport
    cloud: str | None = None  #: that it comes from, as far as it has a name
    image: Mapping[str, object] = {}  #: the fields of the image that a new one is made with

    def encode(self) -> bytes:
        """The text of the file."""
        return msgspec.json.format(msgspec.json.encode(self), indent=2) + b"\n"


def read_manifest(text: bytes, name: str) -> Manifest:
    """The manifest in this text; `name` is for messages. Raises ConfigError where it is none."""
    hint = f"name the file that ends in {MANIFEST_SUFFIX}, which stands beside each saved image"
    if len(text) > MAX_BYTES:
        raise ConfigError(f"{name}: too large for a manifest", hint=hint)
    try:
        manifest = msgspec.json.decode(text, type=Manifest)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f"{name}: no manifest of an image: {error}", hint=hint) from error
    if manifest.kind != "batchexport image":
        raise ConfigError(f"{name}: no manifest of an image, but {manifest.kind!r}", hint=hint)
    if manifest.version != 1:
        raise ConfigError(
            f"{name}: of version {manifest.version}, this program knows version 1",
            hint="use the version of batchexport that wrote it, or a newer one",
        )
    if "/" in manifest.file or manifest.file in ("", ".", ".."):
        raise ConfigError(f"{name}: its file {manifest.file!r} is not in the same folder", hint=hint)
    if not manifest.hashes or manifest.size_bytes < 1:
        raise ConfigError(f"{name}: without size or hashes, so that nothing could be verified", hint=hint)
    return manifest
