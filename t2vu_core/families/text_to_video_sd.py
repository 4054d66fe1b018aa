"""ModelScope and ZeroScope (arXiv 2308.06571): an image UNet extended in time, epsilon-prediction, CLIP.

Temporal convolutions and attentions alternate with the layers of the image UNet; they read no text.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import ClassVar

from diffusers.models.resnet import ResnetBlock2D, TemporalConvLayer
from diffusers.models.transformers.transformer_2d import Transformer2DModel
from diffusers.models.transformers.transformer_temporal import TransformerTemporalModel

from t2vu_core.families.clip_size import ClipSize, SamplingDefaults, check_grid
from t2vu_core.families.unet import PIPELINE_UNIT, UNetFamily, checkpointed, own_pixels

PARTS = (ResnetBlock2D, TemporalConvLayer, Transformer2DModel, TransformerTemporalModel)


class TextToVideoSD(UNetFamily):
    """Clips may have any number of frames."""

    name: ClassVar[str] = "text_to_video_sd"
    pipeline_classes: ClassVar[tuple[str, ...]] = ("TextToVideoSDPipeline",)

    @property
    def defaults(self) -> SamplingDefaults:
        return SamplingDefaults(ClipSize(16, *own_pixels(self.pipeline)), 50, 9.0, 8)

    def check_size(self, size: ClipSize) -> None:
        check_grid("This model", size, self.defaults.size, unit=PIPELINE_UNIT, ratio=1)

    @contextlib.contextmanager
    def gradient_checkpointing(self) -> Iterator[None]:
        # diffusers has no gradient checkpointing for this UNet.
        with checkpointed(module for module in self.pipeline.unet.modules() if isinstance(module, PARTS)):
            yield
