"""ImageModel: a loaded text-to-image model with Stable Diffusion's classes, which shares its text encoder with a video model.

Shapes: B images, S text tokens, D width; images are (B, 3, H, W) in [0, 1], latents (B, C, h, w).
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from diffusers import StableDiffusionPipeline, UNet2DConditionModel
from torch import Tensor

from t2vu_core.erasure import hash_tensors
from t2vu_core.errors import UserError
from t2vu_core.families.text import Text
from t2vu_core.families.text_condition import TextCondition
from t2vu_core.families.tiling import decode_or_tile
from t2vu_core.families.unet import PIPELINE_UNIT, make_unet_scheduler, own_pixels, small, to_latents, to_pixels
from t2vu_core.file_names import check_names
from t2vu_core.miniature.bundled import bundled_image_folder, check_built, image_model_names
from t2vu_core.mixed_precision import all_float32, mixed_precision
from t2vu_core.pipelines import open_pipeline
from t2vu_core.quiet import quiet_libraries
from t2vu_core.sampling import Guided, SamplingRequest, denoise, seeded_noise


@dataclass(frozen=True)
class ImageModel:
    """A frozen text-to-image model. Immutable: training attaches to its encoder only while it computes."""

    name: str
    pipeline: StableDiffusionPipeline
    folder: Path | None = None
    """Where its own prompt set is, if it has one."""
    # Held while something is attached to the shared modules.
    lock: threading.RLock = dataclasses.field(default_factory=threading.RLock, repr=False, compare=False)

    @property
    def denoiser(self) -> Any:
        """The UNet."""
        return self.pipeline.unet

    @property
    def text_encoder(self) -> Any:
        return self.pipeline.text_encoder

    @property
    def text(self) -> Text:
        """The text encoder and its tokenizer."""
        return Text.of(self.pipeline)

    @property
    def device(self) -> torch.device:
        return self.pipeline.unet.device

    @property
    def dtype(self) -> torch.dtype:
        return self.pipeline.unet.dtype

    def mixed_precision(self) -> contextlib.AbstractContextManager[object]:
        """Passes of a training run are computed inside this context."""
        return mixed_precision(self.device, float32=all_float32([self.pipeline.unet]))

    @property
    def size(self) -> tuple[int, int]:
        """Height and width in pixels that the model was trained for."""
        return own_pixels(self.pipeline)

    @property
    def guidance_scale(self) -> float:
        """The default guidance scale."""
        return 4.0 if small(self.pipeline) else 7.5

    @property
    def num_inference_steps(self) -> int:
        """The default number of steps."""
        return 25 if small(self.pipeline) else 50

    @cached_property
    def encoder_hash(self) -> str:
        """Hash of the text encoder's weights; equal for a video model that shares it."""
        return hash_tensors(self.text_encoder.state_dict().items())

    @quiet_libraries()
    def encode(self, prompts: Sequence[str]) -> TextCondition:
        """Encode prompts as the stock pipeline does, (B, S, D); gradients reach encoder weights that require them."""
        embeds, _ = self.pipeline.encode_prompt(
            list(prompts), self.text_encoder.device, num_images_per_prompt=1, do_classifier_free_guidance=False
        )
        return TextCondition(embeds).to(self.device)

    def predict(self, latents: Tensor, timesteps_B: Tensor, condition: TextCondition) -> Tensor:
        """One denoiser pass, (B, C, h, w) float32, in the model's own output space: see `target`."""
        return self.pipeline.unet(
            latents.to(self.dtype),
            timesteps_B,
            encoder_hidden_states=condition.embeds_BSD.to(self.dtype),
            return_dict=False,
        )[0].float()

    def make_scheduler(self, num_inference_steps: int) -> Any:
        """A new scheduler with its timesteps set."""
        return make_unet_scheduler(self.pipeline.scheduler, num_inference_steps, self.device)

    @contextlib.contextmanager
    def gradient_checkpointing(self) -> Iterator[None]:
        """Inside this context, the UNet recomputes its activations in the backward pass."""
        unet = self.pipeline.unet
        already = unet.is_gradient_checkpointing
        try:
            unet.enable_gradient_checkpointing()
            yield
        finally:
            if not already:
                unet.disable_gradient_checkpointing()

    def describe(self) -> dict[str, Any]:
        """What else than the weights defines a training run through it: nothing."""
        return {}

    def add_noise(self, latents: Tensor, noise: Tensor, timesteps_B: Tensor) -> Tensor:
        """x_t = alpha_t x_0 + sigma_t noise (Ho et al., arXiv 2006.11239, equation 4)."""
        return self.pipeline.scheduler.add_noise(latents, noise, timesteps_B)

    def target(self, latents: Tensor, noise: Tensor, timesteps_B: Tensor) -> Tensor:
        """The denoiser's training target: the noise, or v = alpha_t noise - sigma_t x_0 (arXiv 2202.00512)."""
        scheduler = self.pipeline.scheduler
        if scheduler.config.prediction_type == "epsilon":
            return noise
        if scheduler.config.prediction_type != "v_prediction":
            raise UserError(f"{self.name} predicts {scheduler.config.prediction_type}; epsilon and v_prediction are known.")
        alphas = scheduler.alphas_cumprod.to(latents)[timesteps_B].view(-1, 1, 1, 1)
        return alphas.sqrt() * noise - (1 - alphas).sqrt() * latents

    @torch.no_grad()
    def latents_of(self, images: Tensor) -> Tensor:
        """Scaled latents of images (B, 3, H, W) in [0, 1]: the mean of the VAE's posterior, float32."""
        if images.ndim != 4 or images.shape[1] != 3:
            raise UserError(f"Images must be (B, 3, H, W), not of shape {tuple(images.shape)}.")
        self.check_size(images.shape[-2], images.shape[-1])
        return to_latents(self.pipeline.vae, images.to(self.device))

    @torch.no_grad()
    def sample(
        self,
        prompts: str | Sequence[str],
        *,
        seeds: int | Sequence[int] = 0,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        negative_prompt: str = "",
        height: int | None = None,
        width: int | None = None,
        on_step: Callable[[int, int], None] | None = None,
    ) -> Tensor:
        """Generate one image per prompt: (B, 3, H, W) in [0, 1], float32 on the CPU. Each image has its own seed.

        `on_step(step, total)` is called after every step; an exception that it raises stops sampling. Raises UserError if
        a value is invalid.
        """
        asked = SamplingRequest.checked(prompts, seeds, num_inference_steps, guidance_scale, usual=self)
        steps, guidance = asked.num_inference_steps, asked.guidance_scale
        height, width = height or self.size[0], width or self.size[1]
        self.check_size(height, width)
        with self.lock:
            condition = self.encode(asked.prompts)
            empty = self.encode([negative_prompt]).expand(len(asked.prompts)) if guidance > 1 else None
            latents = self._noise(height, width, asked.seeds)
            scheduler = self.make_scheduler(steps)
            told = None if on_step is None else lambda step, total, _: on_step(step, total)
            latents = denoise(scheduler, latents, Guided(self.predict, condition, empty, guidance), on_step=told)
            vae = self.pipeline.vae
            return decode_or_tile(vae, lambda: to_pixels(vae, latents)).cpu()

    def check_size(self, height: int, width: int) -> None:
        """Raise UserError unless height and width are multiples of 8, as the stock pipeline requires."""
        if height % PIPELINE_UNIT or width % PIPELINE_UNIT:
            raise UserError(
                f"{self.name} cannot take {width} x {height} pixels: width and height must be multiples of "
                f"{PIPELINE_UNIT}, for example its own {self.size[1]} x {self.size[0]}."
            )

    def _noise(self, height: int, width: int, seeds: Sequence[int]) -> Tensor:
        ratio = self.pipeline.vae_scale_factor
        shape = (self.pipeline.unet.config.in_channels, height // ratio, width // ratio)
        return seeded_noise(shape, seeds, self.device)


def load_image_model(
    source: str | Path, *, dtype: torch.dtype | None = None, device: str | torch.device | None = None
) -> ImageModel:
    """Load a bundled image model by name, or a diffusers folder of Stable Diffusion's classes by path.

    An AnimateDiff folder is accepted if it contains the image UNet separately: it is an image model plus a motion adapter.
    Raises UserError for an unknown name, and for a folder that is not such a model.
    """
    check_built(str(source))
    folder = bundled_image_folder(str(source)) or check_names(source)
    if not (folder / "model_index.json").is_file():
        raise UserError(
            f"There is no image model {str(source)!r}: it is neither a diffusers folder nor one of the bundled image "
            f"models ({', '.join(image_model_names()) or 'none is built'})."
        )
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    failure = f"{folder} is not a text-to-image model of Stable Diffusion's classes"
    with torch.inference_mode(False):
        pipeline = open_pipeline(
            StableDiffusionPipeline,
            folder,
            failure,
            dtype=dtype or torch.float32,
            safety_checker=None,
            requires_safety_checker=False,
        )
    if not isinstance(pipeline.unet, UNet2DConditionModel):
        raise UserError(f"{failure}: its UNet is a {type(pipeline.unet).__name__}.")
    return ImageModel(folder.name if folder == Path(source) else str(source), pipeline.to(device), folder)
