"""The detector of a world: which subjects, style, motion and background a clip shows.

Frames pass through a small 2D network one by one, so that subjects are known per frame. Subjects are
independent yes/no questions: none may be there, or two. Style, motion and background are one of several.
One class judges both worlds: 64 pixels are halved by the first layer.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from t2vu_core.miniature.worlds import FIRST, NUM_FRAMES, SECOND, STYLES, WORLD_32, World, world_of

THRESHOLD = 0.5
_WEIGHTS = Path(__file__).parent / "weights"


@dataclass(frozen=True)
class Detection:
    """What n clips show. Probabilities: `subjects` (n, s), `subjects_by_frame` (n, 9, s); the rest (n, choices)."""

    subjects: Tensor
    subjects_by_frame: Tensor
    style: Tensor
    motion: Tensor
    background: Tensor
    names: tuple[str, ...] = WORLD_32.subjects

    def shows(self, subject: str) -> Tensor:
        """Whether each clip shows the subject: bool (n,)."""
        return self.subjects[:, self.names.index(subject)] > THRESHOLD

    def has_style(self, style: str) -> Tensor:
        """Whether each clip is in the style: bool (n,)."""
        return self.style.argmax(1) == STYLES.index(style)


class MiniatureDetector(nn.Module):
    """Clips (n, 9, 3, h, w) of a world in [-1, 1] -> logits of each attribute."""

    def __init__(self, world: World = WORLD_32, *, width: int = 32) -> None:
        super().__init__()
        self.world = world

        def block(inputs: int, outputs: int, stride: int) -> nn.Sequential:
            conv = nn.Conv2d(inputs, outputs, 3, stride=stride, padding=1)
            return nn.Sequential(conv, nn.GroupNorm(8, outputs), nn.SiLU())

        self.frames = nn.Sequential(
            block(3, width, world.size // 32),
            block(width, 2 * width, 2),
            block(2 * width, 2 * width, 1),
            block(2 * width, 3 * width, 2),
            block(3 * width, 3 * width, 1),
        )
        features = 128
        self.project = nn.Sequential(nn.Conv2d(3 * width, 32, 1), nn.SiLU(), nn.Flatten(), nn.Linear(32 * 64, features))
        self.subject = nn.Sequential(
            nn.SiLU(), nn.Linear(features, features), nn.SiLU(), nn.Linear(features, len(world.subjects))
        )
        self.clip = nn.Sequential(nn.SiLU(), nn.Linear(features, features), nn.SiLU())
        self.style = nn.Linear(features, len(world.styles))
        self.background = nn.Linear(features, len(world.backgrounds))
        self.motion = nn.Sequential(
            nn.SiLU(), nn.Linear(NUM_FRAMES * 32, features), nn.SiLU(), nn.Linear(features, len(world.motions))
        )
        self.to_motion = nn.Linear(features, 32)

    def forward(self, clips_BFCHW: Tensor) -> dict[str, Tensor]:
        """Logits of each attribute; of the motion only where all frames are given."""
        count, num_frames = clips_BFCHW.shape[:2]
        frames = self.project(self.frames(clips_BFCHW.flatten(0, 1))).unflatten(0, (count, num_frames)).float()
        clip = self.clip(frames.mean(1))
        logits = {"subjects_by_frame": self.subject(frames), "style": self.style(clip), "background": self.background(clip)}
        if num_frames == NUM_FRAMES:
            logits["motion"] = self.motion(self.to_motion(frames).flatten(1))
        return logits

    @torch.no_grad()
    def judge(self, clips_BFCHW: Tensor, *, batch_size: int = 64) -> Detection:
        """Judge clips (n, 9, 3, h, w) in [-1, 1], on the detector's own device; the detection lies on the CPU."""
        device = self.style.weight.device
        parts = [self(part.to(device).float()) for part in clips_BFCHW.split(batch_size)]
        logits = {name: torch.cat([part[name] for part in parts]).cpu() for name in parts[0]}
        by_frame = logits["subjects_by_frame"]
        return Detection(
            subjects=by_frame.mean(1).sigmoid(),
            subjects_by_frame=by_frame.sigmoid(),
            style=logits["style"].softmax(1),
            motion=logits["motion"].softmax(1),
            background=logits["background"].softmax(1),
            names=self.world.subjects,
        )


def detector_path(world: World) -> Path:
    """Where the package ships a world's detector, in half precision."""
    return _WEIGHTS / ("detector.safetensors" if world == WORLD_32 else f"detector-{world.size}.safetensors")


def load_detector(path: Path) -> MiniatureDetector:
    """Load detector weights (any float dtype) for judging in fp32; their number of subjects says of which world."""
    weights = {name: value.float() for name, value in load_file(str(path)).items()}
    detector = MiniatureDetector(world_of(len(weights["subject.3.bias"])))
    detector.load_state_dict(weights)
    return detector.eval().requires_grad_(False)


def subject_targets(labels: Tensor, num_subjects: int = len(WORLD_32.subjects)) -> Tensor:
    """Labels (n, 5) -> which subjects are there, (n, subjects) of 0 and 1; unknown glyphs count as none."""
    targets = torch.zeros(len(labels), num_subjects, device=labels.device)
    for column in (FIRST, SECOND):
        known = (labels[:, column] >= 0) & (labels[:, column] < num_subjects)
        targets[known, labels[known, column]] = 1
    return targets


def augment(clips: Tensor, generator: torch.Generator, *, strength: float = 1.0) -> Tensor:
    """Blur, noise, contrast and brightness at random strengths, so that soft generated clips are judged too.

    `strength` 0 leaves the clips as they are. The generator and the clips share a device.
    """
    count, device = len(clips), clips.device
    reach = clips.shape[-1] // 32

    def uniform(low: float, high: float) -> Tensor:
        return torch.rand(count, 1, 1, 1, 1, generator=generator, device=device) * (high - low) + low

    blurred = clips.flatten(0, 1)
    for _ in range(int(torch.randint(1, 3, (1,), generator=generator, device=device))):
        blurred = F.avg_pool2d(F.pad(blurred, (reach,) * 4, mode="replicate"), 2 * reach + 1, 1)
    weight = strength * uniform(-0.6, 1.0).clamp(min=0)
    clips = clips * (1 - weight) + blurred.view_as(clips) * weight
    noise = torch.randn(clips.shape, generator=generator, device=device) * strength * uniform(-0.05, 0.16).clamp(min=0)
    contrast, brightness = 1 + strength * uniform(-0.1, 0.1), strength * uniform(-0.06, 0.06)
    return (clips * contrast + brightness + noise).clamp(-1, 1)


def ruin(clips: Tensor, generator: torch.Generator) -> Tensor:
    """Clips in which no subject can be recognised: blurred to blobs, shuffled in blocks, or noise."""
    device, side = clips.device, clips.shape[-1] // 4
    kinds = torch.randint(0, 3, (len(clips),), generator=generator, device=device)
    small = F.interpolate(clips.flatten(0, 1), size=4, mode="area")
    blobs = F.interpolate(small, size=clips.shape[-1], mode="bilinear").view_as(clips)
    blocks = clips.unflatten(4, (4, side)).unflatten(3, (4, side)).permute(0, 1, 2, 3, 5, 4, 6).flatten(3, 4)
    shuffled = blocks[:, :, :, torch.randperm(16, generator=generator, device=device)].unflatten(3, (4, 4))
    shuffled = shuffled.permute(0, 1, 2, 3, 5, 4, 6).flatten(5, 6).flatten(3, 4)
    noise = (blobs + 0.8 * torch.randn(clips.shape, generator=generator, device=device)).clamp(-1, 1)
    pick = kinds[:, None, None, None, None]
    return torch.where(pick == 0, blobs, torch.where(pick == 1, shuffled, noise))
