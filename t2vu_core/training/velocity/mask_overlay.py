"""A clip under the concept's mask, to look at: bright where the concept was found, dark and grey elsewhere."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from t2vu_core.families.base import Family
from t2vu_core.objectives.localization import outside_mask
from t2vu_core.training.velocity.encoded_prompts import first_named
from t2vu_core.training.velocity.points import TrainingPoints
from t2vu_core.training.velocity.trajectories import MASK_ONE

DARK = 0.25


def overlay(family: Family, points: TrainingPoints, threshold: float) -> Tensor:
    """The first clip whose prompt names the concept, under its mask: (F, 3, H, W) in [0, 1], float32 on the CPU."""
    masks, positions = points.concept.masks, points.prompts.positions["concept"]
    assert masks is not None
    index = first_named(positions)
    latents = points.concept.ends[index : index + 1].to(family.device, torch.float32)
    clip = family.decode_or_tile(latents, points.size)[0].cpu()
    mask = 1 - outside_mask(masks[index].float()[None] / MASK_ONE, threshold)[0]
    return shade(clip, mask.view(family.token_grid(points.size)))


def shade(clip_FCHW: Tensor, mask_THW: Tensor) -> Tensor:
    """Darken a clip (F, 3, H, W) outside a mask of T latent frames; each one applies to the frames that it decodes to."""
    frames, latent_frames = len(clip_FCHW), len(mask_THW)
    # The first latent frame decodes to one frame, every other one to the same number of frames.
    each = [-(-frame * (latent_frames - 1) // max(1, frames - 1)) for frame in range(frames)]
    bright = F.interpolate(mask_THW[each][:, None], clip_FCHW.shape[-2:], mode="nearest")
    grey = clip_FCHW.mean(1, keepdim=True).expand_as(clip_FCHW)
    return bright * clip_FCHW + (1 - bright) * DARK * grey
