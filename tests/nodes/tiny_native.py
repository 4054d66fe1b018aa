"""Run inside ComfyUI's folder: `python tiny_native.py FILE` writes a tiny Wan in ComfyUI's own format, random weights."""

from __future__ import annotations

import os
import sys

target = sys.argv[1]
sys.path.insert(0, os.getcwd())
sys.argv = [sys.argv[0], "--cpu"]
import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()
import comfy.ldm.wan.model  # noqa: E402
import comfy.ops  # noqa: E402
import torch  # noqa: E402
from safetensors.torch import save_file  # noqa: E402

torch.manual_seed(0)
model = comfy.ldm.wan.model.WanModel(
    model_type="t2v", dim=128, ffn_dim=256, num_heads=1, num_layers=2, operations=comfy.ops.disable_weight_init,
    dtype=torch.float32, device="cpu",
)  # fmt: skip
save_file({name: torch.randn(value.shape) * 0.05 for name, value in model.state_dict().items()}, target)
