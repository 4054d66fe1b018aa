"""The T5 of miniature-ltx in the small number formats of text encoder files, as ComfyUI loads them."""

from __future__ import annotations

import json
from typing import Any

import comfy.utils
import torch
from comfy.sd1_clip import SDClipModel
from gguf_like import pack, packed, values_of
from t2vu_pack.nodes.native.miniature.ltx import TEXT_TOKENS
from t2vu_pack.nodes.native.miniature.text import SmallT5, t5_clip
from torch import Tensor

from t2vu_core.miniature.bundled import bundled_folder

FLOAT8 = torch.float8_e4m3fn


@torch.inference_mode()
def t5_in(how: str, tuned: float = 0.0) -> tuple[Any, Any]:
    """A CLIP in that format, and one in float32 with the same values, which are changed by the share `tuned`."""
    plain, clip = (t5_clip(bundled_folder("miniature-ltx"), torch.float32, length=TEXT_TOKENS, masks=True) for _ in range(2))
    weights = plain.cond_stage_model.t5xxl.transformer.state_dict()
    generator = torch.Generator().manual_seed(0)
    changed = {key: value * (1 + tuned * torch.randn(value.shape, generator=generator)) for key, value in weights.items()}
    file, values = _stored(changed, how)
    plain.cond_stage_model.load_sd(values)
    clip.cond_stage_model.load_sd(changed)
    if how == "fp8":
        clip.cond_stage_model.to(FLOAT8)
    elif how == "fp16":
        clip.cond_stage_model.half()
    elif how == "gguf":
        for name, layer in clip.cond_stage_model.t5xxl.transformer.named_modules():
            if _is_packed(f"{name}.weight", getattr(layer, "weight", None)):
                pack(layer)
    elif how == "fp8_scaled":
        clip.cond_stage_model.t5xxl = _scaled(file)
    return clip, plain


def _stored(weights: dict[str, Tensor], how: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The encoder as a file of that format, and the same values in float32."""
    file, values = dict(weights), dict(weights)
    for name, value in weights.items():
        if how == "fp8":
            file[name] = value.to(FLOAT8)
            values[name] = file[name].float()
        elif how == "fp16":
            values[name] = value.half().float()
        elif how == "gguf" and _is_packed(name, value):
            values[name] = values_of(packed(value)).reshape(value.shape)
        elif how == "fp8_scaled" and _is_packed(name, value):
            scale = value.abs().max() / 448
            file[name], file[name.replace(".weight", ".scale_weight")] = (value / scale).to(FLOAT8), scale
            values[name] = file[name].float() * scale
    return file, values


def _is_packed(name: str, value: Tensor | None) -> bool:
    """Whether small files hold a weight in a format with scales: the matrices of the blocks."""
    return value is not None and value.dim() == 2 and ".block." in name and "bias" not in name


def _scaled(file: dict[str, Tensor]) -> SDClipModel:
    file["scaled_fp8"] = torch.zeros(2, dtype=FLOAT8)
    if hasattr(comfy.utils, "convert_old_quants"):
        file, _ = comfy.utils.convert_old_quants(file)
        options = {"quantization_metadata": comfy.utils.detect_layer_quantization(file, "")}
    else:
        options = {"scaled_fp8": file.pop("scaled_fp8").dtype}
    config = json.loads((bundled_folder("miniature-ltx") / "text_encoder" / "config.json").read_text(encoding="utf-8"))
    encoder = SDClipModel(
        textmodel_json_config=config | {"dense_act_fn": "gelu_pytorch_tanh"}, dtype=torch.float32, model_class=SmallT5,
        special_tokens={"end": config["eos_token_id"], "pad": config["pad_token_id"]}, return_attention_masks=True,
        model_options=options,
    )  # fmt: skip
    missing, unexpected = encoder.load_sd(file)
    assert set(missing) <= {"scaled_fp8"}, missing
    assert not unexpected, unexpected
    return encoder
