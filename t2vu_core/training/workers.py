"""The processes that train one erasure together (`accelerate launch`): who does what, and how they agree.

Every worker draws the same random numbers, computes its share of the rows, and adds up gradients with the
others: the steps are those of one process, within rounding.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from t2vu_core.training.velocity.trajectories import Trajectories

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workers:
    """This process among `count` that train together. One alone is the usual case, and costs nothing."""

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    sharded: bool = False
    """Whether the frozen denoiser is spread over them (`accelerate launch --use_fsdp`): then all compute in step."""

    @classmethod
    def join(cls, device: str | None = None) -> Workers:
        """Find the other processes of an `accelerate launch` (or `torchrun`), if there are any."""
        on_cpu = os.environ.get("ACCELERATE_USE_CPU", "false").lower() == "true" or not torch.cuda.is_available()
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            if "ACCELERATE_USE_CPU" in os.environ and "MASTER_ADDR" in os.environ:
                log.warning("accelerate launch --cpu starts one process; say --multi_gpu for several, on CPUs too.")
            return cls()
        from accelerate import PartialState

        return cls._of(PartialState(cpu=on_cpu or device == "cpu"))

    @classmethod
    def current(cls) -> Workers:
        """Those that were joined; this process alone otherwise."""
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return cls()
        from accelerate import PartialState

        return cls._of(PartialState(cpu=torch.distributed.get_backend() == "gloo"))

    @staticmethod
    def leave() -> None:
        """Wait for the others, then close what connects them: its threads may abort a process that just ends."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.barrier()
            torch.distributed.destroy_process_group()

    @classmethod
    def _of(cls, state: Any) -> Workers:
        sharded = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true" and state.num_processes > 1
        return cls(state.process_index, state.num_processes, state.device, sharded)

    @property
    def first(self) -> bool:
        """Whether this one speaks and writes for all."""
        return self.rank == 0

    def rows(self, count: int) -> slice:
        """This worker's rows of a batch of `count`."""
        return slice(self.rank * count // self.count, (self.rank + 1) * count // self.count)

    def total(self, values: Tensor) -> Tensor:
        """The sum over all workers."""
        if self.count == 1:
            return values
        from accelerate.utils import reduce

        summed: Tensor = reduce(values.to(self.device, copy=True), "sum")
        return summed.to(values.device)

    def add_up_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give every worker the sum of all workers' gradients."""
        if self.count == 1:
            return
        parameters = list(parameters)
        flat = torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in parameters])
        for parameter, part in zip(parameters, self.total(flat).split([p.numel() for p in parameters]), strict=True):
            parameter.grad = part.view_as(parameter).clone()

    def any(self, own: bool) -> bool:
        """Whether any worker says so."""
        return bool(self.total(torch.tensor(float(own))) > 0)

    def hand_round(self, part: Trajectories | None, owner: int) -> Trajectories:
        """The trajectories that `owner` has, at every worker."""
        from t2vu_core.training.velocity.trajectories import Trajectories

        if self.count == 1:
            assert part is not None
            return part
        tensors = part.tensors() if part is not None else {}
        layout = {name: [list(value.shape), str(value.dtype).removeprefix("torch.")] for name, value in tensors.items()}
        said = torch.tensor(list(json.dumps(layout).encode()), dtype=torch.uint8)
        length = self._from(owner, torch.tensor([len(said)]))
        said = self._from(owner, said if part is not None else torch.empty(int(length), dtype=torch.uint8))
        for name, (shape, dtype) in json.loads(bytes(said.tolist())).items():
            own = tensors.get(name)
            tensors[name] = self._from(owner, torch.empty(shape, dtype=getattr(torch, dtype)) if own is None else own)
        return part if part is not None else Trajectories.from_tensors(tensors)

    def _from(self, owner: int, tensor: Tensor) -> Tensor:
        """The owner's values; sent as bytes, because not every backend knows every type."""
        from accelerate.utils import broadcast

        raw = broadcast(tensor.contiguous().view(-1).view(torch.uint8).to(self.device, copy=True), owner)
        return raw.to(tensor.device).view(tensor.dtype).view(tensor.shape)
