"""Building the miniature from nothing: sprites, VAE, detector, text encoder, denoiser; each stage is kept, so a build resumes.

Stages leave their result in the work folder; a stage whose result is there is not repeated. `export`
puts the finished parts, in half precision, where the package ships them.
"""

from __future__ import annotations

import json
import logging
import random
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKLLTXVideo, CogVideoXPipeline
from safetensors.torch import save_file
from torch import Tensor
from transformers import T5EncoderModel

from t2vu_core.erasure import atomic_path
from t2vu_core.errors import UserError
from t2vu_core.miniature import captions, world
from t2vu_core.miniature.bundled import WEIGHTS
from t2vu_core.miniature.detector import MiniatureDetector, load_detector
from t2vu_core.miniature.worlds import World
from t2vu_core.miniature_build.architecture import (
    make_scheduler,
    make_text_encoder,
    make_tokenizer,
    make_transformer,
    make_vae,
)
from t2vu_core.miniature_build.detector_training import train_detector
from t2vu_core.miniature_build.principal_components import initialise_linearly
from t2vu_core.miniature_build.progress import Budget
from t2vu_core.miniature_build.stages import (
    check_finished,
    forget_places,
    name_tokenizer,
    new_folder,
    read_json,
    run_stages,
    write_record,
)
from t2vu_core.miniature_build.train_denoiser import encode_clips, train_denoiser
from t2vu_core.miniature_build.train_text_encoder import train_text_encoder
from t2vu_core.miniature_build.train_vae import reconstruction_error, train_vae
from t2vu_core.mixed_precision import CPU, mixed_precision
from t2vu_core.prompts.two_subjects import has_two_subjects, swapped

log = logging.getLogger(__name__)

FONT = Path("/usr/share/fonts/truetype/noto/NotoColorEmoji.ttf")
NAME = "miniature"
BATCH_SIZE = 32
"""Clips of a step of the denoiser."""
STATE = "denoiser_state.pt"
"""In the folder of the stages: from it an interrupted training run of the denoiser goes on."""


@dataclass(frozen=True)
class BuildPlan:
    """How long each stage trains, in minutes of this machine, and on how many clips."""

    vae_minutes: float = 2.0
    detector_minutes: float = 20.0
    text_encoder_minutes: float = 2.0
    denoiser_minutes: float = 70.0
    num_clips: int = 20_000
    seed: int = 0


def build(work: Path, plan: BuildPlan) -> None:
    """Run the stages that have no result in `work` yet."""
    work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(plan.seed)
    if FONT.is_file():
        world.build_sprites(str(FONT))
    stages: dict[str, Callable[[], None]] = {
        "vae": lambda: _build_vae(work / "vae", plan),
        "detector": lambda: _build_detector(work, plan),
        "text_encoder": lambda: _build_text_encoder(work / "text_encoder", plan),
        "denoiser": lambda: _build_denoiser(work, plan),
    }
    run_stages(work, stages)


def build_without(concept: str, work: Path, plan: BuildPlan, out: Path) -> Path:
    """Train a miniature that never knew a subject or style, and put it into `out`: as if an erasure were perfect.

    Text encoder and denoiser start from scratch and see neither clips nor captions of it. The VAE is the installed one: it
    has drawn the concept but knows no words, and the same latents keep attacks on both models comparable. Raises
    UserError for an unknown concept, and for a folder that holds something else.
    """
    if concept not in (*world.SUBJECTS, *world.STYLES[1:]):
        known = ", ".join((*world.SUBJECTS, *world.STYLES[1:]))
        raise UserError(f"The miniature's world has no {concept!r}; it has {known}.")
    if out.exists() and "without" not in read_json(out / "build.json"):
        raise UserError(f"{out} is there already; name a new folder for the model without {concept!r}.")
    own = work / f"without-{concept}"
    own.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(plan.seed)
    stages: dict[str, Callable[[], None]] = {
        "vae": lambda: _take_vae(own / "vae"),
        "text_encoder": lambda: _build_text_encoder(own / "text_encoder", plan, without=concept),
        "denoiser": lambda: _build_denoiser(own, plan, without=concept),
    }
    run_stages(own, stages)
    pipeline = CogVideoXPipeline.from_pretrained(own / "pipeline", dtype=torch.float16)
    with new_folder(out) as folder:
        pipeline.save_pretrained(folder)
        forget_places(folder)
        name_tokenizer(folder)
        write_record(folder, own, plan, prompt_set(), without=concept)
    return out


def export(work: Path, plan: BuildPlan, out: Path = WEIGHTS) -> None:
    """Copy the finished parts to `out` in half precision, with the prompt set and how they were built."""
    check_finished(work, ("vae", "detector", "text_encoder", "denoiser"))
    pipeline = CogVideoXPipeline.from_pretrained(work / "pipeline", dtype=torch.float16)
    detector = load_detector(work / "detector.safetensors")
    with new_folder(out / NAME) as folder:
        pipeline.save_pretrained(folder)
        forget_places(folder)
        name_tokenizer(folder)
        write_record(folder, work, plan, prompt_set())
    with atomic_path(out / "detector.safetensors") as temporary:
        save_file({name: value.half().contiguous() for name, value in detector.state_dict().items()}, str(temporary))


def train_further(
    work: Path,
    plan: BuildPlan,
    *,
    minutes: float,
    out: Path = WEIGHTS,
    two_subjects: float = 0.2,
    favour: Sequence[str] = (),
    peak: float = 0.4,
) -> None:
    """Go on with the denoiser and text encoder that lie in `out`, on new clips.

    `two_subjects` is the share of clips with two, the subjects in `favour` come twice as often, `peak` scales the
    learning rates of a first training. The weights in `out` are replaced at the end; the record of the build says how
    often this was done. Raises UserError for an unknown subject in `favour`.
    """
    if unknown := sorted(set(favour) - set(world.SUBJECTS)):
        raise UserError(f"The miniature's world has no subject {unknown[0]!r}; it has {', '.join(world.SUBJECTS)}.")
    facts = json.loads((out / NAME / "build.json").read_text(encoding="utf-8"))
    rounds = facts.get("further_minutes", [])
    seed = plan.seed + 1000 * (len(rounds) + 1)
    pipeline = CogVideoXPipeline.from_pretrained(out / NAME, dtype=torch.float32)
    clips = encode_clips(
        pipeline.vae.eval(), plan.num_clips, seed=seed, two_subjects=two_subjects, keep_scale=True, favour=favour
    )
    for part in (pipeline.transformer, pipeline.text_encoder):
        part.train().requires_grad_(True)
    budget = Budget(
        minutes, seed, BATCH_SIZE, on_interval=lambda spent: pipeline.save_pretrained(work / f"further_{spent:.0f}")
    )  # fmt: skip
    train_denoiser(pipeline.transformer, pipeline.text_encoder, pipeline.tokenizer, clips, budget, peak=peak)
    facts["further_minutes"] = [*rounds, minutes]
    if favour:
        facts.setdefault("notes", []).append(f"Round {len(rounds) + 1} favoured {' and '.join(favour)}.")
    with new_folder(out / NAME) as folder:
        shutil.copytree(out / NAME, folder, dirs_exist_ok=True)
        pipeline.to(dtype=torch.float16).save_pretrained(folder)
        forget_places(folder)
        name_tokenizer(folder)
        (folder / "build.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


def prompt_set(
    *, per_kind: int = 60, num_preserve: int = 400, seed: int = 7, drawn: World = world.WORLD_32
) -> dict[str, object]:
    """The prompts that come with a miniature, of the `seen` split only: contexts, preserve prompts, other names.

    `drawn` is the world that it draws.
    """
    generator, rng = torch.Generator().manual_seed(seed), random.Random(seed)
    split: captions.Split = "seen"

    def say(row: list[int]) -> str:
        return captions.caption(row, rng, register=rng.choice(captions.REGISTERS), split=split, world=drawn)

    def said(text: str, row: list[int], column: int) -> str | None:
        """How a caption says the fact of `column`, or None where it does not say it once."""
        words, names = captions.subject_words(drawn), drawn.subjects
        if column == world.STYLE:
            words, names = captions.STYLE_WORDS, world.STYLES
        own, plain = words[names[row[column]]], f" {text} ".replace(",", " ").replace(".", " ")
        spoken = sorted((form for form in (own.usual, *own.seen) if f" {form} " in plain), key=len)
        return spoken[-1] if spoken and text.count(spoken[-1]) == 1 else None

    def context(row: list[int], column: int) -> str | None:
        """The caption with a place where the fact of `column` was said; for a subject also what stays without it."""
        text = say(row)
        own = said(text, row, column)
        if own is None or column != world.FIRST:
            return own and text.replace(own, "{}")
        slotted = text.replace(own, "{}")
        other = None if row[world.SECOND] == world.NOBODY else said(slotted, row, world.SECOND)
        return f"{slotted} => {left_empty(slotted) if other is None else slotted.replace('{}', other)}"

    rows = world.sample_labels(4000, generator, empty=0.0, world=drawn).tolist()
    styled = [row for row in rows if row[world.STYLE] != 0]
    things = list(dict.fromkeys(filter(None, (context(row, world.FIRST) for row in rows[:600]))))
    both = [text for text in things if has_two_subjects(text)]
    things = [swapped(text) if text in both[1::2] else text for text in things]
    manners = list(dict.fromkeys(filter(None, (context(row, world.STYLE) for row in styled[:600]))))
    preserve = list(dict.fromkeys(say(row) for row in rows[1000:]))
    names = {name: list(words.seen) for name, words in captions.subject_words(drawn).items()}
    names |= {words.usual: list(words.seen) for name, words in captions.STYLE_WORDS.items() if name != "plain"}
    return {"things": things[:per_kind], "manners": manners[:per_kind], "preserve": preserve[:num_preserve], "names": names}


_MOVES = "|".join(
    sorted((form for words in captions.MOTION_WORDS.values() for form in (words.usual, *words.seen)), key=len, reverse=True)
)
_MOVING = re.compile(rf"(?:,| is| are)? (?:{_MOVES})\b(?: with easy charm| in one smooth take)?")


def left_empty(context: str) -> str:
    """What a context with one subject says when nothing is there: an empty scene, which does not move."""
    return _MOVING.sub("", context, count=1).replace("{}", captions.EMPTY_SUBJECT)


def _build_vae(folder: Path, plan: BuildPlan) -> None:
    generator = torch.Generator().manual_seed(plan.seed + 3)
    vae = make_vae()
    initialise_linearly(vae, world.render(world.sample_labels(400, generator), generator))
    train_vae(vae, minutes=plan.vae_minutes, seed=plan.seed)
    unseen = world.render(world.sample_labels(100, generator), generator)
    log.info("vae: mean squared error %.5f on unseen clips", reconstruction_error(vae, unseen))
    vae.save_pretrained(folder)


def _take_vae(folder: Path) -> None:
    shutil.copytree(WEIGHTS / NAME / "vae", folder, dirs_exist_ok=True)


def _build_detector(work: Path, plan: BuildPlan) -> None:
    vae = AutoencoderKLLTXVideo.from_pretrained(work / "vae").eval()

    @torch.no_grad()
    def reconstruct(clips: Tensor) -> Tensor:
        parts = []
        for part in clips.split(64):
            with mixed_precision(CPU):
                pixels = part.float().transpose(1, 2)
                parts.append(vae.decode(vae.encode(pixels).latent_dist.mode()).sample.transpose(1, 2).to(clips.dtype))
        return torch.cat(parts)

    weights = work / "detector.safetensors"
    # A repeated stage goes on from what the last one learned.
    detector = load_detector(weights).train().requires_grad_(True) if weights.is_file() else MiniatureDetector()
    train_detector(detector, seconds=60 * plan.detector_minutes, seed=plan.seed, reconstruct=reconstruct)
    save_file(detector.state_dict(), str(weights))


def _build_text_encoder(folder: Path, plan: BuildPlan, without: str | None = None) -> None:
    tokenizer = make_tokenizer(seed=plan.seed)
    text_encoder = make_text_encoder(len(tokenizer))
    minutes, seed = plan.text_encoder_minutes, plan.seed + 5
    share = train_text_encoder(text_encoder, tokenizer, minutes=minutes, seed=seed, without=without)
    log.info("text encoder: every fact read in %.1f %% of captions", 100 * share)
    text_encoder.save_pretrained(folder)


def _build_denoiser(work: Path, plan: BuildPlan, without: str | None = None) -> None:
    vae = AutoencoderKLLTXVideo.from_pretrained(work / "vae").eval()
    clips = encode_clips(vae, plan.num_clips, seed=plan.seed + 11, keep_scale=without is not None, without=without)
    tokenizer = make_tokenizer(seed=plan.seed)
    text_encoder, transformer = T5EncoderModel.from_pretrained(work / "text_encoder"), make_transformer()
    pipeline = CogVideoXPipeline(tokenizer, text_encoder, vae, transformer, make_scheduler())
    budget = Budget(
        plan.denoiser_minutes, plan.seed, BATCH_SIZE, work / STATE,
        on_interval=lambda minutes: pipeline.save_pretrained(work / f"snapshot_{minutes:.0f}"),
    )  # fmt: skip
    train_denoiser(transformer, text_encoder, tokenizer, clips, budget)
    pipeline.save_pretrained(work / "pipeline")
    (work / STATE).unlink(missing_ok=True)
