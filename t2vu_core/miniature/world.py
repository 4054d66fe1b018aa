"""The world: what a miniature clip can show, and the renderer that draws it.

A clip is 9 frames of 32 x 32 pixels. Its facts are one row of a label tensor
(`first`, `second`, `style`, `motion`, `background`): indices into the tuples below, with
`NOBODY` where there is no subject. The sprites are glyphs of Noto Color Emoji (see NOTICE).

Shapes: n clips, t frames, h height, w width; images are (n, t, 3, h, w) in [-1, 1].
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

SIZE = 32
NUM_FRAMES = 9
NOBODY = -1

SUBJECT_GLYPHS = {
    "ghost": "\U0001f47b",
    "robot": "\U0001f916",
    "wizard": "\U0001f9d9",
    "dragon": "\U0001f409",
    "santa": "\U0001f385",
    "princess": "\U0001f478",
    "cat": "\U0001f431",
    "panda": "\U0001f43c",
    "car": "\U0001f697",
    "rocket": "\U0001f680",
    "pizza": "\U0001f355",
    "octopus": "\U0001f419",
}
# Drawn only to teach the detector what is *not* a known subject.
DISTRACTOR_GLYPHS = "🦊🤡🧛👮👽⛄🐧🎃🦆🎄🎈🍌🐸🦁🐵🐰🌵🍄☂🍉🐢🐳🦋🌻🏠⚽🎸🧟🥷👷🤠🐶🐷🦄🐝🍔"

SUBJECTS = tuple(SUBJECT_GLYPHS)
STYLES = ("plain", "noir", "sepia", "sketch", "pop")
MOTIONS = ("left", "right", "up", "down", "still", "growing")
BACKGROUNDS = ("sky", "night", "meadow", "sunset")
LABELS = ("first", "second", "style", "motion", "background")
FIRST, SECOND, STYLE, MOTION, BACKGROUND = range(len(LABELS))

# A pencil sketch keeps outlines only: the colours that tell sky from sunset are gone.
STYLES_HIDING_BACKGROUND = ("sketch",)

_SPRITES_FILE = Path(__file__).parent / "weights" / "sprites.safetensors"
_SPRITE_SIZES = (30, 24, 20, 15, 10)


def sample_labels(
    num_clips: int,
    generator: torch.Generator,
    *,
    two_subjects: float = 0.3,
    empty: float = 0.03,
    distractors: float = 0.0,
    favour: Sequence[str] = (),
) -> Tensor:
    """Draw (num_clips, 5) label rows; the probabilities say how often a row has two, no or unknown subjects.

    The subjects in `favour` come first, or alone, twice as often as the others.
    """

    def choice(count: int) -> Tensor:
        return torch.randint(0, count, (num_clips,), generator=generator)

    pool = torch.tensor([*range(len(SUBJECTS)), *(SUBJECTS.index(name) for name in favour)])
    first, second = pool[choice(len(pool))], choice(len(SUBJECTS) - 1)
    second = second + (second >= first)
    draw = torch.rand(num_clips, generator=generator)
    second = torch.where((draw < two_subjects) & (draw <= 1 - empty), second, NOBODY)
    first = torch.where(draw > 1 - empty, NOBODY, first)
    unknown = (draw > 1 - empty - distractors) & (draw <= 1 - empty)
    first = torch.where(unknown, len(SUBJECTS) + choice(len(DISTRACTOR_GLYPHS)), first)
    return torch.stack([first, second, choice(len(STYLES)), choice(len(MOTIONS)), choice(len(BACKGROUNDS))], 1)


def sample_labels_without(
    concept: str | None,
    num_clips: int,
    generator: torch.Generator,
    *,
    two_subjects: float = 0.3,
    favour: Sequence[str] = (),
) -> Tensor:
    """Like `sample_labels`, but no row has the subject or style of that name; all rows if it is None."""
    rows = sample_labels(num_clips, generator, two_subjects=two_subjects, favour=favour)
    while concept is not None and (told := shows(rows, concept)).any():
        again = sample_labels(int(told.sum()), generator, two_subjects=two_subjects, favour=favour)
        rows = torch.cat([rows[~told], again])
    return rows


def shows(labels: Tensor, concept: str) -> Tensor:
    """Which label rows have the subject or style of that name, bool (n,); ValueError for a name that is neither."""
    if concept in SUBJECTS:
        return (labels[:, [FIRST, SECOND]] == SUBJECTS.index(concept)).any(1)
    return labels[:, STYLE] == STYLES.index(concept)


def render(labels: Tensor, generator: torch.Generator, *, chunk: int = 64) -> Tensor:
    """Draw the labelled clips. labels (n, 5) -> (n, 9, 3, 32, 32) in [-1, 1]."""
    return render_with_coverage(labels, generator, chunk=chunk)[0]


def render_with_coverage(labels: Tensor, generator: torch.Generator, *, chunk: int = 64) -> tuple[Tensor, Tensor]:
    """The same clips, and how much of each pixel the subjects cover: (n, 9, 1, 32, 32) in [0, 1]."""
    parts = [_render_chunk(part, generator) for part in labels.split(chunk)]
    return torch.cat([clips for clips, _ in parts]), torch.cat([coverage for _, coverage in parts])


def build_sprites(font_path: str, out: Path = _SPRITES_FILE) -> None:
    """Draw the glyphs of Noto Color Emoji into the sprite file: uint8 (glyphs, 4, s, s), alpha premultiplied."""
    import numpy as np
    from PIL import Image, ImageDraw, ImageFont

    font = ImageFont.truetype(font_path, 109)
    levels: dict[str, list[Tensor]] = {str(size): [] for size in _SPRITE_SIZES}
    for glyph in [*SUBJECT_GLYPHS.values(), *DISTRACTOR_GLYPHS]:
        canvas = Image.new("RGBA", (136, 128), (0, 0, 0, 0))
        ImageDraw.Draw(canvas).text((0, 0), glyph, font=font, embedded_color=True)
        drawn = canvas.crop(canvas.getbbox())
        side = max(drawn.size)
        square = Image.new("RGBA", (side, side), (0, 0, 0, 0))
        square.paste(drawn, ((side - drawn.size[0]) // 2, (side - drawn.size[1]) // 2))
        for size in _SPRITE_SIZES:
            pixels = torch.from_numpy(np.asarray(square.resize((size, size), Image.Resampling.LANCZOS)).copy())
            rgba = pixels.permute(2, 0, 1).float() / 255
            premultiplied = torch.cat([rgba[:3] * rgba[3:], rgba[3:]])
            levels[str(size)].append((premultiplied * 255).round().to(torch.uint8))
    out.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: torch.stack(sprites) for name, sprites in levels.items()}, str(out))


@cache
def _sprites() -> dict[int, Tensor]:
    return {int(name): pixels.float() / 255 for name, pixels in load_file(str(_SPRITES_FILE)).items()}


def _render_chunk(labels: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    first = labels[:, FIRST]
    pair = labels[:, SECOND] != NOBODY
    radius, x, y, shift = _trajectories(labels[:, MOTION], pair, generator)
    image = _backdrops(labels[:, BACKGROUND], generator)[:, None].expand(-1, NUM_FRAMES, -1, -1, -1)
    image, alpha = _paste(image, first, radius, x - shift, y)
    image, alpha_second = _paste(image, labels[:, SECOND], radius, x + shift, y)
    alpha = alpha_second + (1 - alpha_second) * alpha
    return _apply_style(image, alpha, labels[:, STYLE]).clamp(0, 1) * 2 - 1, alpha


def _trajectories(motion: Tensor, pair: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Radius and centre per frame, in pixels, each (n, t); `shift` (n, 1) moves a pair's two subjects apart."""
    n, name = len(motion), {name: index for index, name in enumerate(MOTIONS)}

    def jitter() -> Tensor:
        """Places two pixels apart, like the steps of the motion: a small model learns each of them sharply."""
        return 2.0 * torch.randint(-1, 2, (n, 1), generator=generator)

    time = torch.linspace(-1, 1, NUM_FRAMES)[None]
    motion, pair = motion[:, None], pair[:, None]
    radius = torch.where(pair, 7.5, 10.0).expand(n, NUM_FRAMES)
    sideways = torch.where(pair, 4.0, 8.0)
    jitter_x, jitter_y = jitter() * torch.where(pair, 0.0, 1.0), jitter()
    horizontal = (motion == name["right"]).float() - (motion == name["left"]).float()
    vertical = (motion == name["down"]).float() - (motion == name["up"]).float()
    x = SIZE / 2 + torch.where(horizontal != 0, 0.0, jitter_x) + horizontal * sideways * time
    y = SIZE / 2 + torch.where(vertical != 0, 0.0, jitter_y) + vertical * 8.0 * time
    radius = torch.where(motion == name["growing"], radius * (0.85 + 0.35 * time), radius)
    shift = torch.where(pair, 8.0, 0.0)
    return radius, x, y, shift


def _paste(image: Tensor, subject: Tensor, radius: Tensor, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Composite a subject over (n, t, 3, h, w) at a radius and centre per frame; also its alpha (n, t, 1, h, w)."""
    n, t = x.shape
    pixel = torch.arange(SIZE) + 0.5
    u = (pixel[None, None, None, :] - x[..., None, None]) / radius[..., None, None]
    v = (pixel[None, None, :, None] - y[..., None, None]) / radius[..., None, None]
    grid = torch.stack([u.expand(n, t, SIZE, SIZE), v.expand(n, t, SIZE, SIZE)], -1).flatten(0, 1)
    shown, diameter = subject.clamp(min=0).repeat_interleave(t), 2 * radius.flatten()
    layer = torch.zeros(n * t, 4, SIZE, SIZE)
    sizes = torch.tensor(_SPRITE_SIZES)
    level = (diameter[:, None] / sizes.clamp(min=1)).log().abs().argmin(1)
    for index, size in enumerate(_SPRITE_SIZES):
        rows = (level == index).nonzero().flatten()
        sprite = _sprites()[size][shown[rows]]
        layer[rows] = F.grid_sample(sprite, grid[rows], mode="bilinear", padding_mode="zeros", align_corners=False)
    layer = layer.view(n, t, 4, SIZE, SIZE) * (subject != NOBODY).float()[:, None, None, None, None]
    alpha = layer[:, :, 3:]
    return layer[:, :, :3] + (1 - alpha) * image, alpha


def _gradient(top: tuple[float, ...], bottom: tuple[float, ...], weight: Tensor) -> Tensor:
    top_colour, bottom_colour = (torch.tensor(colour)[:, None, None] for colour in (top, bottom))
    return top_colour * (1 - weight) + bottom_colour * weight


@cache
def _still_backdrops() -> Tensor:
    """The four backgrounds without their slight change of colour from clip to clip: (4, 3, h, w)."""
    y = ((torch.arange(SIZE) + 0.5) / SIZE)[:, None].expand(SIZE, SIZE)
    x = y.T
    sky = _gradient((0.30, 0.60, 0.98), (0.75, 0.90, 1.0), y)
    night = _gradient((0.03, 0.04, 0.18), (0.12, 0.10, 0.32), y)
    moon = (3.2 - ((x - 0.86) ** 2 + (y - 0.14) ** 2).sqrt() * SIZE).clamp(0, 1)
    night = night * (1 - moon) + torch.tensor((0.98, 0.95, 0.75))[:, None, None] * moon
    for star_x, star_y in ((0.10, 0.12), (0.34, 0.06), (0.60, 0.10), (0.06, 0.52), (0.94, 0.55), (0.22, 0.90)):
        star = (1.0 - ((x - star_x) ** 2 + (y - star_y) ** 2).sqrt() * SIZE).clamp(0, 1)
        night = night * (1 - star) + star
    meadow = _gradient((0.80, 0.93, 1.0), (0.25, 0.68, 0.22), ((y - 0.62) * SIZE).clamp(0, 1))
    sunset = _gradient((0.45, 0.18, 0.50), (1.0, 0.62, 0.20), y)
    return torch.stack([sky, night, meadow, sunset])


def _backdrops(background: Tensor, generator: torch.Generator) -> Tensor:
    tint = (torch.rand(len(background), 3, 1, 1, generator=generator) - 0.5) * 0.06
    return (_still_backdrops()[background] + tint).clamp(0, 1)


def _apply_style(image: Tensor, alpha: Tensor, style: Tensor) -> Tensor:
    luminance = (image * torch.tensor([0.299, 0.587, 0.114])[:, None, None]).sum(2, keepdim=True)
    styled = {
        "noir": (luminance * 1.15 - 0.05).expand_as(image),
        "sepia": luminance * torch.tensor([1.0, 0.80, 0.55])[:, None, None] + 0.04,
        "sketch": _sketch(luminance, alpha).expand_as(image),
        "pop": _pop_art(luminance, alpha),
    }
    for name, pixels in styled.items():
        chosen = (style == STYLES.index(name))[:, None, None, None, None]
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
    dark, middle, light = (
        torch.tensor(colour)[:, None, None] for colour in ((0.22, 0.04, 0.42), (0.98, 0.16, 0.52), (1.0, 0.93, 0.20))
    )
    low, high = (luminance * 2).clamp(0, 1), (luminance * 2 - 1).clamp(0, 1)
    return dark * (1 - low) + middle * (low - high) + light * high
