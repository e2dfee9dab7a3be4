"""The export of one volume, as an operation: never repeated before it is certain that it made no image."""

from __future__ import annotations

import logging
from collections.abc import Callable

from batchexport.engine.ledger import Ledger, log_fields
from batchexport.engine.ports import Cloud, Fence
from batchexport.engine.send_failures import SendFailures
from batchexport.errors import CloudError
from batchexport.model import Accepted, ExportRequest, Job

log = logging.getLogger(__name__)


class Export:
    """The request to export the volume of one job."""

    def __init__(
        self,
        cloud: Cloud,
        ledger: Ledger,
        failures: SendFailures,
        job: Job,
        request: ExportRequest,
        *,
        may_send: Callable[[], bool],
        under_way: Callable[[], int],
    ) -> None:
        """`under_way` counts other exports that have no response yet."""
        self._cloud = cloud
        self._ledger = ledger
        self._failures = failures
        self._job = job
        self._request = request
        self._under_way = under_way
        self.may_send = may_send

    async def record(self) -> None:
        """The intent is on disk since the job was claimed, with many others."""

    async def send(self, fence: Fence) -> Accepted:
        """One request. An answer that is lost leaves the job in doubt, for the settler."""
        return await self._cloud.block_storage.upload_volume_to_image(self._request, fence=fence)

    async def answered(self, answer: Accepted) -> None:
        """The job is exporting."""
        job = self._job
        self._failures.accepted(job)
        asked = self._request.image_id
        is_ours = asked is None or self._ledger.chosen_images.answered(asked, answer.image_id)
        if answer.image_id in self._ledger.exporting or not is_ours:  # the response to another row's request
            extra = log_fields("foreign_image", job, image_id=answer.image_id)
            log.warning(
                "volume %s: the response names the image of another volume; outcome in doubt, checking",
                job.volume_id,
                extra=extra,
            )
            self._ledger.mark_in_doubt(job)
        else:
            self._ledger.accept(job, answer)

    async def failed(self, error: CloudError) -> None:
        """Retry, fail, or settle the job first."""
        await self._failures.failed(self._job, self._request, error, under_way=self._under_way())
