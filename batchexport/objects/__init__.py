"""Places that keep images as files: a folder of this machine, or an object store; each with a manifest."""

from batchexport.objects.manifest import MANIFEST_SUFFIX, Manifest, read_manifest
from batchexport.objects.place import Place, open_place, split_url

__all__ = [
    "MANIFEST_SUFFIX",
    "Manifest",
    "Place",
    "open_place",
    "read_manifest",
    "split_url",
]
