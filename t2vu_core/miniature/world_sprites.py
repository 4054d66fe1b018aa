"""The sprites of a world: glyphs of Noto Color Emoji (see NOTICE), drawn once into a file and read from it.

A sprite is uint8 (4, s, s): red, green, blue and alpha, with alpha premultiplied.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

from t2vu_core.erasure import atomic_path
from t2vu_core.miniature.worlds import WORLD_32, World

FONT_SIZE = 109
"""Noto Color Emoji is a bitmap font; this is its only size."""


def build_sprites(font_path: str, *, world: World = WORLD_32) -> None:
    """Draw the glyphs of Noto Color Emoji into the world's sprite file."""
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(font_path, FONT_SIZE)
    levels: dict[str, list[Tensor]] = {str(size): [] for size in world.stored_sizes}
    for glyph in world.glyphs:
        canvas = Image.new("RGBA", (136, 128), (0, 0, 0, 0))
        ImageDraw.Draw(canvas).text((0, 0), glyph, font=font, embedded_color=True)
        drawn = canvas.crop(canvas.getbbox())
        side = max(drawn.size)
        square = Image.new("RGBA", (side, side), (0, 0, 0, 0))
        square.paste(drawn, ((side - drawn.size[0]) // 2, (side - drawn.size[1]) // 2))
        for size in levels:
            pixels = np.asarray(square.resize((int(size), int(size)), Image.Resampling.LANCZOS)).copy()
            rgba = torch.from_numpy(pixels).permute(2, 0, 1).float() / 255
            premultiplied = torch.cat([rgba[:3] * rgba[3:], rgba[3:]])
            levels[size].append((premultiplied * 255).round().to(torch.uint8))
    world.sprites_file.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(world.sprites_file) as temporary:
        save_file({size: torch.stack(sprites) for size, sprites in levels.items()}, str(temporary))


@cache
def sprites(world: World, device: torch.device) -> dict[int, Tensor]:
    """Side in pixels -> the sprites of that size, float (glyphs, 4, s, s) in [0, 1]."""
    stored = {int(name): pixels.float() / 255 for name, pixels in load_file(str(world.sprites_file)).items()}
    largest = stored[max(stored)]
    sizes = {size: stored[size] if size in stored else _shrink(largest, size) for size in world.sprite_sizes}
    return {size: pixels.to(device) for size, pixels in sizes.items()}


def _shrink(pixels: Tensor, size: int) -> Tensor:
    """Bicubic keeps edges sharp; what it overshoots is cut, and no colour may exceed its alpha."""
    small = F.interpolate(pixels, size=(size, size), mode="bicubic", antialias=True).clamp(0, 1)
    return torch.cat([torch.minimum(small[:, :3], small[:, 3:]), small[:, 3:]], 1)
