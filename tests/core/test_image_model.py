"""The image model whose encoder a video model shares: it computes what Stable Diffusion's own pipeline computes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import diffusers as d
import pytest
import torch
from diffusers import StableDiffusionPipeline
from torch import Tensor

from t2vu_core.errors import UserError
from t2vu_core.families.unet import make_unet_scheduler
from t2vu_core.image_model import ImageModel, load_image_model
from tests.core.tiny_models import animatediff, ltx, stable_diffusion

PROMPTS = ["a red ghost floats over a quiet green hill", "a street in pixel art style"]


@pytest.fixture(scope="module", params=["epsilon", "v_prediction"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("image") / request.param
    stable_diffusion(prediction_type=request.param).save_pretrained(folder)
    return folder


@pytest.fixture
def model(folder: Path) -> ImageModel:
    return load_image_model(folder, device="cpu")


def test_an_image_model_gives_the_stock_pipelines_images_for_the_same_seeds(folder: Path, model: ImageModel) -> None:
    stock = StableDiffusionPipeline.from_pretrained(folder)
    stock.set_progress_bar_config(disable=True)
    theirs = stock(
        PROMPTS, num_inference_steps=4, guidance_scale=3.0, height=32, width=48, output_type="pt",
        generator=[torch.Generator().manual_seed(seed) for seed in (5, 6)],
    ).images  # fmt: skip
    ours = model.sample(PROMPTS, seeds=[5, 6], num_inference_steps=4, guidance_scale=3.0, height=32, width=48)
    torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=0)
    alone = model.sample(PROMPTS[1], seeds=6, num_inference_steps=4, guidance_scale=3.0, height=32, width=48)
    torch.testing.assert_close(alone[0], ours[1], atol=1e-5, rtol=0)
    assert model.sample(PROMPTS[0], num_inference_steps=1).shape == (1, 3, *model.size)


def image_of(scheduler: Any, folder: Path) -> Tensor:
    """What the same model makes with another scheduler in its folder."""
    torch.manual_seed(0)
    pipeline = stable_diffusion()
    pipeline.scheduler = scheduler
    pipeline.save_pretrained(folder)
    return load_image_model(folder, device="cpu").sample(PROMPTS[0], num_inference_steps=4)


def test_a_folder_saved_with_euler_is_sampled_as_by_a_ddim_that_clips_no_latents(tmp_path: Path) -> None:
    ddim = d.DDIMScheduler(clip_sample=False, timestep_spacing="linspace", steps_offset=1)
    assert torch.equal(image_of(d.EulerDiscreteScheduler(), tmp_path / "euler"), image_of(ddim, tmp_path / "ddim"))


@pytest.mark.parametrize(
    ("scheduler", "clips"),
    [
        (d.EulerDiscreteScheduler(), False),
        (d.EulerAncestralDiscreteScheduler(), False),
        (d.LMSDiscreteScheduler(), False),
        (d.DPMSolverSinglestepScheduler(), False),
        (d.DPMSolverMultistepScheduler(algorithm_type="sde-dpmsolver++"), False),
        (d.DDPMScheduler(clip_sample=True), True),
        (d.DDIMScheduler(clip_sample=True), True),
    ],
    ids=["euler", "euler a", "lms", "dpm single-step", "sde dpm++", "ddpm that clips", "ddim that clips"],
)
def test_latents_are_clipped_only_where_the_folder_says_so(scheduler: Any, clips: bool) -> None:
    fresh = make_unet_scheduler(scheduler, 4, torch.device("cpu"))
    latents = torch.full((1, 4, 2, 2), 3.0)
    guess = fresh.step(torch.zeros_like(latents), fresh.timesteps[0], latents).pred_original_sample
    assert bool((guess <= 1).all()) is clips


def test_the_denoising_loss_teaches_the_encoder_and_the_frozen_rest_stays(model: ImageModel) -> None:
    encoder = model.text_encoder
    before = {name: tensor.clone() for name, tensor in model.pipeline.unet.state_dict().items()}
    images = torch.rand(2, 3, *model.size, generator=torch.Generator().manual_seed(0))
    latents, timesteps = model.latents_of(images), torch.tensor([100, 800])
    noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(1))
    noisy = model.add_noise(latents, noise, timesteps)
    assert not model.encode(PROMPTS).embeds_BSD.requires_grad, "nothing asks for gradients yet"
    weight = next(parameter for name, parameter in encoder.named_parameters() if "mlp.fc1.weight" in name)
    weight.requires_grad_(True)
    try:
        loss = (
            (model.predict(noisy, timesteps, model.encode(PROMPTS)) - model.target(latents, noise, timesteps)).square().mean()
        )
        loss.backward()
        assert weight.grad is not None
        assert weight.grad.abs().max() > 0
    finally:
        weight.requires_grad_(False)
        weight.grad = None
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.pipeline.unet.state_dict().items())
    assert all(parameter.grad is None for parameter in model.pipeline.unet.parameters())


def test_the_target_is_what_leads_back_to_the_image(model: ImageModel) -> None:
    latents = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    noise = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(1))
    timestep = torch.tensor([400])
    noisy, target = model.add_noise(latents, noise, timestep), model.target(latents, noise, timestep)
    alpha = model.pipeline.scheduler.alphas_cumprod[400].sqrt()
    sigma = (1 - alpha**2).sqrt()
    epsilon = model.pipeline.scheduler.config.prediction_type == "epsilon"
    back = (noisy - sigma * target) / alpha if epsilon else alpha * noisy - sigma * target
    torch.testing.assert_close(back, latents, atol=1e-4, rtol=1e-4)


def test_images_that_do_not_fit_are_refused_with_what_does(model: ImageModel) -> None:
    with pytest.raises(UserError, match="multiples of 8, for example its own 32 x 32"):
        model.latents_of(torch.rand(1, 3, 30, 32))
    with pytest.raises(UserError, match="must be"):
        model.latents_of(torch.rand(3, 32, 32))
    with pytest.raises(UserError, match="seeds"):
        model.sample(PROMPTS, seeds=[1])


def test_the_same_encoder_in_another_folder_is_known_by_its_hash(folder: Path, model: ImageModel, tmp_path: Path) -> None:
    half = load_image_model(folder, dtype=torch.bfloat16, device="cpu")
    assert half.encoder_hash == model.encoder_hash
    torch.manual_seed(1)
    stable_diffusion().save_pretrained(tmp_path / "other")
    assert load_image_model(tmp_path / "other", device="cpu").encoder_hash != model.encoder_hash


def test_what_is_no_image_model_is_refused_in_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no image model 'nowhere'"):
        load_image_model("nowhere")
    ltx().save_pretrained(tmp_path / "ltx")
    with pytest.raises(UserError, match="Stable Diffusion's classes"):
        load_image_model(tmp_path / "ltx")
    animatediff().save_pretrained(tmp_path / "animatediff")
    with pytest.raises(UserError, match="Stable Diffusion's classes"):
        load_image_model(tmp_path / "animatediff")
