"""CLIPs of ComfyUI's own classes around tiny language models with random weights, and tiny MODELs that read them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import comfy.sd
import comfy.text_encoders.hunyuan_image as image
import comfy.text_encoders.hunyuan_video as video
import comfy.text_encoders.qwen_vl
import torch
from comfy.model_patcher import ModelPatcher
from comfy.supported_models_base import ClipTarget
from comfy_tiny import build

LAYERS = 5
"""The third layer from the end is read."""
SIZES = {"intermediate_size": 24, "num_hidden_layers": LAYERS, "num_attention_heads": 2, "num_key_value_heads": 1}
WIDTH = 16
# ComfyUI's tower for images has one size, and no text passes it.
comfy.text_encoders.qwen_vl.Qwen2VLVisionTransformer = partial(
    comfy.text_encoders.qwen_vl.Qwen2VLVisionTransformer, num_layers=1, intermediate_size=8
)


class SmallQwen(image.HunyuanImageTEModel):  # type: ignore[misc]
    """HunyuanVideo 1.5's text encoders: a small Qwen2.5-VL, and one layer of ByT5."""

    def __init__(self, device: Any = "cpu", dtype: Any = None, model_options: Any = None) -> None:
        super().__init__(byt5=False, device=device, dtype=dtype, model_options=model_options)
        small = {"_model_config": {"num_layers": 1, "d_ff": 8, "num_heads": 1}}
        self.byt5_small = image.ByT5SmallModel(device=device, dtype=dtype, model_options=small)


def has_tokenizer(family: str) -> bool:
    """Whether this ComfyUI's folder is complete: some copies of it lack Llama's large tokenizer file."""
    return family != "hunyuan_video" or (Path(video.__file__).parent / "llama_tokenizer" / "tokenizer.json").is_file()


@torch.inference_mode()
def clip_of(family: str, dtype: torch.dtype = torch.float32) -> Any:
    """The CLIP of a family, as Load CLIP makes it, with weights that keep the signal's size."""
    sizes = {**SIZES, "hidden_size": WIDTH}
    if family == "hunyuan_video":
        target = ClipTarget(video.HunyuanVideoTokenizer, video.HunyuanVideoClipModel)
        pooled = {"hidden_size": 16, "num_hidden_layers": 1, "intermediate_size": 16, "num_attention_heads": 2}
        options = {"llama_model_config": sizes, "clip_l_model_config": pooled}
    else:
        target, options = ClipTarget(video.HunyuanVideo15Tokenizer, SmallQwen), {"qwen25_7b_model_config": sizes}
    clip = comfy.sd.CLIP(target, model_options={"dtype": dtype, **options})
    randomise(clip.cond_stage_model)
    return clip


@torch.inference_mode()
def model_of(family: str) -> ModelPatcher:
    """A MODEL that reads that CLIP's embeddings."""
    changed: dict[str, Any] = {"context_in_dim": WIDTH, "in_channels": 65, "out_channels": 32}
    if family == "hunyuan_video":
        changed |= {"in_channels": 16, "out_channels": 16, "vec_in_dim": 16}
    model = build(family, **changed)
    randomise(model)
    return ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))


def randomise(network: torch.nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for name, parameter in network.named_parameters():
        if parameter.dim() < 2:
            value = torch.ones(parameter.shape) if name.endswith(("weight", "scale")) else torch.zeros(parameter.shape)
        else:
            fan_in = 1 if "embed" in name else parameter[0].numel()
            value = torch.randn(parameter.shape, generator=generator) / fan_in**0.5
        parameter.data = value.to(parameter.dtype)
