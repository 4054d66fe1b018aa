"""The modules that are trained to erase, and how they are attached: by hooks, never inside the model."""

from t2vu_core.erasers.base import Eraser, EraserSet
from t2vu_core.erasers.bottleneck import BottleneckEraser
from t2vu_core.erasers.delta import DeltaEraser, TableEraser
from t2vu_core.erasers.lora import LoraEraser

__all__ = ["BottleneckEraser", "DeltaEraser", "Eraser", "EraserSet", "LoraEraser", "TableEraser"]
