"""A frozen denoiser spread over processes: each holds a part of every block, for models larger than one GPU's memory.

PyTorch's fully sharded data parallel (FSDP2): a block's weights come together just before it computes, and part again
afterwards. Erasers stay whole in every process. All processes must compute at the same time, and the same blocks.
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
    """Shard the denoisers of a model that was just loaded into host memory; the other parts go to the worker's device."""
    try:
        from torch.distributed.device_mesh import init_device_mesh
        from torch.distributed.fsdp import fully_shard
    except ImportError as error:
        raise UserError("Sharding needs torch 2.6 or newer; start without --use_fsdp, or update torch.") from error
    # What the weights hash to is asked for later, when no process has them all.
    hashed = family.base_hash
    mesh = init_device_mesh(workers.device.type, (workers.count,))
    warnings.filterwarnings("ignore", message="FSDP2-wrapped module .* returned a view tensor")
    denoisers = list(family.denoisers.values())
    for denoiser in denoisers:
        for blocks in denoiser.children():
            if isinstance(blocks, nn.ModuleList):
                for block in blocks:
                    fully_shard(block, mesh=mesh)
        fully_shard(denoiser, mesh=mesh)
    for part in family.pipeline.components.values():
        if isinstance(part, nn.Module) and part not in denoisers:
            part.to(workers.device)
    log.info("The denoiser (%s) is spread over %d processes; this one holds %d weights of it.", hashed[:12], workers.count,
             sum(map(held, denoisers)))  # fmt: skip
    return family.with_any_rank(workers.any)


def held(denoiser: nn.Module) -> int:
    """How many weights this process keeps while nothing computes."""
    from torch.distributed.tensor import DTensor

    parts = [p.to_local() if isinstance(p, DTensor) else p for p in denoiser.parameters()]
    return sum(part.numel() for part in parts)


def check_batches(recipe: VelocityRecipe, workers: Workers) -> None:
    """Raise UserError where a worker would have no points in a step: the others could not compute without it."""
    if workers.sharded and recipe.concept_batch < workers.count:
        raise UserError(
            f"With a sharded model each of the {workers.count} processes needs a point in every step: set concept_batch "
            f"to {workers.count} or more."
        )
