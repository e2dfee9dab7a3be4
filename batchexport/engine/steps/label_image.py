"""The labels of one finished image, as an operation: set in one request, which may be repeated."""

from __future__ import annotations

from batchexport.engine.ports import Cloud, Fence
from batchexport.errors import CloudError
from batchexport.image_labels import Labels


class LabelImage:
    """The request to set properties and tags of the image of one job."""

    def __init__(self, cloud: Cloud, image_id: str, labels: Labels) -> None:
        self._cloud = cloud
        self._image_id = image_id
        self._labels = labels
        self.error: CloudError | None = None  #: why it failed

    async def record(self) -> None:
        """The intent is on disk since the job was claimed: it ends only after its labels were read back."""

    def may_send(self) -> bool:
        """Also of a run that stops: the image is complete, and its servers wait."""
        return True

    async def send(self, fence: Fence) -> bool:
        """One request."""
        await self._cloud.image.labels.set_labels(self._image_id, self._labels, fence=fence)
        return True

    async def answered(self, answer: bool) -> None:
        """An answer proves nothing: what was set while the image was written is lost. It is read back."""

    async def failed(self, error: CloudError) -> None:
        """Refused or in doubt: what the image has is read again."""
        self.error = error
