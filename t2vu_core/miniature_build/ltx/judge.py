"""A quick look at a trained `miniature-ltx`: what the detector sees in its clips, and a sheet of them."""

from __future__ import annotations

import logging
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from diffusers import LTXPipeline
from PIL import Image
from torch import Tensor

from t2vu_core.miniature.captions import BACKGROUND_WORDS, CLASS_WORDS, EMPTY_WORDS, REGISTERS, SOMETHING, caption
from t2vu_core.miniature.detector import THRESHOLD, MiniatureDetector
from t2vu_core.miniature.world import sample_labels
from t2vu_core.miniature.worlds import (
    BACKGROUND,
    FIRST,
    MOTION,
    NOBODY,
    NUM_FRAMES,
    SECOND,
    STYLE,
    STYLES_HIDING_BACKGROUND,
    WORLD_64,
)
from t2vu_core.miniature_build.ltx.architecture import FPS

log = logging.getLogger(__name__)

BATCH = 128


@torch.no_grad()
def sample(pipeline: LTXPipeline, prompts: Sequence[str], *, guidance_scale: float, steps: int, seed: int = 1) -> Tensor:
    """Clips (n, t, 3, h, w) in [-1, 1] on the CPU, by the stock pipeline."""
    pipeline.set_progress_bar_config(disable=True)
    generator = torch.Generator(pipeline.device).manual_seed(seed)
    parts = []
    for at in range(0, len(prompts), BATCH):
        clips = pipeline(
            list(prompts[at : at + BATCH]),
            height=WORLD_64.size,
            width=WORLD_64.size,
            num_frames=NUM_FRAMES,
            frame_rate=FPS,
            num_inference_steps=steps,
            guidance_scale=guidance_scale,
            generator=generator,
            output_type="pt",
        ).frames
        parts.append(clips.float().cpu() * 2 - 1)
    return torch.cat(parts)


def judge(
    pipeline: LTXPipeline, detector: MiniatureDetector, *, guidance_scale: float, steps: int, count: int, seed: int = 99
) -> dict[str, float]:
    """Shares of clips in which the detector finds what the prompt says, `count` clips a kind of prompt."""
    generator, rng = torch.Generator().manual_seed(seed), random.Random(seed)
    rows = sample_labels(count, generator, two_subjects=0.0, empty=0.0, world=WORLD_64)
    pairs = sample_labels(count, generator, two_subjects=1.0, empty=0.0, world=WORLD_64)

    def clips_of(prompts: Sequence[str]) -> Any:
        return detector.judge(sample(pipeline, prompts, guidance_scale=guidance_scale, steps=steps, seed=seed))

    def say(labels: Tensor) -> list[str]:
        return [caption(row, rng, register=rng.choice(REGISTERS), split="seen", world=WORLD_64) for row in labels.tolist()]

    named = clips_of(say(rows))
    there = named.subjects > THRESHOLD
    coloured = ~torch.isin(rows[:, STYLE], torch.tensor([WORLD_64.styles.index(name) for name in STYLES_HIDING_BACKGROUND]))
    scores = {
        "subject": there[torch.arange(count), rows[:, FIRST]].float(),
        "only the subject": (there.sum(1) == 1).float(),
        "style": (named.style.argmax(1) == rows[:, STYLE]).float(),
        "motion": (named.motion.argmax(1) == rows[:, MOTION]).float(),
        "background": (named.background.argmax(1) == rows[:, BACKGROUND])[coloured].float(),
    }
    both = clips_of(say(pairs)).subjects > THRESHOLD
    scores["pairs"] = both[torch.arange(count)[:, None], pairs[:, [FIRST, SECOND]]].all(1).float()
    alone = clips_of([caption(row, rng, drop=1.0, world=WORLD_64) for row in rows.tolist()]).subjects > THRESHOLD
    scores["name alone"] = alone[torch.arange(count), rows[:, FIRST]].float()
    anything = clips_of([SOMETHING.usual] * count).subjects > THRESHOLD
    scores["something"] = anything.any(1).float()
    nothing = clips_of([f"{EMPTY_WORDS.usual} {place}" for place in _places(count)]).subjects <= THRESHOLD
    scores["empty"] = nothing.all(1).float()
    for kind, names in WORLD_64.classes.items():
        members = [WORLD_64.subjects.index(name) for name in names]
        found = clips_of([CLASS_WORDS[kind].usual] * max(8, count // 4)).subjects > THRESHOLD
        scores[f"class {kind}"] = found[:, members].any(1).float()
    return {name: round(values.mean().item(), 3) for name, values in scores.items()}


def _places(count: int) -> list[str]:
    words = [words.usual for words in BACKGROUND_WORDS.values()]
    return [f"with {words[at % len(words)]}" if at % 2 else "" for at in range(count)]


def draw_sheet(pipeline: LTXPipeline, path: Path, *, guidance_scale: float, steps: int) -> None:
    """Middle frames of clips: names, the same without guidance, styles, vague and empty prompts, two subjects; one clip."""
    subjects = ("ghost", "robot", "cat", "panda", "car", "rocket", "pizza", "unicorn", "kite", "clown")
    names = [
        caption([WORLD_64.subjects.index(name), NOBODY, 0, 0, 0], random.Random(0), drop=1.0, world=WORLD_64)
        for name in subjects
    ]
    styles = ("", "in noir style", "in sepia style", "in pencil sketch style", "in pop art style")
    vague = ["something"] * 4 + ["an animal", "a vehicle", "a person", "some food", "a monster", "a toy"]
    empty = ["an empty scene"] * 3 + ["an empty scene under a starry night"] * 2
    rows = [
        (names, guidance_scale),
        (names, 1.0),
        ([f"{name} moving left on a green meadow {styles[at % 5]}" for at, name in enumerate(names)], guidance_scale),
        (vague, guidance_scale),
        (empty + ["a cat and a robot"] * 3 + ["a ghost and a pizza"] * 2, guidance_scale),
    ]
    lines = []
    for prompts, guidance in rows:
        clips = sample(pipeline, prompts, guidance_scale=guidance, steps=steps)
        lines.append(torch.cat(list(clips[:, NUM_FRAMES // 2]), -1))
    strip = sample(pipeline, ["a cat moving right under a starry night"], guidance_scale=guidance_scale, steps=steps)[0]
    lines.append(torch.nn.functional.pad(torch.cat(list(strip), -1), (0, WORLD_64.size), value=-1.0))
    picture = ((torch.cat(lines, -2).clamp(-1, 1) + 1) * 127.5).round().byte().permute(1, 2, 0)
    Image.fromarray(picture.numpy()).resize((2 * picture.shape[1], 2 * picture.shape[0]), Image.Resampling.NEAREST).save(path)
