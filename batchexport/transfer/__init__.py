"""Large data on its way from one place to another: bounded in memory, hashed, limited, resumed."""

from batchexport.transfer.bandwidth import Bandwidth
from batchexport.transfer.slots import TransferSlots
from batchexport.transfer.stream import OpenFrom, SourceChangedError, Stream, WrongDataError

__all__ = ["Bandwidth", "OpenFrom", "SourceChangedError", "Stream", "TransferSlots", "WrongDataError"]
