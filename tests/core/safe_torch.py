"""A marker for tests that import released `.pt` files, which older versions of PyTorch are not allowed to open."""

from __future__ import annotations

import pytest
import torch
from packaging.version import Version

from t2vu_core.tensor_pickles import SAFE_TORCH

opens_released = pytest.mark.skipif(
    Version(torch.__version__) < SAFE_TORCH, reason=f"importing released .pt files needs PyTorch {SAFE_TORCH} or newer"
)
