"""Run inside ComfyUI's folder: apply LoRA files to ComfyUI's own tiny models, as its Load LoRA does.

`python comfy_merge.py JOBS.json` reads [{"family", "lora", "strength", "out"}] and writes, for every job, the
model's weights before and after to `out`, and to standard output as JSON the keys that nothing took.
A family that this ComfyUI does not have is answered by null.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

jobs_file = sys.argv[1]
sys.path.insert(0, os.getcwd())
sys.argv = [sys.argv[0], "--cpu"]
import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()
import comfy.lora  # noqa: E402
import comfy.lora_convert  # noqa: E402
import comfy.model_patcher  # noqa: E402
import torch  # noqa: E402
from comfy_tiny import build  # noqa: E402
from leftovers import leftovers  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402


def merge(job: dict[str, Any]) -> list[str] | None:
    model = build(job["family"])
    if model is None:
        return None
    before = {f"before.{key}": tensor.clone() for key, tensor in model.diffusion_model.state_dict().items()}
    names = comfy.lora.model_lora_keys_unet(model, {})
    with leftovers() as left:
        patches = comfy.lora.load_lora(comfy.lora_convert.convert_lora(load_file(job["lora"])), names)
    patcher = comfy.model_patcher.ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))
    taken = patcher.add_patches(patches, job["strength"])
    patcher.patch_model(torch.device("cpu"))
    after = {f"after.{key}": tensor.clone() for key, tensor in model.diffusion_model.state_dict().items()}
    save_file({**before, **after}, job["out"])
    return left + [str(key) for key in patches if key not in taken]


with open(jobs_file, encoding="utf-8") as file:
    jobs = json.load(file)
with torch.no_grad():
    sys.stdout.write("\n" + json.dumps({job["family"]: merge(job) for job in jobs}))
