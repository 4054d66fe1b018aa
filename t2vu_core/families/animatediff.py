"""AnimateDiff (arXiv 2307.04725): an image UNet with a motion adapter, epsilon or v-prediction, CLIP.

The image UNet processes frames as a batch of images. Only the motion modules connect frames, and they read no text.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import ClassVar

from diffusers.models.unets.unet_motion_model import AnimateDiffTransformer3D
from torch import Tensor

from t2vu_core.errors import UserError
from t2vu_core.families.clip_size import ClipSize, SamplingDefaults, check_grid
from t2vu_core.families.unet import PIPELINE_UNIT, UNetFamily, checkpointed, own_pixels, small

ADAPTER_FRAMES = 16
"""The released motion adapters were trained on this many frames, though they accept more."""


class AnimateDiff(UNetFamily):
    """The erasers are in the image UNet: an erasure works with every motion adapter."""

    name: ClassVar[str] = "animatediff"
    pipeline_classes: ClassVar[tuple[str, ...]] = ("AnimateDiffPipeline",)

    @property
    def defaults(self) -> SamplingDefaults:
        size = ClipSize(min(ADAPTER_FRAMES, self._longest), *own_pixels(self.pipeline))
        return SamplingDefaults(size, 25, 4.0 if small(self.pipeline) else 7.5, 8)

    @property
    def _longest(self) -> int:
        return self.pipeline.unet.config.motion_max_seq_length

    def check_size(self, size: ClipSize) -> None:
        check_grid("AnimateDiff", size, self.defaults.size, unit=PIPELINE_UNIT, ratio=1)
        if size.num_frames > self._longest:
            raise UserError(
                f"This motion adapter makes clips of up to {self._longest} frames; {size.num_frames} are more. Choose fewer."
            )

    def text_rows(self, embeds_BSD: Tensor, num_frames: int) -> Tensor:
        return embeds_BSD.repeat_interleave(num_frames, dim=0)

    @contextlib.contextmanager
    def gradient_checkpointing(self) -> Iterator[None]:
        # diffusers leaves out the motion modules.
        motion = (module for module in self.pipeline.unet.modules() if isinstance(module, AnimateDiffTransformer3D))
        with super().gradient_checkpointing(), checkpointed(motion):
            yield
