"""The trained modules of an erasure. Forward hooks attach them; the model itself is not changed."""

from t2vu_core.erasers.base import Eraser, EraserSet
from t2vu_core.erasers.bottleneck import BottleneckEraser
from t2vu_core.erasers.delta import DeltaEraser, TableEraser
from t2vu_core.erasers.lora import LoraEraser

__all__ = ["BottleneckEraser", "DeltaEraser", "Eraser", "EraserSet", "LoraEraser", "TableEraser"]
