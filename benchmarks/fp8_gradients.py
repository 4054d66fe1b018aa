"""Whether the erasers' gradients survive a frozen base that is stored in 8 bits.

The same erasers on the same points against three bases: bf16; the same weights in fp8, cast layer by layer; and those rounded
weights in bf16, without casting. Against the last one only the casting differs, against the first one the rounding too.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from benchmarks.step_measures import CONCEPT, KEPT, Job
from benchmarks.step_shapes import shaped_model, store_in_fp8
from t2vu_core.erasers import BottleneckEraser, EraserSet, LoraEraser
from t2vu_core.families import Family
from t2vu_core.model import noise

SCALE = 0.02
"""Standard deviation of the erasers' last layers, which are zero in new erasers and would pass no gradient on."""


def measure_gradients(job: Job) -> dict[str, Any]:
    """Relative differences of the gradients at a shape."""
    device, name = torch.device(job.device), job.model.removeprefix("shape:")
    family = shaped_model(name, dtype=torch.bfloat16, device=device, tiny=job.tiny).family
    exact = gradient_of(family, job)
    store_in_fp8(family)
    stored = gradient_of(family, job)
    rounded = shaped_model(name, dtype=torch.bfloat16, device=device, tiny=job.tiny).family
    for part, denoiser in rounded.denoisers.items():
        denoiser.load_state_dict(family.denoisers[part].state_dict())
    return {
        "finite": bool(stored.isfinite().all()),
        "norm": float(stored.norm()),
        "difference_to_rounded_weights": difference(stored, gradient_of(rounded, job)),
        "difference_to_bf16": difference(stored, exact),
        "cosine_to_bf16": float(torch.cosine_similarity(stored, exact, dim=0)),
        "parameters": len(stored),
    }


def difference(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).norm() / wanted.norm())


def gradient_of(family: Family, job: Job) -> Tensor:
    """Of the erasers of a step with a point with the concept and one without it, all in one vector."""
    sites, size = family.sites_of_kind(job.kind), family.defaults.size
    erasers = EraserSet.create(sites, rank=job.rank, seed=0)
    generator = torch.Generator().manual_seed(0)
    for _, eraser in erasers.items():
        assert isinstance(eraser, BottleneckEraser | LoraEraser)
        last = eraser.up if isinstance(eraser, BottleneckEraser) else eraser.lora_B
        last.weight.data.normal_(0, SCALE, generator=generator)
    erasers.to(family.device)
    latents, condition = noise(family, size, range(2)), family.encode([CONCEPT, KEPT])
    timesteps = family.make_scheduler(4, size).timesteps[1].expand(2).to(family.device)
    with torch.enable_grad(), family.gradient_checkpointing(), erasers.attached(sites):
        with torch.autocast(family.device.type, torch.bfloat16):
            prediction = family.predict(latents, timesteps, condition, size)
        prediction.square().mean().backward()
    return torch.cat([parameter.grad.flatten() for parameter in erasers.parameters() if parameter.grad is not None])
