"""Tiny denoisers with the same weights in diffusers and as ComfyUI's files, and KSampler's loop over the former."""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import diffusers
import torch
from safetensors.torch import save_file
from torch import Tensor

from t2vu_core.erasers import EraserSet
from t2vu_core.families.base import Family
from t2vu_core.families.clip_size import ClipSize
from t2vu_core.families.hunyuan_video import HunyuanVideo
from t2vu_core.families.ltx import LTX
from t2vu_core.families.text_condition import TextCondition
from t2vu_core.families.wan import Wan
from t2vu_core.miniature.native_files import native_transformer

GUIDANCE = 3.0
_WAN = (
    ("condition_embedder.text_embedder.linear_1.", "text_embedding.0."),
    ("condition_embedder.text_embedder.linear_2.", "text_embedding.2."),
    ("condition_embedder.time_embedder.linear_1.", "time_embedding.0."),
    ("condition_embedder.time_embedder.linear_2.", "time_embedding.2."),
    ("condition_embedder.time_proj.", "time_projection.1."), (".attn1.", ".self_attn."), (".attn2.", ".cross_attn."),
    (".to_out.0.", ".o."), (".to_", "."), (".norm2.", ".norm3."), (".ffn.net.0.proj.", ".ffn.0."), (".ffn.net.2.", ".ffn.2."),
    ("proj_out.", "head.head."), (".scale_shift_table", ".modulation"), ("scale_shift_table", "head.modulation"),
)  # fmt: skip
_REFINER = "context_embedder.time_text_embed"
_HUNYUAN = (
    ("x_embedder.", "img_in."), ("context_embedder.proj_in", "txt_in.input_embedder"),
    (f"{_REFINER}.timestep_embedder.linear_1", "txt_in.t_embedder.in_layer"),
    (f"{_REFINER}.timestep_embedder.linear_2", "txt_in.t_embedder.out_layer"),
    (f"{_REFINER}.text_embedder.linear_1", "txt_in.c_embedder.in_layer"),
    (f"{_REFINER}.text_embedder.linear_2", "txt_in.c_embedder.out_layer"),
    ("context_embedder.token_refiner.refiner_blocks.", "txt_in.individual_token_refiner.blocks."),
    ("time_text_embed.timestep_embedder.linear_1", "time_in.in_layer"),
    ("time_text_embed.timestep_embedder.linear_2", "time_in.out_layer"),
    ("time_text_embed.text_embedder.linear_1", "vector_in.in_layer"),
    ("time_text_embed.text_embedder.linear_2", "vector_in.out_layer"),
    ("time_text_embed.guidance_embedder.linear_1", "guidance_in.in_layer"),
    ("time_text_embed.guidance_embedder.linear_2", "guidance_in.out_layer"),
    ("proj_out", "linear2"), ("single_transformer_blocks.", "single_blocks."), ("transformer_blocks.", "double_blocks."),
    (".norm1_context.linear", ".txt_mod.lin"), (".norm1.linear", ".img_mod.lin"), (".norm.linear", ".modulation.lin"),
    (".norm_out.linear", ".adaLN_modulation.1"), (".ff_context.net.0.proj", ".txt_mlp.0"), (".ff_context.net.2", ".txt_mlp.2"),
    (".attn.to_add_out", ".txt_attn.proj"), (".attn.norm_added_q.weight", ".txt_attn.norm.query_norm.scale"),
    (".attn.norm_added_k.weight", ".txt_attn.norm.key_norm.scale"), (".attn.add_qkv", ".txt_attn.qkv"),
)  # fmt: skip
_IN_REFINER = (
    (".attn.qkv", ".self_attn.qkv"), (".attn.to_out.0", ".self_attn.proj"), (".ff.net.0.proj", ".mlp.0"),
    (".ff.net.2", ".mlp.2"),
)  # fmt: skip
_IN_SINGLE = (
    (".attn.qkv", ".linear1"), (".attn.norm_q.weight", ".norm.query_norm.scale"),
    (".attn.norm_k.weight", ".norm.key_norm.scale"),
)  # fmt: skip
_IN_DOUBLE = (
    (".attn.qkv", ".img_attn.qkv"), (".attn.to_out.0", ".img_attn.proj"), (".ff.net.0.proj", ".img_mlp.0"),
    (".attn.norm_q.weight", ".img_attn.norm.query_norm.scale"), (".attn.norm_k.weight", ".img_attn.norm.key_norm.scale"),
    (".ff.net.2", ".img_mlp.2"),
)  # fmt: skip


def _renamed(name: str, pairs: tuple[tuple[str, str], ...]) -> str:
    for theirs, own in pairs:
        name = name.replace(theirs, own)
    return name


def _fused(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """HunyuanVideo's tensors, its projections joined as ComfyUI has them."""
    fused = {}
    for name, tensor in state.items():
        if ".attn.to_q" in name:
            parts = [state[name.replace("to_q", f"to_{letter}")] for letter in "qkv"]
            if name.startswith("single"):
                parts.append(state[name.replace("attn.to_q", "proj_mlp")])
            fused[name.replace("to_q", "qkv")] = torch.cat(parts)
        elif ".attn.add_q_proj" in name:
            fused[name.replace("add_q_proj", "add_qkv")] = torch.cat([state[name.replace("add_q", f"add_{x}")] for x in "qkv"])
        elif name.startswith("norm_out"):  # scale and shift are the other way round
            fused[name.replace("norm_out.linear", "final_layer.adaLN_modulation.1")] = torch.cat(tensor.chunk(2)[::-1])
        elif name.startswith("proj_out"):
            fused[name.replace("proj_out", "final_layer.linear")] = tensor
        elif not any(part in name for part in (".attn.to_k", ".attn.to_v", ".attn.add_k", ".attn.add_v", "proj_mlp")):
            fused[name] = tensor
    return fused


def _hunyuan_name(name: str) -> str:
    single = name.startswith("single")
    name = _renamed(name, _HUNYUAN)
    return _renamed(name, _IN_REFINER if name.startswith("txt_in") else _IN_SINGLE if single else _IN_DOUBLE)


@dataclass(frozen=True)
class Twin:
    """A family over the diffusers model, and what the pass needs."""

    family: Family
    file: tuple[dict[str, Tensor], dict[str, str]]
    """As ComfyUI's file: tensors and metadata."""
    size: ClipSize
    given: dict[str, Tensor]
    """noise (B, ...), text and empty (1, S, D), mask (1, S) and pooled (1, D) where the model takes them."""

    def condition(self, which: str) -> TextCondition:
        return TextCondition(self.given[which], self.given.get("mask"), self.given.get("pooled"))

    @torch.no_grad()
    def sample(self, sigmas: Tensor, attached: Callable[[int], Any] = lambda step: contextlib.nullcontext()) -> Tensor:
        """KSampler's euler with guidance; `attached(step)` is what is on in each step."""
        x, count = self.given["noise"] * sigmas[0], len(self.given["noise"])
        for step, (sigma, following) in enumerate(itertools.pairwise(sigmas)):
            with attached(step):
                text, empty = (
                    self.family.predict(x, (sigma * 1000).expand(count), self.condition(which).expand(count), self.size)
                    for which in ("text", "empty")
                )
            x = x + (following - sigma) * (empty + GUIDANCE * (text - empty))
        return x

    def attached(self, tensors: Mapping[str, Tensor], strength: float = 1.0) -> Any:
        erasers = EraserSet.from_tensors(tensors)
        return erasers.attached(erasers.fit(self.family.sites()), strength=strength)

    def eraser(self, kind: str, seed: int = 3) -> dict[str, Tensor]:
        """A random eraser with an effect that cannot be overlooked."""
        sites = self.family.sites_of_kind(kind)
        generator = torch.Generator().manual_seed(seed)
        shapes = EraserSet.create(sites, rank=4, seed=0).named_tensors()
        return {name: torch.randn(value.shape, generator=generator) * 0.15 for name, value in shapes.items()}

    def write(self, path: Path) -> None:
        tensors, metadata = self.file
        save_file(tensors, path, metadata=metadata)


def wan(change: Callable[[Tensor], Tensor] | None = None) -> Twin:
    """`change` is applied to the weights, except those that ComfyUI always keeps in float32: rounding, for example."""
    torch.manual_seed(0)
    transformer = diffusers.WanTransformer3DModel(
        num_attention_heads=1, attention_head_dim=128, in_channels=16, out_channels=16, text_dim=4096, freq_dim=256,
        ffn_dim=256, num_layers=2, qk_norm="rms_norm_across_heads", cross_attn_norm=True,
    ).eval()  # fmt: skip
    for name, parameter in transformer.named_parameters():
        if change is not None and not name.startswith("patch_embedding"):
            parameter.data = change(parameter.data)
    tensors = {_renamed(name, _WAN): tensor.contiguous() for name, tensor in transformer.state_dict().items()}
    pipeline: Any = SimpleNamespace(
        transformer=transformer, transformer_2=None, config=SimpleNamespace(boundary_ratio=None, expand_timesteps=False),
        vae_scale_factor_spatial=8, vae_scale_factor_temporal=4,
    )  # fmt: skip
    # Prompts of such different length are computed in passes of their own; the others share one.
    given = {"noise": torch.randn(2, 16, 3, 8, 12), "text": torch.randn(1, 16, 4096), "empty": torch.randn(1, 7, 4096)}
    return Twin(Wan(pipeline), (tensors, {}), ClipSize(9, 64, 96), given)


def ltx() -> Twin:
    torch.manual_seed(1)
    transformer = diffusers.LTXVideoTransformer3DModel(
        in_channels=128, out_channels=128, num_attention_heads=2, attention_head_dim=64, cross_attention_dim=128, num_layers=2,
        caption_channels=64,
    ).eval()  # fmt: skip

    class Pipeline:
        vae_spatial_compression_ratio, vae_temporal_compression_ratio = 32, 8
        transformer_spatial_patch_size, transformer_temporal_patch_size = 1, 1
        _pack_latents = staticmethod(diffusers.LTXPipeline._pack_latents)
        _unpack_latents = staticmethod(diffusers.LTXPipeline._unpack_latents)

    pipeline: Any = Pipeline()
    pipeline.transformer = transformer
    given = {"noise": torch.randn(1, 128, 3, 3, 4), "text": torch.randn(1, 16, 64), "empty": torch.randn(1, 16, 64)}
    given["mask"] = torch.ones(1, 16, dtype=torch.long)
    file = native_transformer(transformer.state_dict(), transformer.config, (8, 32, 32))
    return Twin(LTX(pipeline), file, ClipSize(17, 96, 128), given)


def hunyuan_video() -> Twin:
    torch.manual_seed(2)
    transformer = diffusers.HunyuanVideoTransformer3DModel(
        in_channels=16, out_channels=16, num_attention_heads=2, attention_head_dim=128, num_layers=1, num_single_layers=2,
        num_refiner_layers=2, mlp_ratio=4.0, patch_size=2, patch_size_t=1, qk_norm="rms_norm", guidance_embeds=True,
        text_embed_dim=64, pooled_projection_dim=768, rope_theta=256.0, rope_axes_dim=(16, 56, 56),
    ).eval()  # fmt: skip
    for parameter in transformer.parameters():
        parameter.data.mul_(2.0)
    tensors = {_hunyuan_name(name): tensor.contiguous() for name, tensor in _fused(transformer.state_dict()).items()}
    pipeline: Any = SimpleNamespace(transformer=transformer, vae_scale_factor_spatial=8, vae_scale_factor_temporal=4)
    given = {"noise": torch.randn(1, 16, 3, 8, 12), "text": torch.randn(1, 16, 64), "empty": torch.randn(1, 16, 64)}
    given |= {"mask": torch.ones(1, 16, dtype=torch.long), "pooled": torch.randn(1, 768)}
    return Twin(HunyuanVideo(pipeline), (tensors, {}), ClipSize(9, 64, 96), given)


TWINS: dict[str, Callable[[], Twin]] = {"wan": wan, "ltx": ltx, "hunyuan_video": hunyuan_video}
