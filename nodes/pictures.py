"""Pictures that nodes show: the preview of half-made clips, and the course of a training."""

import io
import math
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

PREVIEW_HEIGHT = 192
PREVIEW_FRAMES = 3


def preview_picture(clips_BFCHW: Tensor) -> Image.Image:
    """First, middle and last frame of the first clip side by side, large enough to be seen in a node."""
    clip = clips_BFCHW[0].detach()
    wanted = torch.linspace(0, len(clip) - 1, min(PREVIEW_FRAMES, len(clip))).round().long()
    row_HWC = torch.cat([frame.permute(1, 2, 0) for frame in clip[wanted]], dim=1)
    picture = Image.fromarray((row_HWC.float().cpu().clamp(0, 1) * 255).round().byte().numpy())
    scale = max(1, math.ceil(PREVIEW_HEIGHT / picture.height))
    return picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.BICUBIC)


def loss_picture(losses: Sequence[float]) -> Tensor:
    """The training loss by step, as an IMAGE (1, H, W, 3) in [0, 1]."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.4), dpi=100, layout="constrained")
    axes = figure.subplots()
    axes.plot(range(1, len(losses) + 1), losses, linewidth=1.2)
    if losses and min(losses) > 0:
        axes.set_yscale("log")
    axes.set(xlabel="training step", ylabel="loss", title="A falling loss is no proof: sample the concept")
    axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    picture = torch.frombuffer(bytearray(Image.open(buffer).convert("RGB").tobytes()), dtype=torch.uint8)
    width, height = Image.open(buffer).size
    return picture.view(1, height, width, 3).float() / 255
