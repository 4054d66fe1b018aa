"""ComfyUI's own denoisers at tiny size with random weights; imported inside ComfyUI's folder, after its options are parsed."""

from __future__ import annotations

import dataclasses
from typing import Any

import comfy.supported_models
import torch
from comfy.ldm.hunyuan_video.model import HunyuanVideoParams

MODELS: dict[str, tuple[str, dict[str, Any]]] = {
    "wan": ("WAN21_T2V", {
        "image_model": "wan2.1", "model_type": "t2v", "dim": 24, "ffn_dim": 32, "num_heads": 2, "num_layers": 2,
        "in_dim": 16, "out_dim": 16, "text_dim": 32, "patch_size": (1, 2, 2), "freq_dim": 32,
        "window_size": (-1, -1), "qk_norm": True, "cross_attn_norm": True, "eps": 1e-6,
    }),
    "ltx": ("LTXV", {
        "image_model": "ltxv", "num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 16,
        "cross_attention_dim": 32, "caption_channels": 32, "in_channels": 8,
    }),
    "hunyuan_video": ("HunyuanVideo", {
        "image_model": "hunyuan_video", "in_channels": 4, "out_channels": 4, "patch_size": [1, 2, 2],
        "vec_in_dim": 8, "axes_dim": [4, 6, 6], "context_in_dim": 16, "hidden_size": 32, "mlp_ratio": 4.0,
        "num_heads": 2, "depth": 1, "depth_single_blocks": 2, "theta": 256, "qkv_bias": True, "guidance_embed": True,
        "byt5": False, "meanflow": False, "use_cond_type_embedding": False, "vision_in_dim": None,
    }),
    "hunyuan_video_15": ("HunyuanVideo15", {
        "image_model": "hunyuan_video", "in_channels": 9, "out_channels": 4, "patch_size": [1, 1, 1],
        "vec_in_dim": None, "axes_dim": [4, 6, 6], "context_in_dim": 16, "hidden_size": 32, "mlp_ratio": 4.0,
        "num_heads": 2, "depth": 2, "depth_single_blocks": 0, "theta": 256, "qkv_bias": True, "guidance_embed": False,
        "byt5": True, "meanflow": False, "use_cond_type_embedding": True, "vision_in_dim": 8,
    }),
    "mochi": ("GenmoMochi", {
        "image_model": "mochi_preview", "depth": 2, "patch_size": 2, "num_heads": 2, "hidden_size_x": 32,
        "hidden_size_y": 16, "mlp_ratio_x": 384.0, "mlp_ratio_y": 4.0, "learn_sigma": False, "in_channels": 12,
        "qk_norm": True, "qkv_bias": False, "out_bias": True, "attn_drop": 0.0, "patch_embed_bias": True,
        "posenc_preserve_area": True, "timestep_mlp_bias": True, "attend_to_padding": False,
        "timestep_scale": 1000.0, "use_t5": True, "t5_feat_dim": 32, "t5_token_length": 256, "rope_theta": 10000.0,
    }),
    "cogvideox": ("CogVideoX_T2V", {
        "image_model": "cogvideox", "num_attention_heads": 2, "attention_head_dim": 16, "time_embed_dim": 8,
        "num_layers": 2, "in_channels": 4, "out_channels": 4, "patch_size": 2, "text_embed_dim": 32,
        "use_learned_positional_embeddings": False, "use_rotary_positional_embeddings": True,
    }),
}  # fmt: skip
"""By the name of the family with the same weights."""
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "cosmos_predict2": ("CosmosT2IPredict2", {
        "image_model": "cosmos_predict2", "in_channels": 16, "out_channels": 16, "patch_spatial": 2, "patch_temporal": 1,
        "model_channels": 64, "num_blocks": 2, "num_heads": 1, "crossattn_emb_channels": 32, "use_adaln_lora": True,
        "adaln_lora_dim": 8, "pos_emb_cls": "rope3d", "pos_emb_learnable": True, "max_img_h": 240, "max_img_w": 240,
        "max_frames": 128, "rope_enable_fps_modulation": False,
    }),
    "kandinsky5": ("Kandinsky5", {
        "image_model": "kandinsky5", "in_text_dim": 32, "time_dim": 16, "model_dim": 64, "ff_dim": 64, "num_text_blocks": 1,
        "num_visual_blocks": 2,
    }),
    "ltx_2": ("LTXAV", {
        "image_model": "ltxav", "num_layers": 2, "num_attention_heads": 2, "attention_head_dim": 16,
        "cross_attention_dim": 32, "audio_num_attention_heads": 2, "audio_attention_head_dim": 16,
        "audio_cross_attention_dim": 32, "caption_channels": 32, "caption_proj_before_connector": True,
        "connector_attention_head_dim": 16, "connector_num_attention_heads": 2, "connector_num_layers": 1,
    }),
}  # fmt: skip
"""Models that no family has."""


def _switched_off(settings: dict[str, Any]) -> dict[str, Any]:
    """What newer versions of ComfyUI can do in HunyuanVideo and have no default for."""
    if settings["image_model"] != "hunyuan_video":
        return {}
    return {part.name: False for part in dataclasses.fields(HunyuanVideoParams) if part.default is dataclasses.MISSING}


def build(family: str, **changed: Any) -> Any:
    """The model with other settings where `changed` says so; None if this ComfyUI has no such class."""
    class_name, settings = (MODELS | OTHERS)[family]
    kind = getattr(comfy.supported_models, class_name, None)
    if kind is None:
        return None
    config = kind({**_switched_off(settings), **settings, **changed})
    config.custom_operations = None
    config.set_inference_dtype(torch.float32, None)
    model = config.get_model({}, "", device=torch.device("cpu"))
    torch.manual_seed(0)
    for parameter in model.parameters():
        parameter.data = torch.randn(parameter.shape)
    return model
