"""Look again at every image that a run made."""

from __future__ import annotations

from collections.abc import Mapping

from batchexport.app.connections import visits
from batchexport.config import CloudSettings, Settings
from batchexport.model import TargetKey
from batchexport.plan.image_checks import Verification, verify
from batchexport.store import StoreRef, stores


async def verify_images(
    state_path: StoreRef, settings: Settings, access: CloudSettings
) -> Mapping[TargetKey, Verification]:
    """What became of the images of every target of a state file. Raises StateError, CloudError."""
    with stores.read(state_path) as reader:
        targets = reader.overview().targets
    found = {target.key: Verification() for target in targets}
    async with visits(found, access, settings, state_path=state_path) as connect:
        for target in targets:
            with stores.exported_images(state_path, target.target_id) as images:
                async with connect(target.key, target.requests_per_second) as cloud:
                    await verify(cloud, images, settings.image, found[target.key])
    return found
