"""LTX-Video from 0.9.7 on: its folders name LTXConditionPipeline, which also takes images; here it makes clips from text.

The denoiser is the same. Its schedule is linear, then quadratic; positions in time begin at the first frame, which the VAE
encodes alone; prompts have up to 256 tokens. So an eraser fits both, and the trajectories are those of the folder's pipeline.
"""

from __future__ import annotations

from typing import Any, ClassVar

from diffusers.pipelines.ltx.pipeline_ltx_condition import linear_quadratic_schedule
from torch import Tensor

from t2vu_core.families.clip_size import ClipSize
from t2vu_core.families.ltx import FPS, LTX


class LTXCondition(LTX):
    """Latents are (B, C, F, H, W), as in `LTX`."""

    pipeline_classes: ClassVar[tuple[str, ...]] = ("LTXConditionPipeline",)
    max_text_tokens: ClassVar[int] = 256

    def make_scheduler(self, num_inference_steps: int, size: ClipSize) -> Any:
        scheduler = type(self.pipeline.scheduler).from_config(self.pipeline.scheduler.config)
        timesteps = linear_quadratic_schedule(num_inference_steps) * scheduler.config.num_train_timesteps
        scheduler.set_timesteps(timesteps=timesteps.tolist(), device=self.device)
        return scheduler

    def _positions(self, latents: Tensor, size: ClipSize) -> dict[str, Any]:
        pipeline, (_, frames, height, width), (patch, frames_a_token) = self.pipeline, self.latent_shape(size), self._patches
        ids = pipeline._prepare_video_ids(
            len(latents), frames, height, width, patch_size=patch, patch_size_t=frames_a_token, device=latents.device
        )
        spatial, temporal = pipeline.vae_spatial_compression_ratio, pipeline.vae_temporal_compression_ratio
        places = pipeline._scale_video_ids(ids, scale_factor=spatial, scale_factor_t=temporal, device=latents.device).float()
        places[:, 0] = places[:, 0] / FPS
        return {"video_coords": places}
