"""Deliveries: the way of finished images to where they are needed, in one loop per destination."""

from batchexport.engine.deliver.context import Delivering, Progress
from batchexport.engine.deliver.copy_image import CopyImage
from batchexport.engine.deliver.create_volume import CreateVolume
from batchexport.engine.deliver.during_run import RunDeliveries
from batchexport.engine.deliver.feed import Opening, OpeningOf, Row
from batchexport.engine.deliver.kind import DeliveryKind
from batchexport.engine.deliver.save_image import SaveImage
from batchexport.engine.deliver.share_image import ShareImage
from batchexport.engine.deliver.source_removal import Dropped, drop_sources
from batchexport.engine.deliver.target import deliver_rows, holding

__all__ = [
    "CopyImage",
    "CreateVolume",
    "Delivering",
    "DeliveryKind",
    "Dropped",
    "Opening",
    "OpeningOf",
    "Progress",
    "Row",
    "RunDeliveries",
    "SaveImage",
    "ShareImage",
    "deliver_rows",
    "drop_sources",
    "holding",
]
