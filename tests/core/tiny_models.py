"""Tiny pipelines of every architecture: the real classes with random weights, as diffusers folders."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import diffusers as d
import pytest
import torch
import transformers as t
from diffusers import DiffusionPipeline

from t2vu_core.erasers import EraserSet
from t2vu_core.erasure import Erasure
from t2vu_core.families import ClipSize, EraserSite
from t2vu_core.families.eraser_site import EraserKind
from t2vu_core.model import T2VModel, load_model
from tests.core.tiny_tokenizers import clip_tokenizer, llama_tokenizer, qwen_tokenizer, t5_tokenizer

TEXT_WIDTH = 32


@dataclass(frozen=True)
class TinyModel:
    """How to build one, and the clip that it makes quickly."""

    name: str
    family: str
    build: Callable[[], DiffusionPipeline]
    num_frames: int = 5
    height: int = 32
    width: int = 48
    steps: int = 3
    guidance_scale: float = 3.0
    stock_guidance: str = "guidance_scale"
    """What the stock pipeline calls classifier-free guidance."""
    beside_text: int = 0
    """Tokens in the joint sequence that are neither video nor the prompt."""
    any_frames: bool = False
    """Whether a clip may have any number of frames."""
    needs: str = "DiffusionPipeline"
    """A class of diffusers that older releases lack; tests of the model are skipped there."""

    @cached_property
    def folder(self) -> Path:
        """The saved pipeline."""
        if not hasattr(d, self.needs):
            pytest.skip(f"diffusers {d.__version__} has no {self.needs}")
        torch.manual_seed(0)
        folder = _folder() / self.name
        self.build().save_pretrained(folder)
        return folder

    @cached_property
    def model(self) -> T2VModel:
        """Loaded by us, in float32."""
        return load_model(self.folder, device="cpu")

    def stock(self) -> DiffusionPipeline:
        """Loaded by diffusers, each time again."""
        pipeline = DiffusionPipeline.from_pretrained(self.folder)
        pipeline.set_progress_bar_config(disable=True)
        return pipeline

    @property
    def size(self) -> ClipSize:
        return ClipSize(self.num_frames, self.height, self.width)

    @property
    def clip(self) -> dict[str, Any]:
        return {
            "num_frames": self.num_frames,
            "height": self.height,
            "width": self.width,
            "num_inference_steps": self.steps,
        }

    def sample_ours(self, model: T2VModel, prompts: list[str], seeds: list[int], guidance_scale: float) -> torch.Tensor:
        return model.sample(prompts, seeds=seeds, guidance_scale=guidance_scale, **self.clip)

    def sample_stock(
        self, pipeline: DiffusionPipeline, prompts: list[str], seeds: list[int], guidance_scale: float
    ) -> torch.Tensor:
        if self.stock_guidance == "guider":
            pipeline.guider = type(pipeline.guider)(guidance_scale=guidance_scale)
            pipeline.vae.enable_slicing()
        return pipeline(
            prompt=prompts,
            negative_prompt=[""] * len(prompts),
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            output_type="pt",
            **({} if self.stock_guidance == "guider" else {self.stock_guidance: guidance_scale}),
            **self.clip,
        ).frames

    def sites(self, kind: EraserKind) -> list[EraserSite]:
        family = self.model.family
        return family.eraser_sites() if kind == "bottleneck" else family.lora_sites()

    def first_site_output(self, model: T2VModel, kind: EraserKind) -> torch.Tensor:
        """What an eraser of that kind can change at its first place, as this model gives it in one pass."""
        site, size, seen = self.sites(kind)[0], self.size, []

        def look(module: Any, args: Any, output: Any) -> None:
            site.edit(output, lambda hidden: seen.append(hidden.clone()) or hidden)

        with torch.no_grad(), model.active() as family:
            latents = torch.randn(1, *family.latent_shape(size), generator=torch.Generator().manual_seed(0))
            timestep = family.make_scheduler(self.steps, size).timesteps[:1]
            handle = site.module.register_forward_hook(look)
            try:
                family.predict(latents, timestep, family.encode(["a red ghost"]), size)
            finally:
                handle.remove()
        return seen[0]

    def random_erasers(self, kind: EraserKind, *, scale: float = 0.5, rank: int = 4) -> EraserSet:
        """Erasers that do something: every weight is drawn."""
        erasers = EraserSet.create(self.sites(kind), rank=rank, seed=0)
        generator = torch.Generator().manual_seed(1)
        for parameter in erasers.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * scale
        return erasers.requires_grad_(False)

    def random_erasure(self, kind: EraserKind, *, scale: float = 0.5) -> Erasure:
        erasers = self.random_erasers(kind, scale=scale)
        return Erasure("eraser", ("ghost",), self.model.base, erasers.named_tensors(), "random, for tests")


@cache
def _folder() -> Path:
    keep = tempfile.TemporaryDirectory(prefix="t2vu-tiny-")
    _KEPT.append(keep)
    return Path(keep.name)


_KEPT: list[tempfile.TemporaryDirectory] = []
"""Folders that live until the tests end."""


def t5_encoder(kind: type = t.T5EncoderModel, config: type = t.T5Config) -> Any:
    return kind(config(vocab_size=len(t5_tokenizer()), d_model=TEXT_WIDTH, d_kv=8, d_ff=37, num_layers=2, num_heads=4))


def cogvideox(**changes: Any) -> DiffusionPipeline:
    blocks = {"down_block_types": ("CogVideoXDownBlock3D",) * 4, "up_block_types": ("CogVideoXUpBlock3D",) * 4}
    vae = d.AutoencoderKLCogVideoX(
        **blocks, block_out_channels=(8,) * 4, latent_channels=4, layers_per_block=1, norm_num_groups=2,
        scaling_factor=0.7,
    )  # fmt: skip
    transformer = d.CogVideoXTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, in_channels=4, out_channels=4, time_embed_dim=8,
        text_embed_dim=TEXT_WIDTH, num_layers=2, sample_width=6, sample_height=4, sample_frames=9,
        **changes,
    )  # fmt: skip
    schedule = {"prediction_type": "v_prediction", "timestep_spacing": "trailing", "rescale_betas_zero_snr": True}
    return d.CogVideoXPipeline(t5_tokenizer(), t5_encoder(), vae, transformer, d.CogVideoXDDIMScheduler(**schedule))


def wan_transformer() -> Any:
    return d.WanTransformer3DModel(
        num_attention_heads=2, attention_head_dim=12, in_channels=16, out_channels=16, text_dim=TEXT_WIDTH, freq_dim=32,
        ffn_dim=32, num_layers=2, rope_max_seq_len=32,
    )  # fmt: skip


def wan(*, two_denoisers: bool = False, **settings: Any) -> DiffusionPipeline:
    vae = d.AutoencoderKLWan(base_dim=4, z_dim=16, dim_mult=[1, 1, 1, 1], num_res_blocks=1)
    transformer, second = wan_transformer(), wan_transformer() if two_denoisers else None
    encoder = t5_encoder(t.UMT5EncoderModel, t.UMT5Config)
    scheduler = d.UniPCMultistepScheduler(prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=3.0)
    return d.WanPipeline(t5_tokenizer(), encoder, vae, scheduler, transformer, second, **settings)


def hunyuan_video() -> DiffusionPipeline:
    blocks = {"down_block_types": ("HunyuanVideoDownBlock3D",) * 4, "up_block_types": ("HunyuanVideoUpBlock3D",) * 4}
    vae = d.AutoencoderKLHunyuanVideo(
        **blocks, latent_channels=4, block_out_channels=(8,) * 4, layers_per_block=1, norm_num_groups=4
    )
    transformer = d.HunyuanVideoTransformer3DModel(
        in_channels=4, out_channels=4, num_attention_heads=2, attention_head_dim=16, num_layers=1, num_single_layers=2,
        num_refiner_layers=1, text_embed_dim=16, pooled_projection_dim=8, rope_axes_dim=(4, 6, 6),
    )  # fmt: skip
    llama, clip = llama_tokenizer(), clip_tokenizer()
    llama_config = t.LlamaConfig(
        vocab_size=len(llama), hidden_size=16, intermediate_size=32, num_hidden_layers=3, num_attention_heads=4,
        max_position_embeddings=512,
    )  # fmt: skip
    clip_config = t.CLIPTextConfig(
        vocab_size=len(clip), hidden_size=8, intermediate_size=37, projection_dim=8, num_attention_heads=2,
        num_hidden_layers=1, bos_token_id=clip.bos_token_id, eos_token_id=clip.eos_token_id,
        pad_token_id=clip.pad_token_id,
    )  # fmt: skip
    scheduler = d.FlowMatchEulerDiscreteScheduler(shift=7.0)
    return d.HunyuanVideoPipeline(
        t.LlamaModel(llama_config), llama, transformer, vae, scheduler, t.CLIPTextModel(clip_config), clip
    )


def hunyuan_video_15() -> DiffusionPipeline:
    vae = d.AutoencoderKLHunyuanVideo15(
        latent_channels=4, block_out_channels=(16,) * 4, layers_per_block=1, spatial_compression_ratio=8
    )
    transformer = d.HunyuanVideo15Transformer3DModel(
        in_channels=9, out_channels=4, num_attention_heads=2, attention_head_dim=16, num_layers=2, num_refiner_layers=1,
        text_embed_dim=16, text_embed_2_dim=8, image_embed_dim=8, rope_axes_dim=(4, 6, 6), task_type="t2v",
    )  # fmt: skip
    qwen = qwen_tokenizer()
    qwen_config = t.Qwen2_5_VLTextConfig(
        vocab_size=len(qwen), hidden_size=16, intermediate_size=32, num_hidden_layers=4, num_attention_heads=2,
        num_key_value_heads=2, max_position_embeddings=2048, eos_token_id=0, bos_token_id=0, pad_token_id=0,
        rope_parameters={"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]},
    )  # fmt: skip
    letters = t.ByT5Tokenizer()
    letters_config = t.T5Config(vocab_size=len(letters), d_model=8, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    return d.HunyuanVideo15Pipeline(
        t.Qwen2_5_VLTextModel(qwen_config), qwen, transformer, vae, d.FlowMatchEulerDiscreteScheduler(shift=5.0),
        t.T5EncoderModel(letters_config), letters, d.ClassifierFreeGuidance(guidance_scale=6.0),
    )  # fmt: skip


def ltx() -> DiffusionPipeline:
    vae = d.AutoencoderKLLTXVideo(
        latent_channels=8, block_out_channels=(8,) * 4, decoder_block_out_channels=(8,) * 4,
        layers_per_block=(1,) * 5, decoder_layers_per_block=(1,) * 5,
    )  # fmt: skip
    transformer = d.LTXVideoTransformer3DModel(
        in_channels=8, out_channels=8, num_attention_heads=2, attention_head_dim=16, cross_attention_dim=32,
        num_layers=2, caption_channels=TEXT_WIDTH,
    )  # fmt: skip
    scheduler = d.FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True, base_shift=0.95, max_shift=2.05, base_image_seq_len=1024, shift_terminal=0.1
    )
    return d.LTXPipeline(scheduler, vae, t5_encoder(), t5_tokenizer(), transformer)


def ltx_condition() -> DiffusionPipeline:
    parts = {**ltx().components, "scheduler": d.FlowMatchEulerDiscreteScheduler()}
    return d.LTXConditionPipeline(**parts)


def mochi() -> DiffusionPipeline:
    vae = d.AutoencoderKLMochi(
        encoder_block_out_channels=(32,) * 4, decoder_block_out_channels=(32,) * 4, layers_per_block=(1,) * 5
    )
    transformer = d.MochiTransformer3DModel(
        num_attention_heads=2, attention_head_dim=16, num_layers=2, pooled_projection_dim=16,
        text_embed_dim=TEXT_WIDTH, time_embed_dim=8,
    )  # fmt: skip
    torch.nn.init.normal_(transformer.pos_frequencies)
    scheduler = d.FlowMatchEulerDiscreteScheduler(invert_sigmas=True)
    return d.MochiPipeline(scheduler, vae, t5_encoder(), t5_tokenizer(), transformer)


def clip_encoder() -> Any:
    clip = clip_tokenizer()
    return t.CLIPTextModel(
        t.CLIPTextConfig(
            vocab_size=len(clip), hidden_size=TEXT_WIDTH, intermediate_size=37, projection_dim=8, num_attention_heads=4,
            num_hidden_layers=2, bos_token_id=clip.bos_token_id, eos_token_id=clip.eos_token_id,
            pad_token_id=clip.pad_token_id,
        )
    )  # fmt: skip


def image_vae() -> Any:
    """Stable Diffusion's VAE, here with a ratio of 4."""
    return d.AutoencoderKL(
        block_out_channels=(8, 8, 8), down_block_types=("DownEncoderBlock2D",) * 3, norm_num_groups=4,
        up_block_types=("UpDecoderBlock2D",) * 3, latent_channels=4, layers_per_block=1, sample_size=32,
    )  # fmt: skip


IMAGE_UNET = {
    "sample_size": 8, "block_out_channels": (16, 24), "layers_per_block": 1, "norm_num_groups": 4,
    "cross_attention_dim": TEXT_WIDTH,
}  # fmt: skip


def image_unet() -> Any:
    return d.UNet2DConditionModel(
        **IMAGE_UNET, down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"),
        up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"), attention_head_dim=4,
    )  # fmt: skip


def stable_diffusion(**schedule: Any) -> DiffusionPipeline:
    scheduler = d.PNDMScheduler(**{"skip_prk_steps": True, "steps_offset": 1, **schedule})
    return d.StableDiffusionPipeline(
        image_vae(), clip_encoder(), clip_tokenizer(), image_unet(), scheduler, None, None, requires_safety_checker=False
    )


def animatediff() -> DiffusionPipeline:
    adapter = d.MotionAdapter(
        block_out_channels=(16, 24), motion_layers_per_block=1, motion_norm_num_groups=4, motion_num_attention_heads=4,
        motion_max_seq_length=16,
    )  # fmt: skip
    scheduler = d.DDIMScheduler(beta_schedule="linear", clip_sample=False, steps_offset=1)
    return d.AnimateDiffPipeline(image_vae(), clip_encoder(), clip_tokenizer(), image_unet(), adapter, scheduler)


def text_to_video_sd() -> DiffusionPipeline:
    unet = d.UNet3DConditionModel(
        **{**IMAGE_UNET, "norm_num_groups": 8}, down_block_types=("CrossAttnDownBlock3D", "DownBlock3D"),
        up_block_types=("UpBlock3D", "CrossAttnUpBlock3D"), attention_head_dim=4,
    )  # fmt: skip
    scheduler = d.DDIMScheduler(beta_schedule="scaled_linear", clip_sample=False, set_alpha_to_one=False)
    return d.TextToVideoSDPipeline(image_vae(), clip_encoder(), clip_tokenizer(), unet, scheduler)


ROTARY = {"use_rotary_positional_embeddings": True}
TINY_MODELS = {
    model.name: model
    for model in (
        TinyModel("animatediff", "animatediff", animatediff, any_frames=True),
        TinyModel("modelscope", "text_to_video_sd", text_to_video_sd, any_frames=True),
        TinyModel("cogvideox-2b", "cogvideox", cogvideox, num_frames=9),
        TinyModel("cogvideox-5b", "cogvideox", lambda: cogvideox(**ROTARY), num_frames=9),
        TinyModel("cogvideox-1.5", "cogvideox", lambda: cogvideox(**ROTARY, patch_size_t=2), num_frames=9),
        TinyModel("hunyuan-video", "hunyuan_video", hunyuan_video, stock_guidance="true_cfg_scale"),
        TinyModel(
            "hunyuan-video-1.5",
            "hunyuan_video_15",
            hunyuan_video_15,
            stock_guidance="guider",
            beside_text=729 + 256,
            needs="HunyuanVideo15Pipeline",
        ),
        TinyModel("ltx-video", "ltx", ltx, num_frames=9, height=64, width=96),
        TinyModel("ltx-condition", "ltx", ltx_condition, num_frames=9, height=64, width=96, needs="LTXConditionPipeline"),
        TinyModel("mochi", "mochi", mochi, num_frames=7),
        TinyModel("wan-2.1", "wan", wan),
        TinyModel("wan-2.2-14b", "wan", lambda: wan(two_denoisers=True, boundary_ratio=0.875), steps=4),
        TinyModel("wan-2.2-5b", "wan", lambda: wan(expand_timesteps=True)),
    )
}
