"""Models with the shapes of released ones and random weights, including text encoder and VAE, for few-shot unlearning.

The tokenizers are small: a step's cost depends on the number of tokens, which is that of the real pipelines.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import diffusers as d
import torch
import transformers as t
from torch import nn

from benchmarks.step_shapes import COGVIDEOX_2B, TEXT_WIDTH, WAN_1_3B
from t2vu_core.families import family_for
from t2vu_core.image_model import ImageModel
from t2vu_core.miniature.bundled import bundled_folder
from t2vu_core.miniature_build.unet.architecture import make_tokenizer
from t2vu_core.mixed_precision import fast_bf16
from t2vu_core.model import T2VModel
from t2vu_core.quiet import quiet_libraries

XXL = {"d_model": TEXT_WIDTH, "d_kv": 64, "d_ff": 10240, "num_layers": 24, "num_heads": 64, "feed_forward_proj": "gated-gelu"}
CLIP_L = {
    "hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12, "vocab_size": 49408,
    "projection_dim": 768,
}  # fmt: skip
SD_VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4, "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512), "layers_per_block": 2, "latent_channels": 4, "sample_size": 512,
    "scaling_factor": 0.18215,
}  # fmt: skip
COGVIDEOX_VAE = {
    "down_block_types": ("CogVideoXDownBlock3D",) * 4, "up_block_types": ("CogVideoXUpBlock3D",) * 4,
    "block_out_channels": (128, 256, 256, 512), "latent_channels": 16, "layers_per_block": 3,
}  # fmt: skip
THIN = {
    "block_out_channels": (32,), "norm_num_groups": 8, "sample_size": 8, "layers_per_block": 1,
    "down_block_types": ("CrossAttnDownBlock2D",), "up_block_types": ("CrossAttnUpBlock2D",),
}  # fmt: skip
"""Settings of a minimal image UNet."""


@dataclass(frozen=True)
class Shaped:
    """A video model and, if there is one, the image model that the gradient comes from."""

    model: T2VModel
    image_model: ImageModel | None = None

    @property
    def gradient_pipeline(self) -> Any:
        return self.model.family.pipeline if self.image_model is None else self.image_model.pipeline

    @property
    def modules(self) -> list[nn.Module]:
        """All modules in memory."""
        pipelines = [self.model.family.pipeline] + ([] if self.image_model is None else [self.image_model.pipeline])
        return [part for each in pipelines for part in each.components.values() if isinstance(part, nn.Module)]


def shaped(name: str, device: torch.device, **smaller: Any) -> Shaped:
    """Build a shape in bf16; `smaller` are settings of text encoder, denoiser and VAE for a trial run."""
    with quiet_libraries():
        return SHAPES[name](name, device, **smaller)


def stable_diffusion(name: str, device: torch.device, **smaller: Any) -> Shaped:
    """Stable Diffusion 1.5, and a minimal video model that shares its text encoder: only the encoder matters."""
    tokenizer = make_tokenizer(num_captions=500)
    tokenizer.model_max_length = 77
    tokens = {f"{kind}_token_id": getattr(tokenizer, f"{kind}_token_id") for kind in ("bos", "eos", "pad")}
    with _made_in(device):
        encoder = t.CLIPTextModel(t.CLIPTextConfig(**{**CLIP_L, **tokens, **smaller.get("encoder", {})}))
        width = encoder.config.hidden_size
        unet = d.UNet2DConditionModel(**{"sample_size": 64, "cross_attention_dim": width, **smaller.get("denoiser", {})})
        vae = d.AutoencoderKL(**{**SD_VAE, **smaller.get("vae", {})})
        video_unet = d.UNet2DConditionModel(**THIN, cross_attention_dim=width)
        motion = d.MotionAdapter(
            block_out_channels=(32,), motion_layers_per_block=1, motion_norm_num_groups=8, use_motion_mid_block=False
        )
    noise = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "steps_offset": 1}
    scheduler = d.PNDMScheduler(**noise, skip_prk_steps=True)
    parts = (vae, encoder, tokenizer)
    image = d.StableDiffusionPipeline(*parts, unet, scheduler, None, None, requires_safety_checker=False)
    with _made_in(device):
        video = d.AnimateDiffPipeline(*parts, video_unet, motion, scheduler)
    return Shaped(_video(f"{name}-video", video), ImageModel(name, _frozen(image)))


def cogvideox(name: str, device: torch.device, **smaller: Any) -> Shaped:
    """CogVideoX-2B with T5-XXL, on one frame of its own size."""
    with _made_in(device):
        encoder = _t5_xxl(smaller)
        vae = d.AutoencoderKLCogVideoX(**{**COGVIDEOX_VAE, **smaller.get("vae", {})})
        settings = {**COGVIDEOX_2B, "text_embed_dim": encoder.config.d_model, **smaller.get("denoiser", {})}
        transformer = d.CogVideoXTransformer3DModel(**settings)
    scheduler = d.CogVideoXDDIMScheduler(
        prediction_type="v_prediction", timestep_spacing="trailing", rescale_betas_zero_snr=True
    )
    return Shaped(_video(name, d.CogVideoXPipeline(_tokenizer(), encoder, vae, transformer, scheduler)))


def wan(name: str, device: torch.device, **smaller: Any) -> Shaped:
    """Wan 2.1 1.3B with UMT5-XXL, on one frame of its own size."""
    with _made_in(device):
        encoder = t.UMT5EncoderModel(t.UMT5Config(**{"vocab_size": 256384, **XXL, **smaller.get("encoder", {})}))
        vae = d.AutoencoderKLWan(**smaller.get("vae", {}))
        settings = {**WAN_1_3B, "text_dim": encoder.config.d_model, **smaller.get("denoiser", {})}
        transformer = d.WanTransformer3DModel(**settings)
    scheduler = d.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    return Shaped(_video(name, d.WanPipeline(_tokenizer(), encoder, vae, scheduler, transformer)))


def ltx(name: str, device: torch.device, **smaller: Any) -> Shaped:
    """LTX-Video 2B with T5-XXL, on one frame of its own size; the defaults of diffusers' classes are the released settings."""
    with _made_in(device):
        encoder = _t5_xxl(smaller)
        vae = d.AutoencoderKLLTXVideo(**smaller.get("vae", {}))
        settings = {"caption_channels": encoder.config.d_model, **smaller.get("denoiser", {})}
        transformer = d.LTXVideoTransformer3DModel(**settings)
    scheduler = d.FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05, base_image_seq_len=1024, shift_terminal=0.1
    )
    return Shaped(_video(name, d.LTXPipeline(scheduler, vae, encoder, _tokenizer(), transformer)))


def mochi(name: str, device: torch.device, **smaller: Any) -> Shaped:
    """Mochi 1 with T5-XXL, on one frame of its own size; the defaults of diffusers' classes are the released settings."""
    with _made_in(device):
        encoder = _t5_xxl(smaller)
        vae = d.AutoencoderKLMochi(**smaller.get("vae", {}))
        settings = {"text_embed_dim": encoder.config.d_model, **smaller.get("denoiser", {})}
        transformer = d.MochiTransformer3DModel(**settings)
    scheduler = d.FlowMatchEulerDiscreteScheduler(invert_sigmas=True)
    return Shaped(_video(name, d.MochiPipeline(scheduler, vae, encoder, _tokenizer(), transformer)))


SHAPES: dict[str, Callable[..., Shaped]] = {
    "stable-diffusion-1.5": stable_diffusion,
    "cogvideox-2b": cogvideox,
    "wan-1.3b": wan,
    "ltx-2b": ltx,
    "mochi-10b": mochi,
}


def _precision(device: torch.device) -> torch.dtype:
    """bf16 as on a GPU; float32 on a processor where bf16 takes up to a hundred times as long."""
    return torch.bfloat16 if fast_bf16(device) else torch.float32


@contextlib.contextmanager
def _made_in(device: torch.device) -> Iterator[None]:
    default = torch.get_default_dtype()
    torch.manual_seed(0)
    torch.set_default_dtype(_precision(device))
    try:
        with device:
            yield
    finally:
        torch.set_default_dtype(default)


def _t5_xxl(smaller: Mapping[str, Any]) -> Any:
    return t.T5EncoderModel(t.T5Config(**{"vocab_size": 32128, **XXL, **smaller.get("encoder", {})}))


def _frozen(pipeline: Any) -> Any:
    for part in pipeline.components.values():
        if isinstance(part, nn.Module):
            part.to(_precision(next(part.parameters()).device)).eval().requires_grad_(False)
    return pipeline


def _video(name: str, pipeline: Any) -> T2VModel:
    family = family_for(type(pipeline).__name__)
    assert family is not None
    return T2VModel(name, family(_frozen(pipeline)))


def _tokenizer() -> Any:
    folder = bundled_folder("miniature")
    assert folder is not None
    return t.AutoTokenizer.from_pretrained(folder / "tokenizer")
