"""Run inside ComfyUI's folder: `python native_in_process.py FOLDER` samples ComfyUI's own tiny models with erasers.

Reads FOLDER/<family>.safetensors (a model in ComfyUI's format), given.safetensors (noise, conditions) and the erasers,
and writes what KSampler makes of them, as latents inside the model, to FOLDER/found.safetensors and found.json.
"""

from __future__ import annotations

import copy
from typing import Any

from in_comfyui import folder

# isort: split
import torch
from native_bases import every_architecture, identity, known_again, merging, trained_on_rounded_weights
from native_ksampler import erased, sample
from native_models import found, keep, load, said, write
from native_passes import caches, compiled, every_pass, on_a_copy, start_image, with_others
from safetensors.torch import load_file


def both_kinds(family: str) -> None:
    model = load(family)
    weights = copy.deepcopy(model.model.state_dict())
    # Newer versions of ComfyUI rename HunyuanVideo's norms.
    file = {name.replace("_norm.scale", "_norm.weight") for name in load_file(folder / f"{family}.safetensors")}
    missing = {name.replace("_norm.scale", "_norm.weight") for name in model.model.diffusion_model.state_dict()} - file
    assert not missing, sorted(missing)
    plain = sample(model, family)
    keep(f"{family}.plain", plain)
    for kind in ("bottleneck", "lora"):
        keep(f"{family}.{kind}", sample(erased(model, kind), family))
        said[f"{family}.{kind} off"] = torch.equal(sample(erased(model, kind, 0.0), family), plain)
    said[f"{family} again"] = torch.equal(sample(model, family), plain)
    after = model.model.state_dict()
    said[f"{family} weights"] = all(torch.equal(after[name], value) for name, value in weights.items())
    said[f"{family} hooks"] = sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.model.modules())


def parts_of_the_sampling(model: Any) -> None:
    keep("wan.late", sample(erased(model, "bottleneck", start_at=0.5), "wan"))
    halves = erased(erased(model, "bottleneck", end_at=0.5), "bottleneck", start_at=0.5)
    said["halves"] = torch.equal(sample(halves, "wan"), found["wan.bottleneck"])


def low_precision() -> None:
    for dtype in (torch.float8_e4m3fn, torch.bfloat16):
        model, name = load("wan", dtype=dtype), str(dtype).removeprefix("torch.")
        said[f"{name} computes in"] = str(model.model.manual_cast_dtype or model.model.get_dtype())
        keep(f"wan.{name}", sample(model, "wan"))
        for kind in ("bottleneck", "lora"):
            keep(f"wan.{name}.{kind}", sample(erased(model, kind), "wan"))
        said[f"{name} again"] = torch.equal(sample(model, "wan"), found[f"wan.{name}"])


every_architecture()
known_again()
for family in ("wan", "ltx", "hunyuan_video"):
    both_kinds(family)
    identity(family)
wan = load("wan")
parts_of_the_sampling(wan)
with_others(wan)
every_pass(wan)
start_image()
caches(wan)
on_a_copy(wan)
merging()
trained_on_rounded_weights()
low_precision()
compiled(wan)
write()
