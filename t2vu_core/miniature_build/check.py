"""What the miniature and its detector are worth, measured on renders and clips that nothing was trained on."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from t2vu_core.image_model import ImageModel, load_image_model
from t2vu_core.miniature.bundled import WEIGHTS, image_model_of
from t2vu_core.miniature.captions import REGISTERS, Register, caption
from t2vu_core.miniature.detector import (
    THRESHOLD,
    Detection,
    MiniatureDetector,
    detector_path,
    load_detector,
    ruin,
    subject_targets,
)
from t2vu_core.miniature.world import (
    BACKGROUND,
    FIRST,
    MOTION,
    NUM_FRAMES,
    STYLE,
    STYLES,
    STYLES_HIDING_BACKGROUND,
    render,
    sample_labels,
)
from t2vu_core.miniature.worlds import world_drawn_at
from t2vu_core.miniature_build.check_short import measure_short_prompts, share, short_clips
from t2vu_core.model import T2VModel, load_model

CHECK_SEED = 424_242
"""Labels, renders and noise of a check; no training uses seeds near it."""
SAMPLING_BATCH = 8


def check(
    name: str = "miniature",
    *,
    clips_per_register: int = 150,
    renders: int = 2000,
    model: T2VModel | None = None,
    on_clip: Callable[[int, int], None] | None = None,
) -> dict[str, Any]:
    """Measure everything the model card says. `on_clip(done, total)` follows the generation of clips."""
    model = model or load_model(name)
    size = model.clip_size().height
    detector = load_detector(detector_path(world_drawn_at(size)))
    fidelity, seconds = measure_fidelity(model, detector, clips_per_register, on_clip)
    image_name = image_model_of(name)
    images = measure_images(load_image_model(image_name), detector, clips_per_register) if image_name else None
    return {
        "size": size,
        "renders": renders,
        "detector": measure_detector(detector, num_clips=renders),
        "fidelity": fidelity,
        **measure_short_prompts(model, detector, short_clips(clips_per_register)),
        "clips": clips_per_register * (len(REGISTERS) + 1),
        "num_inference_steps": model.family.defaults.num_inference_steps,
        "guidance_scale": model.family.defaults.guidance_scale,
        "seconds_per_clip": round(seconds, 2),
        "megabytes": megabytes(WEIGHTS / name, detector_path(detector.world), detector.world.sprites_file),
        **({} if images is None else {"image_model": image_name, "images": images}),
    }


def measure_detector(detector: MiniatureDetector, *, num_clips: int = 2000) -> dict[str, float]:
    """Shares of correct answers on unseen renders, per attribute, and how it behaves on clips without a subject."""
    generator, few = torch.Generator().manual_seed(CHECK_SEED), min(300, num_clips)
    world, device = detector.world, detector.style.weight.device

    def draw(labels: Tensor) -> Tensor:
        return render(labels, generator, world=world, device=device)

    labels = sample_labels(num_clips, generator, distractors=0.1, world=world)
    verdict = detector.judge(draw(labels))
    scores = attribute_scores(verdict, labels)
    present = subject_targets(labels, len(world.subjects)).bool()
    answers = verdict.subjects > THRESHOLD
    nobody = draw(sample_labels(few, generator, empty=1.0, world=world))
    ruined = ruin(draw(sample_labels(few, generator, world=world)).cpu(), generator)
    return {
        **scores,
        "misses": share(~answers[present]),
        "false_alarms": share(answers[~present]),
        "false_alarms_empty": share((detector.judge(nobody).subjects > THRESHOLD).any(1)),
        "false_alarms_unrecognisable": share((detector.judge(ruined).subjects > THRESHOLD).any(1)),
    }


def measure_fidelity(
    model: T2VModel,
    detector: MiniatureDetector,
    clips_per_register: int,
    on_clip: Callable[[int, int], None] | None = None,
) -> tuple[dict[str, dict[str, float]], float]:
    """Per register, the share of clips that show what was asked; and the seconds that a single clip takes."""
    registers, world = [*REGISTERS, "two_subject"], detector.world
    total, done, fidelity = clips_per_register * len(registers), 0, {}
    for index, register in enumerate(registers):
        generator, rng = torch.Generator().manual_seed(CHECK_SEED + index), random.Random(CHECK_SEED + index)
        pairs = 1.0 if register == "two_subject" else 0.0
        labels = sample_labels(clips_per_register, generator, two_subjects=pairs, empty=0.0, world=world)
        spoken: Register = "terse" if register == "two_subject" else cast(Register, register)
        prompts = [caption(row, rng, register=spoken, world=world) for row in labels.tolist()]
        parts = []
        for start in range(0, clips_per_register, SAMPLING_BATCH):
            batch = prompts[start : start + SAMPLING_BATCH]
            first_seed = CHECK_SEED + 10_000 * index + start
            parts.append(model.sample(batch, seeds=first_seed))
            done += len(batch)
            if on_clip is not None:
                on_clip(done, total)
        verdict = detector.judge(torch.cat(parts) * 2 - 1)
        fidelity[register] = attribute_scores(verdict, labels)
    began = time.monotonic()
    model.sample("a ghost moving left under a starry night", seeds=0)
    return fidelity, time.monotonic() - began


def measure_images(model: ImageModel, detector: MiniatureDetector, images_per_register: int) -> dict[str, dict[str, float]]:
    """Per register, the share of single images that show what was asked; a still says nothing of motion."""
    scores: dict[str, dict[str, float]] = {}
    for index, register in enumerate(REGISTERS):
        generator, rng = torch.Generator().manual_seed(CHECK_SEED + index), random.Random(CHECK_SEED + index)
        labels = sample_labels(images_per_register, generator, two_subjects=0.0, empty=0.0)
        prompts = [caption(row, rng, register=register) for row in labels.tolist()]
        parts = []
        for start in range(0, images_per_register, SAMPLING_BATCH):
            batch = prompts[start : start + SAMPLING_BATCH]
            parts.append(model.sample(batch, seeds=CHECK_SEED + 10_000 * index + start))
        stills = torch.cat(parts)[:, None].expand(-1, NUM_FRAMES, -1, -1, -1)
        found = attribute_scores(detector.judge(stills * 2 - 1), labels)
        scores[register] = {name: share for name, share in found.items() if name != "motion"}
    return scores


def attribute_scores(verdict: Detection, labels: Tensor) -> dict[str, float]:
    """Shares of clips in which each asked attribute is found; `subject` asks for all of a clip's subjects.

    The background counts where the style leaves it visible; the motion where somebody moves.
    """
    num_subjects = verdict.subjects.shape[1]
    targets = subject_targets(labels, num_subjects).bool()
    answers = verdict.subjects > THRESHOLD
    somebody = labels[:, FIRST] >= 0
    visible = ~torch.isin(labels[:, STYLE], torch.tensor([STYLES.index(name) for name in STYLES_HIDING_BACKGROUND]))
    known = somebody & (labels[:, FIRST] < num_subjects)
    return {
        "subject": share((answers | ~targets).all(1)[known]),
        "style": share(verdict.style.argmax(1) == labels[:, STYLE]),
        "motion": share((verdict.motion.argmax(1) == labels[:, MOTION])[somebody]),
        "background": share((verdict.background.argmax(1) == labels[:, BACKGROUND])[visible]),
    }


def megabytes(*paths: Path) -> float:
    """Size of files, and of everything in folders, MiB."""
    files = [file for path in paths for file in (path, *path.rglob("*")) if file.is_file()]
    return round(sum(file.stat().st_size for file in files) / 2**20, 2)
