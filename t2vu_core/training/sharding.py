"""Sharding the frozen denoiser over processes, for models larger than the memory of one GPU.

PyTorch's fully sharded data parallel (FSDP2): a block's weights are gathered just before it computes and freed
afterwards. Erasers stay whole in every process. All processes must compute the same blocks at the same time.
"""

from __future__ import annotations

import logging
import warnings

from torch import nn

from t2vu_core.errors import UserError
from t2vu_core.families.base import Family
from t2vu_core.recipes import VelocityRecipe
from t2vu_core.training.workers import Workers

log = logging.getLogger(__name__)


def shard_base(family: Family, workers: Workers) -> Family:
    """Shard the denoisers of a family that was just loaded into host memory, and move its other parts to the device.

    Returns the family to use from now on: it decides together with the other processes which denoiser computes. The
    modules themselves are changed in place, so the given family cannot be used any more.
    """
    try:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard
    except ImportError as error:
        raise UserError("Sharding needs torch 2.6 or newer; start without --use_fsdp, or update torch.") from error
    # Hash and sketch are needed later, when no process holds all weights: compute and cache them now.
    hashed = family.base_sketch.hash
    mesh = init_device_mesh(workers.device.type, (workers.count,))
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    denoisers = list(family.denoisers.values())
    for denoiser in denoisers:
        for blocks in denoiser.children():
            if isinstance(blocks, nn.ModuleList):
                for block in blocks:
                    fully_shard(block, mesh=mesh)
        fully_shard(denoiser, mesh=mesh)
    for part in family.components().values():
        if part not in denoisers:
            part.to(workers.device)
    log.info("The denoiser (%s) is sharded over %d processes; this one holds %d of its weights.", hashed[:12], workers.count,
             sum(map(held, denoisers)))  # fmt: skip
    return family.with_any_rank(workers.any)


def held(denoiser: nn.Module) -> int:
    """Number of weights that this process holds while nothing computes."""
    from torch.distributed.tensor import DTensor

    parts = [p.to_local() if isinstance(p, DTensor) else p for p in denoiser.parameters()]
    return sum(part.numel() for part in parts)


def check_batches(recipe: VelocityRecipe, workers: Workers) -> None:
    """Raise UserError if a process would have no points in a step: the others could not compute without it."""
    if workers.sharded and recipe.concept_batch < workers.count:
        raise UserError(
            f"With a sharded model each of the {workers.count} processes needs a point in every step: set concept_batch "
            f"to {workers.count} or more."
        )
