"""Decoding with too little memory: in overlapping tiles."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

log = logging.getLogger(__name__)


def decode_or_tile(vae: Any, decode: Callable[[], Tensor]) -> Tensor:
    """`decode()`, which uses this VAE; if the accelerator's memory is too small for whole frames, in overlapping tiles."""
    try:
        return decode()
    except torch.cuda.OutOfMemoryError:
        if vae.use_tiling:
            raise
    log.info("Not enough memory to decode whole frames: decoding in tiles.")
    torch.cuda.empty_cache()
    vae.enable_tiling()
    try:
        return decode()
    finally:
        vae.disable_tiling()
