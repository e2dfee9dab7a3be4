"""Deliveries: the way of finished images to where they are needed, in one loop per destination."""

from batchexport.engine.deliver.context import Delivering, Progress
from batchexport.engine.deliver.copy_image import CopyImage
from batchexport.engine.deliver.create_volume import CreateVolume
from batchexport.engine.deliver.destination_loop import deliver_all
from batchexport.engine.deliver.kind import DeliveryKind
from batchexport.engine.deliver.save_image import SaveImage
from batchexport.engine.deliver.share_image import ShareImage
from batchexport.engine.deliver.target import Dropped, Row, deliver_rows, drop_sources, holding

__all__ = [
    "CopyImage",
    "CreateVolume",
    "Delivering",
    "DeliveryKind",
    "Dropped",
    "Progress",
    "Row",
    "SaveImage",
    "ShareImage",
    "deliver_all",
    "deliver_rows",
    "drop_sources",
    "holding",
]
