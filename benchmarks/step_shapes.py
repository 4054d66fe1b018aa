"""Models in the shape of released ones with random weights: what a step costs there does not depend on the values.

The denoiser is the real class at its real size. Text encoder and VAE are not part of a step: of them only the widths
that the denoiser sees are real.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import diffusers as d
import torch
import transformers as t

from t2vu_core.families import ClipSize, Family, family_for
from t2vu_core.families.clip_size import SamplingDefaults
from t2vu_core.miniature.bundled import bundled_folder
from t2vu_core.model import T2VModel

TEXT_WIDTH = 4096


@dataclass(frozen=True)
class Shape:
    """How a model is built, and the clip that it is trained on."""

    build: Callable[..., d.DiffusionPipeline]
    size: ClipSize
    settings: dict[str, Any]

    @property
    def tiny(self) -> Shape:
        """The same architecture with hardly any weights, on a small clip: to try a benchmark out."""
        return Shape(self.build, TINY_SIZE, {**self.settings, **TINY[self.build]})


def shaped_model(name: str, *, dtype: torch.dtype, device: torch.device, tiny: bool = False) -> T2VModel:
    """A model with random weights."""
    shape = SHAPES[name].tiny if tiny else SHAPES[name]
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            pipeline = shape.build(**shape.settings)
    finally:
        torch.set_default_dtype(default)
    for part in pipeline.components.values():
        if isinstance(part, torch.nn.Module):
            part.to(device, dtype).eval().requires_grad_(False)
    family = family_for(type(pipeline).__name__)
    assert family is not None
    return T2VModel(name, of_size(family, shape.size)(pipeline))


def store_in_fp8(family: Family) -> None:
    """Keep the denoisers' linear layers in 8 bits; each is cast to bf16 while it computes."""
    for denoiser in family.denoisers.values():
        denoiser.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.bfloat16)


def of_size(family: type[Family], size: ClipSize) -> type[Family]:
    """The family whose own clip is of that size, and which does not hash its weights: random ones are no base."""

    def defaults(self: Family) -> SamplingDefaults:
        own: SamplingDefaults = family.defaults.fget(self)  # type: ignore[attr-defined]
        return dataclasses.replace(own, size=size)

    return type(family.__name__, (family,), {"defaults": property(defaults), "base_hash": "random weights"})


def _tokenizer() -> Any:
    folder = bundled_folder("miniature")
    assert folder is not None
    return t.AutoTokenizer.from_pretrained(folder / "tokenizer")


def _encoder(kind: type, config: type, tokenizer: Any, width: int) -> Any:
    return kind(config(vocab_size=len(tokenizer), d_model=width, d_kv=64, d_ff=64, num_layers=1, num_heads=2))


def cogvideox(**settings: Any) -> d.DiffusionPipeline:
    """CogVideoX: joint attention, 226 text tokens."""
    blocks = {"down_block_types": ("CogVideoXDownBlock3D",) * 4, "up_block_types": ("CogVideoXUpBlock3D",) * 4}
    vae = d.AutoencoderKLCogVideoX(
        **blocks, block_out_channels=(8,) * 4, latent_channels=16, layers_per_block=1, norm_num_groups=2
    )
    tokenizer = _tokenizer()
    settings = {"text_embed_dim": TEXT_WIDTH, **settings}
    transformer = d.CogVideoXTransformer3DModel(**settings)
    with torch.device("cpu"):
        scheduler = d.CogVideoXDDIMScheduler(
            prediction_type="v_prediction", timestep_spacing="trailing", rescale_betas_zero_snr=True
        )
    encoder = _encoder(t.T5EncoderModel, t.T5Config, tokenizer, settings["text_embed_dim"])
    return d.CogVideoXPipeline(tokenizer, encoder, vae, transformer, scheduler)


def wan(**settings: Any) -> d.DiffusionPipeline:
    """Wan 2.1: cross-attention, 512 text tokens."""
    tokenizer = _tokenizer()
    settings = {"text_dim": TEXT_WIDTH, **settings}
    vae = d.AutoencoderKLWan(base_dim=4, z_dim=16, num_res_blocks=1)
    with torch.device("cpu"):
        scheduler = d.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    encoder = _encoder(t.UMT5EncoderModel, t.UMT5Config, tokenizer, settings["text_dim"])
    return d.WanPipeline(tokenizer, encoder, vae, scheduler, d.WanTransformer3DModel(**settings))


COGVIDEOX_2B = {"num_attention_heads": 30, "num_layers": 30, "sample_width": 90, "sample_height": 60, "sample_frames": 49}
COGVIDEOX_5B = {**COGVIDEOX_2B, "num_attention_heads": 48, "num_layers": 42, "use_rotary_positional_embeddings": True}
WAN_1_3B = {"num_attention_heads": 12, "num_layers": 30, "ffn_dim": 8960}
WAN_14B = {"num_attention_heads": 40, "num_layers": 40, "ffn_dim": 13824}
SHAPES = {
    "cogvideox-2b": Shape(cogvideox, ClipSize(17, 480, 720), COGVIDEOX_2B),
    "cogvideox-2b-49f": Shape(cogvideox, ClipSize(49, 480, 720), COGVIDEOX_2B),
    "cogvideox-5b": Shape(cogvideox, ClipSize(17, 480, 720), COGVIDEOX_5B),
    "wan-1.3b": Shape(wan, ClipSize(17, 480, 832), WAN_1_3B),
    "wan-14b": Shape(wan, ClipSize(17, 480, 832), WAN_14B),
}
TINY_SIZE = ClipSize(5, 32, 48)
TINY = {
    cogvideox: {"num_attention_heads": 2, "num_layers": 1, "text_embed_dim": 32, "sample_width": 6, "sample_height": 4},
    wan: {"num_attention_heads": 1, "num_layers": 1, "text_dim": 32, "ffn_dim": 32},
}
