"""Sizes of the listed volumes, read once and in pages, so that progress can be told in GiB."""

from __future__ import annotations

import logging

from batchexport.engine.ports import Cloud
from batchexport.errors import CloudError
from batchexport.store import Lease, StateFile

log = logging.getLogger(__name__)

#: Volumes are listed a thousand to a page. Beyond this many the sizes are learnt one by one from the answers,
#: for a display must not cost a large project hundreds of requests.
MOST_PAGES = 20


async def survey(cloud: Cloud, state: StateFile, lease: Lease) -> None:
    """Note the size of every listed volume. What cannot be read is left out: nothing depends on it."""
    if not await state.unsized(lease):
        return
    pages = 0
    try:
        async for page in cloud.volumes():
            sizes = {volume.volume_id: volume.size_gib for volume in page if volume.size_gib is not None}
            state.sizes(lease, sizes)
            pages += 1
            if pages >= MOST_PAGES:
                break
    except CloudError as error:
        log.info("cannot list the volumes for their sizes (%s); going on without", error)
