"""Draws the labelled clips of a world, on any device.

What varies from clip to clip is drawn by the caller's generator, in groups of 64 rows whatever the device and the
size of the chunks: the same generator gives the same clips everywhere, up to rounding.

Shapes: n clips, t frames, h height, w width; images are (n, t, 3, h, w) in [-1, 1]. Lengths are given in pixels of
the world of 32 and multiplied by the `unit` of the one that is drawn.
"""

from __future__ import annotations

from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from t2vu_core.miniature.world_sprites import sprites
from t2vu_core.miniature.worlds import BACKGROUND, FIRST, MOTION, NOBODY, SECOND, STYLE, WORLD_32, World

ROWS_PER_DRAW = 64
STARS = ((0.10, 0.12), (0.34, 0.06), (0.60, 0.10), (0.06, 0.52), (0.94, 0.55), (0.22, 0.90))


def render(
    labels: Tensor,
    generator: torch.Generator,
    *,
    world: World = WORLD_32,
    device: torch.device | str | None = None,
    chunk: int = 64,
) -> Tensor:
    """Draw the labelled clips. labels (n, 5) -> (n, t, 3, h, w) in [-1, 1].

    `device` is where they are drawn and returned, by default where the labels are; `chunk` clips are drawn at once.
    """
    return render_with_coverage(labels, generator, world=world, device=device, chunk=chunk)[0]


def render_with_coverage(
    labels: Tensor,
    generator: torch.Generator,
    *,
    world: World = WORLD_32,
    device: torch.device | str | None = None,
    chunk: int = 64,
) -> tuple[Tensor, Tensor]:
    """The same clips, and how much of each pixel the subjects cover: (n, t, 1, h, w) in [0, 1]."""
    where = torch.device(device) if device is not None else labels.device
    variations = torch.cat([_draw_variations(len(rows), generator) for rows in labels.split(ROWS_PER_DRAW)])
    rows, variations = labels.to(where), variations.to(where)
    parts = [_render_chunk(*part, world) for part in zip(rows.split(chunk), variations.split(chunk), strict=True)]
    return torch.cat([clips for clips, _ in parts]), torch.cat([coverage for _, coverage in parts])


def _draw_variations(count: int, generator: torch.Generator) -> Tensor:
    """What differs between clips of one label: steps to the right and down (-1, 0, 1), and a tint: (n, 5)."""
    device = generator.device
    right, down = (torch.randint(-1, 2, (count, 1), generator=generator, device=device) for _ in range(2))
    tint = torch.rand(count, 3, 1, 1, generator=generator, device=device)
    return torch.cat([right.float(), down.float(), tint.flatten(1)], 1)


def _render_chunk(labels: Tensor, variations: Tensor, world: World) -> tuple[Tensor, Tensor]:
    pair = labels[:, SECOND] != NOBODY
    radius, x, y, shift = _trajectories(labels[:, MOTION], pair, variations[:, :2], world)
    tint = (variations[:, 2:, None, None] - 0.5) * 0.06
    backdrops = (_still_backdrops(world, labels.device)[labels[:, BACKGROUND]] + tint).clamp(0, 1)
    image = backdrops[:, None].expand(-1, world.num_frames, -1, -1, -1)
    image, alpha = _paste(image, labels[:, FIRST], radius, x - shift, y, world)
    image, alpha_second = _paste(image, labels[:, SECOND], radius, x + shift, y, world)
    alpha = alpha_second + (1 - alpha_second) * alpha
    return _apply_style(image, alpha, labels[:, STYLE], world).clamp(0, 1) * 2 - 1, alpha


def _trajectories(motion: Tensor, pair: Tensor, steps: Tensor, world: World) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Radius and centre per frame, in pixels, each (n, t); `shift` (n, 1) moves a pair's two subjects apart.

    The places are two units apart, like the steps of the motion: a small model learns each of them sharply.
    """
    unit = world.size / 32
    name = {name: index for index, name in enumerate(world.motions)}
    time = torch.linspace(-1, 1, world.num_frames, device=motion.device)[None]
    motion, pair = motion[:, None], pair[:, None]
    radius = torch.where(pair, 7.5 * unit, 10.0 * unit).expand(-1, world.num_frames)
    sideways = torch.where(pair, 4.0 * unit, 8.0 * unit)
    jitter_x, jitter_y = (2.0 * unit * steps).split(1, 1)
    jitter_x = jitter_x * torch.where(pair, 0.0, 1.0)
    horizontal = (motion == name["right"]).float() - (motion == name["left"]).float()
    vertical = (motion == name["down"]).float() - (motion == name["up"]).float()
    x = world.size / 2 + torch.where(horizontal != 0, 0.0, jitter_x) + horizontal * sideways * time
    y = world.size / 2 + torch.where(vertical != 0, 0.0, jitter_y) + vertical * (8.0 * unit) * time
    radius = torch.where(motion == name["growing"], radius * (0.85 + 0.35 * time), radius)
    radius = radius.round() if world.whole_radii else radius
    shift = torch.where(pair, 8.0 * unit, 0.0)
    return radius, x, y, shift


def _paste(image: Tensor, subject: Tensor, radius: Tensor, x: Tensor, y: Tensor, world: World) -> tuple[Tensor, Tensor]:
    """Composite a subject over (n, t, 3, h, w) at a radius and centre per frame; also its alpha (n, t, 1, h, w)."""
    n, t = x.shape
    size, device = world.size, image.device
    pixel = torch.arange(size, device=device) + 0.5
    u = (pixel[None, None, None, :] - x[..., None, None]) / radius[..., None, None]
    v = (pixel[None, None, :, None] - y[..., None, None]) / radius[..., None, None]
    grid = torch.stack([u.expand(n, t, size, size), v.expand(n, t, size, size)], -1).flatten(0, 1)
    shown, diameter = subject.clamp(min=0).repeat_interleave(t), 2 * radius.flatten()
    layer = torch.zeros(n * t, 4, size, size, device=device)
    sizes = torch.tensor(world.sprite_sizes, device=device)
    level = (diameter[:, None] / sizes).log().abs().argmin(1)
    level = torch.where((subject != NOBODY).repeat_interleave(t), level, -1)
    for index, side in enumerate(world.sprite_sizes):
        rows = (level == index).nonzero().flatten()
        if len(rows):
            sprite = sprites(world, device)[side][shown[rows]]
            layer[rows] = F.grid_sample(sprite, grid[rows], mode="bilinear", padding_mode="zeros", align_corners=False)
    layer = layer.view(n, t, 4, size, size)
    alpha = layer[:, :, 3:]
    return layer[:, :, :3] + (1 - alpha) * image, alpha


def _gradient(top: tuple[float, ...], bottom: tuple[float, ...], weight: Tensor) -> Tensor:
    top_colour, bottom_colour = (torch.tensor(colour)[:, None, None] for colour in (top, bottom))
    return top_colour * (1 - weight) + bottom_colour * weight


@cache
def _still_backdrops(world: World, device: torch.device) -> Tensor:
    """The four backgrounds without their slight change of colour from clip to clip: (4, 3, h, w)."""
    size, unit = world.size, world.size / 32
    y = ((torch.arange(size) + 0.5) / size)[:, None].expand(size, size)
    x = y.T

    def disc(centre_x: float, centre_y: float, radius: float) -> Tensor:
        return (radius - ((x - centre_x) ** 2 + (y - centre_y) ** 2).sqrt() * size).clamp(0, 1)

    sky = _gradient((0.30, 0.60, 0.98), (0.75, 0.90, 1.0), y)
    night = _gradient((0.03, 0.04, 0.18), (0.12, 0.10, 0.32), y)
    moon = disc(0.86, 0.14, 3.2 * unit)
    night = night * (1 - moon) + torch.tensor((0.98, 0.95, 0.75))[:, None, None] * moon
    for centre_x, centre_y in STARS:
        star = disc(centre_x, centre_y, world.star_radius)
        night = night * (1 - star) + star
    meadow = _gradient((0.80, 0.93, 1.0), (0.25, 0.68, 0.22), ((y - 0.62) * size).clamp(0, 1))
    sunset = _gradient((0.45, 0.18, 0.50), (1.0, 0.62, 0.20), y)
    return torch.stack([sky, night, meadow, sunset]).to(device)


def _colour(*values: float, like: Tensor) -> Tensor:
    return torch.tensor(values, device=like.device)[:, None, None]


def _apply_style(image: Tensor, alpha: Tensor, style: Tensor, world: World) -> Tensor:
    luminance = (image * _colour(0.299, 0.587, 0.114, like=image)).sum(2, keepdim=True)
    toned = luminance if world.outline == 0 else luminance * (1 - world.outline * _steps(alpha).clamp(0, 1))
    styled = {
        "noir": (toned * 1.15 - 0.05).expand_as(image),
        "sepia": toned * _colour(1.0, 0.80, 0.55, like=image) + 0.04,
        "sketch": _sketch(luminance, alpha).expand_as(image),
        "pop": _pop_art(luminance, alpha),
    }
    for name, pixels in styled.items():
        chosen = (style == world.styles.index(name))[:, None, None, None, None]
        image = torch.where(chosen, pixels, image)
    return image


def _steps(plane: Tensor) -> Tensor:
    """Sum of absolute differences to the right and to the lower neighbour."""
    right = F.pad(plane, (0, 1)).diff(dim=-1).abs()
    below = F.pad(plane.transpose(-1, -2), (0, 1)).diff(dim=-1).abs().transpose(-1, -2)
    right[..., -1], below[..., -1, :] = 0, 0
    return right + below


def _sketch(luminance: Tensor, alpha: Tensor) -> Tensor:
    """Dark outlines on light paper: gradients of luminance and of the subjects' silhouettes."""
    edge = (2.2 * _steps(luminance) + 0.9 * _steps(alpha)).clamp(0, 0.92)
    paper = 0.97 - 0.10 * (1 - luminance)
    return paper * (1 - edge) + 0.05 * edge


def _pop_art(luminance: Tensor, alpha: Tensor) -> Tensor:
    """Silkscreen duotone, dark violet through hot pink to yellow, with the subjects' outlines drawn dark."""
    luminance = (luminance * 1.25 - 0.1).clamp(0, 1) * (1 - (0.8 * _steps(alpha)).clamp(0, 0.9))
    dark = _colour(0.22, 0.04, 0.42, like=luminance)
    middle, light = _colour(0.98, 0.16, 0.52, like=luminance), _colour(1.0, 0.93, 0.20, like=luminance)
    low, high = (luminance * 2).clamp(0, 1), (luminance * 2 - 1).clamp(0, 1)
    return dark * (1 - low) + middle * (low - high) + light * high
