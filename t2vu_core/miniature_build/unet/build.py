"""Building the second miniature: VAE, text encoder, frames, image model, motion adapter; a build resumes where it stopped.

The detector is the first miniature's, of the same world. One diffusers folder results that stock
`AnimateDiffPipeline` and stock `StableDiffusionPipeline` both load: it holds the image UNet and the motion
adapter apart.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKL, MotionAdapter, UNet2DConditionModel
from diffusers import __version__ as diffusers_version
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import CLIPTextModel, CLIPTokenizer

from t2vu_core.miniature.bundled import UNET_NAME, WEIGHTS
from t2vu_core.miniature_build.build import prompt_set
from t2vu_core.miniature_build.progress import Budget
from t2vu_core.miniature_build.stages import check_finished, forget_places, new_folder, read_json, run_stages, write_record
from t2vu_core.miniature_build.train_text_encoder import train_text_encoder
from t2vu_core.miniature_build.unet.architecture import (
    make_motion_adapter,
    make_scheduler,
    make_text_encoder,
    make_tokenizer,
    make_unet,
    make_vae,
)
from t2vu_core.miniature_build.unet.train_image import EncodedFrames, encode_frames, train_image
from t2vu_core.miniature_build.unet.train_motion import train_motion
from t2vu_core.miniature_build.unet.train_vae import initialise_encoder, reconstruction_error, sample_frames, train_vae

log = logging.getLogger(__name__)

COMPONENTS = {
    "vae": ("diffusers", "AutoencoderKL"),
    "text_encoder": ("transformers", "CLIPTextModel"),
    "tokenizer": ("transformers", "CLIPTokenizer"),
    "unet": ("diffusers", "UNet2DConditionModel"),
    "motion_adapter": ("diffusers", "MotionAdapter"),
    "scheduler": ("diffusers", "DDIMScheduler"),
}


@dataclass(frozen=True)
class UNetBuildPlan:
    """How long each stage trains, in minutes of this machine, and on how many clips."""

    vae_minutes: float = 4.0
    text_encoder_minutes: float = 2.0
    image_minutes: float = 26.0
    motion_minutes: float = 14.0
    num_clips: int = 12_000
    num_captions: int = 20_000
    batch_size: int = 64
    clips_per_batch: int = 8
    seed: int = 0


def build_unet(work: Path, plan: UNetBuildPlan) -> None:
    """Run the stages that have no result in `work` yet."""
    work.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(plan.seed)
    run_stages(work, {name: partial(stage, work, plan) for name, stage in _STAGES.items()})


def export_unet(work: Path, plan: UNetBuildPlan, out: Path = WEIGHTS) -> Path:
    """Put the finished parts into one folder under `out`, in half precision, with prompts and how they were built."""
    check_finished(work, tuple(_STAGES))
    target = out / UNET_NAME
    parts: dict[str, nn.Module] = {
        "vae": AutoencoderKL.from_pretrained(work / "image" / "vae").half(),
        "text_encoder": CLIPTextModel.from_pretrained(work / "image" / "text_encoder").half(),
        "unet": UNet2DConditionModel.from_pretrained(work / "image" / "unet").half(),
        "motion_adapter": MotionAdapter.from_pretrained(work / "motion").half(),
    }
    tokenizer = CLIPTokenizer.from_pretrained(work / "text_encoder")
    with new_folder(target) as folder:
        save_models(folder, tokenizer=tokenizer, **parts)
        write_record(folder, work, plan, prompt_set())
    return target


def save_models(folder: Path, *, tokenizer: CLIPTokenizer, **parts: nn.Module) -> None:
    """One folder that both stock pipelines load; AnimateDiff's own would merge the image UNet with the adapter."""
    components = {"tokenizer": tokenizer, "scheduler": make_scheduler(), **parts}
    for name, component in components.items():
        component.save_pretrained(folder / name)
    _for_transformers_4(folder, tokenizer)
    forget_places(folder)
    # transformers would load half precision as it is, diffusers in fp32: their parts would not fit together.
    config = folder / "text_encoder" / "config.json"
    config.write_text(json.dumps({**read_json(config), "dtype": "float32"}, indent=2) + "\n", encoding="utf-8")
    index = {
        "_class_name": "AnimateDiffPipeline",
        "_diffusers_version": diffusers_version,
        "feature_extractor": [None, None],
        "image_encoder": [None, None],
        **{name: list(COMPONENTS[name]) for name in sorted(COMPONENTS)},
    }
    (folder / "model_index.json").write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")


def _for_transformers_4(folder: Path, tokenizer: CLIPTokenizer) -> None:
    """Its tokenizer reads vocab.json and merges.txt, its encoder only weights that are called as in released models."""
    tokenizer.backend_tokenizer.model.save(str(folder / "tokenizer"))
    weights = folder / "text_encoder" / "model.safetensors"
    tensors = {f"text_model.{name.removeprefix('text_model.')}": tensor for name, tensor in load_file(weights).items()}
    save_file(tensors, str(weights), {"format": "pt"})


def _build_vae(work: Path, plan: UNetBuildPlan) -> None:
    generator = torch.Generator().manual_seed(plan.seed + 3)
    vae = make_vae()
    initialise_encoder(vae, sample_frames(1000, generator))
    train_vae(vae, minutes=plan.vae_minutes, seed=plan.seed, num_frames=plan.num_clips // 2)
    log.info("vae: mean squared error %.5f on unseen frames", reconstruction_error(vae, sample_frames(300, generator)))
    vae.save_pretrained(work / "vae")


def _build_text_encoder(work: Path, plan: UNetBuildPlan) -> None:
    tokenizer = make_tokenizer(num_captions=plan.num_captions, seed=plan.seed)
    text_encoder = make_text_encoder(tokenizer)
    share = train_text_encoder(text_encoder, tokenizer, minutes=plan.text_encoder_minutes, seed=plan.seed + 5)
    log.info("text encoder: every fact read in %.1f %% of captions", 100 * share)
    text_encoder.save_pretrained(work / "text_encoder")
    tokenizer.save_pretrained(work / "text_encoder")


def _build_frames(work: Path, plan: UNetBuildPlan) -> None:
    vae = AutoencoderKL.from_pretrained(work / "vae").eval()
    encode_frames(vae, plan.num_clips, seed=plan.seed + 11).save(work / "frames.safetensors")
    vae.save_config(work / "vae")  # with the scale that encoding found


def _build_image(work: Path, plan: UNetBuildPlan) -> float:
    vae, frames = AutoencoderKL.from_pretrained(work / "vae"), EncodedFrames.load(work / "frames.safetensors")
    tokenizer, unet = CLIPTokenizer.from_pretrained(work / "text_encoder"), make_unet()
    text_encoder = CLIPTextModel.from_pretrained(work / "text_encoder")

    def keep(folder: Path) -> None:
        for name, part in (("vae", vae), ("text_encoder", text_encoder), ("unet", unet)):
            part.save_pretrained(folder / name)

    budget = Budget(
        plan.image_minutes, plan.seed, plan.batch_size, work / "image.pt", lambda minutes: keep(work / f"image_{minutes:.0f}")
    )
    seconds = train_image(unet, text_encoder, tokenizer, frames, budget)
    keep(work / "image")
    (work / "image.pt").unlink(missing_ok=True)
    return seconds


def _build_motion(work: Path, plan: UNetBuildPlan) -> float:
    text_encoder = _frozen(work / "image" / "text_encoder", CLIPTextModel)
    unet = _frozen(work / "image" / "unet", UNet2DConditionModel)
    clips = EncodedFrames.load(work / "frames.safetensors")
    adapter, tokenizer = make_motion_adapter(), CLIPTokenizer.from_pretrained(work / "text_encoder")
    budget = Budget(
        plan.motion_minutes, plan.seed + 1, plan.clips_per_batch, work / "motion.pt",
        lambda minutes: adapter.save_pretrained(work / f"motion_{minutes:.0f}"),
    )  # fmt: skip
    seconds = train_motion(adapter, unet, text_encoder, tokenizer, clips, budget)
    adapter.save_pretrained(work / "motion")
    (work / "motion.pt").unlink(missing_ok=True)
    return seconds


def _frozen(folder: Path, kind: Any) -> Any:
    return kind.from_pretrained(folder).eval().requires_grad_(False)


_STAGES: dict[str, Callable[[Path, UNetBuildPlan], float | None]] = {
    "vae": _build_vae,
    "text_encoder": _build_text_encoder,
    "frames": _build_frames,
    "image": _build_image,
    "motion": _build_motion,
}
