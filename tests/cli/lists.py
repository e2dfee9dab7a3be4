"""Lists of volumes whose exports take the practice cloud a second."""

import uuid
from pathlib import Path

from batchexport.sandbox.world import synthetic_volume


def quick_ids(count: int) -> list[str]:
    """Ids of the smallest volumes among the first few hundred that the practice cloud makes up."""
    volumes = [synthetic_volume(str(uuid.uuid5(uuid.NAMESPACE_OID, str(number)))) for number in range(400)]
    volumes.sort(key=lambda volume: volume.size_gib)
    return [volume.volume_id for volume in volumes[:count]]


def write_list(path: Path, count: int = 3, *, header: str = "volume_id", row: str = "{}") -> Path:
    path.write_text("\n".join([header, *(row.format(volume_id) for volume_id in quick_ids(count))]) + "\n")
    return path
