"""Training of the motion adapter on clips, the image model frozen (AnimateDiff, arXiv 2307.04725, section 4.2)."""

from __future__ import annotations

import random

import torch
from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
from transformers import CLIPTextModel, CLIPTokenizer

from t2vu_core.miniature_build.averaging import MovingAverage
from t2vu_core.miniature_build.noising import noised, weighted_error
from t2vu_core.miniature_build.optimizers import Optimizers, split, trapezoid
from t2vu_core.miniature_build.progress import Budget, Progress, compile_for
from t2vu_core.miniature_build.train_denoiser import draw_caption, plain_attention
from t2vu_core.miniature_build.unet.architecture import make_scheduler
from t2vu_core.miniature_build.unet.train_image import EncodedFrames, encode_captions
from t2vu_core.mixed_precision import CPU, mixed_precision

MOTION = "motion_modules"


def train_motion(
    adapter: MotionAdapter,
    unet: UNet2DConditionModel,
    text_encoder: CLIPTextModel,
    tokenizer: CLIPTokenizer,
    clips: EncodedFrames,
    budget: Budget,
) -> float:
    """Train the adapter in place; nothing else changes. It ends as the moving average. Returns the seconds."""
    video = UNetMotionModel.from_unet2d(unet, adapter).train()
    video.freeze_unet2d_params()
    trained = [parameter for parameter in video.parameters() if parameter.requires_grad]
    matrices, rest = split(video, first_and_last=())
    optimizers = Optimizers(matrices, [{"params": rest, "lr": 1e-3}])
    average = MovingAverage(trained, decay=0.9985)
    alphas = make_scheduler().alphas_cumprod.float()

    def keep() -> None:
        adapter.load_state_dict({name: value for name, value in video.state_dict().items() if MOTION in name})

    def report(minutes_spent: float) -> None:
        keep()
        if budget.on_interval is not None:
            budget.on_interval(minutes_spent)

    progress = Progress("motion", budget.minutes, average, optimizers, state=budget.state, on_interval=report)
    first = budget.seed + progress.step
    generator, rng = torch.Generator().manual_seed(first), random.Random(first)
    compile_for(video, budget.minutes)
    with plain_attention():
        while progress.begin():
            rows = torch.randint(0, len(clips.latents), (budget.batch_size,), generator=generator)
            noisy, timesteps, velocity = noised(clips.latents[rows].float(), generator, alphas)
            captions = [draw_caption(clips.labels[row], rng) for row in rows]
            with mixed_precision(CPU):
                with torch.no_grad():
                    text = encode_captions(text_encoder, tokenizer, captions).repeat_interleave(noisy.shape[1], dim=0)
                predicted = video(noisy.transpose(1, 2), timesteps, text, return_dict=False)[0].transpose(1, 2)
            loss = weighted_error(predicted, velocity, clips.weights[rows])
            optimizers.step(loss, factor=trapezoid(progress.step, progress.done))
            progress.end(loss.item())
    keep()
    return progress.spent
