"""The tiny Wan in small number formats, as ComfyUI and other packs store and compute them."""

from __future__ import annotations

from typing import Any

import comfy.ops
import comfy.sd
import torch
from gguf_like import pack
from native_models import folder, load
from safetensors.torch import load_file
from torch import Tensor

FLOAT8 = torch.float8_e4m3fn


def scaled_fp8() -> Any:
    """Wan's matrices in fp8 with a scale each, as repackaged files have them."""
    stored = {}
    for name, tensor in load_file(folder / "wan.safetensors").items():
        if tensor.ndim == 2 and "blocks" in name:
            scale = tensor.abs().max() / 448
            stored[name], stored[name.replace(".weight", ".scale_weight")] = (tensor / scale).to(torch.float8_e4m3fn), scale
        else:
            stored[name] = tensor
    stored["scaled_fp8"] = torch.zeros(2, dtype=torch.float8_e4m3fn)
    with torch.inference_mode():
        return comfy.sd.load_diffusion_model_state_dict(stored)


def blocks() -> Any:
    """Wan's cross-attentions as Q8_0."""
    model = load("wan")
    for block in model.model.diffusion_model.blocks:
        for layer in (block.cross_attn.q, block.cross_attn.k, block.cross_attn.v, block.cross_attn.o):
            pack(layer)
    return model


class Packed(comfy.ops.manual_cast):  # type: ignore[misc]
    """What ComfyUI-GGUF's layers do: int8 blocks with scales, unpacked whenever the layer computes."""

    class Linear(comfy.ops.manual_cast.Linear):  # type: ignore[misc]
        def _load_from_state_dict(self, state: Any, prefix: str, *rest: Any) -> None:
            weight = state.pop(f"{prefix}weight").float()
            self.scales = weight.abs().amax(1, keepdim=True).clamp_min(1e-9) / 127
            self.weight = torch.nn.Parameter((weight / self.scales).round().to(torch.int8), requires_grad=False)
            if f"{prefix}bias" in state:
                self.bias = torch.nn.Parameter(state.pop(f"{prefix}bias"), requires_grad=False)

        def cast_bias_weight(self, like: Tensor) -> tuple[Tensor, Tensor | None]:
            bias = None if self.bias is None else self.bias.to(like.dtype)
            return self.weight.to(like.dtype) * self.scales.to(like), bias

        def forward_comfy_cast_weights(self, hidden: Tensor) -> Tensor:
            return torch.nn.functional.linear(hidden, *self.cast_bias_weight(hidden))


def stored(how: str) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """The tiny Wan as a file of that precision, and the same values in float32."""
    file, plain = {}, {}
    for name, value in load_file(folder / "wan.safetensors").items():
        file[name] = plain[name] = value
        if how == "fp8_scaled" and value.dim() == 2:
            scale = value.abs().max() / 448
            file[name], file[name.replace(".weight", ".scale_weight")] = (value / scale).to(FLOAT8), scale
            plain[name] = file[name].float() * scale
        elif how in ("fp8", "fp8_scaled") and not name.startswith("patch_embedding"):
            # ComfyUI keeps that layer in float32.
            file[name] = value.to(FLOAT8)
            plain[name] = file[name].float()
        elif how == "bf16":
            file[name] = value.bfloat16()
            plain[name] = file[name].float()
        elif how == "packed" and value.dim() == 2:
            scale = value.abs().amax(1, keepdim=True).clamp_min(1e-9) / 127
            plain[name] = (value / scale).round() * scale
    if how == "fp8_scaled":
        file["scaled_fp8"] = torch.zeros(2, dtype=FLOAT8)
    return file, plain


OPTIONS: dict[str, dict[str, Any]] = {
    "fp8": {"dtype": FLOAT8}, "fp8_scaled": {}, "bf16": {"dtype": torch.bfloat16}, "packed": {"custom_operations": Packed},
}  # fmt: skip
