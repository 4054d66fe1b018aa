"""The modules that are trained to erase, and how they are attached: by hooks, never inside the model."""

from t2vu_core.erasers.base import EraserSet
from t2vu_core.erasers.bottleneck import BottleneckEraser

__all__ = ["BottleneckEraser", "EraserSet"]
