"""Pictures that nodes show: previews of unfinished clips, and the curve of a training loss."""

import io
import math
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

PREVIEW_HEIGHT = 192
PREVIEW_FRAMES = 3
PREVIEW_SIDE = 2048


def preview_picture(clips_BFCHW: Tensor) -> Image.Image:
    """First, middle and last frame of the first clip side by side, scaled up to be visible in a node.

    Clips of one frame are images: all of them are shown, in rows.
    """
    count, frames = clips_BFCHW.shape[:2]
    if frames == 1:
        picture = _tiled(clips_BFCHW[:, 0], math.ceil(math.sqrt(count)))
    else:
        wanted = torch.linspace(0, frames - 1, min(PREVIEW_FRAMES, frames)).round().long()
        picture = _tiled(clips_BFCHW[0][wanted], len(wanted))
    scale = max(1, math.ceil(PREVIEW_HEIGHT / picture.height))
    picture = picture.resize((picture.width * scale, picture.height * scale), Image.Resampling.BICUBIC)
    picture.thumbnail((PREVIEW_SIDE, PREVIEW_SIDE))
    return picture


def _tiled(images_BCHW: Tensor, columns: int) -> Image.Image:
    """Images in [0, 1] in rows of `columns`, the last row filled up with black."""
    rows = math.ceil(len(images_BCHW) / columns)
    count, channels, height, width = images_BCHW.shape
    tiles = torch.cat([images_BCHW, images_BCHW.new_zeros(rows * columns - count, channels, height, width)])
    grid = tiles.view(rows, columns, channels, height, width).permute(0, 3, 1, 4, 2)
    pixels = grid.reshape(rows * height, columns * width, channels).detach().float().cpu().clamp(0, 1)
    return Image.fromarray((pixels * 255).round().byte().numpy())


def loss_picture(losses: Sequence[float]) -> Tensor:
    """The training loss by step, as an IMAGE (1, H, W, 3) in [0, 1]."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 3.4), dpi=100, layout="constrained")
    axes = figure.subplots()
    axes.plot(range(1, len(losses) + 1), losses, linewidth=1.2)
    if losses and min(losses) > 0:
        axes.set_yscale("log")
    axes.set(xlabel="training step", ylabel="loss", title="A low loss does not prove that the concept is gone")
    axes.grid(alpha=0.3)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    picture = torch.frombuffer(bytearray(Image.open(buffer).convert("RGB").tobytes()), dtype=torch.uint8)
    width, height = Image.open(buffer).size
    return picture.view(1, height, width, 3).float() / 255
