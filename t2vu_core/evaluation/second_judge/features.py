"""What the second judge sees of clips: the network's features of a few frames."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from t2vu_core.evaluation.detectors.sampled_frames import sampled_frames
from t2vu_core.evaluation.second_judge.weights import load_network

SIDE = 128
"""Frames are resampled to squares of this side: large enough for the network, and a fifth of the time of 224."""
FRAMES = 3
"""Of a clip."""
BATCH = 32


@torch.no_grad()
def frame_features(frames_NCHW: Tensor) -> Tensor:
    """Features (N, 1280) of frames in [0, 1]."""
    network = load_network()
    parts = []
    for part in frames_NCHW.float().split(BATCH):
        resized = F.interpolate(part, size=(SIDE, SIDE), mode="bicubic", align_corners=False, antialias=True).clamp(0, 1)
        # The scale that the network was trained with: (pixel - 127) / 128.
        scaled = ((resized * 255 - 127) / 128).contiguous(memory_format=torch.channels_last)
        parts.append(network(scaled))
    return torch.cat(parts)


def clip_features(clips_BFCHW: Tensor) -> tuple[Tensor, list[int]]:
    """Features (B, frames, 1280) of evenly spaced frames of clips in [0, 1], and for each frame the nearest of them."""
    sampled = [sampled_frames(clip, FRAMES) for clip in clips_BFCHW]
    frames = torch.stack([frames for frames, _ in sampled])
    return frame_features(frames.flatten(0, 1)).unflatten(0, frames.shape[:2]), sampled[0][1]
