"""Find, and on demand remove, the images of attempts that came to nothing."""

from __future__ import annotations

import time

from batchexport import engine
from batchexport.app.connections import visits
from batchexport.config import CloudSettings, Settings
from batchexport.engine import Cleaned, Found
from batchexport.errors import CloudError
from batchexport.model import TargetKey
from batchexport.store import Abandoned, StoreRef, stores


async def clean_up_images(
    state_path: StoreRef, settings: Settings, access: CloudSettings, *, remove: bool
) -> list[Cleaned]:
    """Every image of an attempt that came to nothing, and what became of it in the cloud.

    To `remove`, no other process may work on the state file. Raises StateError.
    """
    images: dict[TargetKey, list[Abandoned]] = {}
    with stores.read(state_path) as reader:
        run_id = reader.run.run_id
        for image in reader.abandoned():
            images.setdefault(image.target, []).append(image)

    results: list[Cleaned] = []
    async with visits(images, access, settings, state_path=state_path) as connect:
        for target, theirs in images.items():
            try:
                async with connect(target, None) as cloud:
                    if remove:
                        results += await engine.remove_left_overs(
                            cloud, target, theirs, state_path, run_id=run_id, now=time.time
                        )
                    else:
                        results += await engine.find_left_overs(cloud, theirs)
            except CloudError as error:
                results += [Cleaned(image=image, found=Found.STUCK, reason=str(error)) for image in theirs]
    return results
