"""The processes that train one erasure together (`accelerate launch`): how they divide the work, and how they agree.

Every process draws the same random numbers, computes its share of the rows, and sums its gradients with the others:
the steps are those of a single process, within rounding.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Workers:
    """This process, of rank `rank` among `count`. A single process is the usual case and has no overhead."""

    rank: int = 0
    count: int = 1
    device: torch.device = field(default_factory=lambda: torch.device("cpu"))
    sharded: bool = False
    """Whether the frozen denoiser is sharded (`accelerate launch --use_fsdp`): then all processes compute together."""

    @classmethod
    def join(cls, device: str | None = None) -> Workers:
        """Find the other processes of an `accelerate launch` (or `torchrun`), if there are any."""
        on_cpu = os.environ.get("ACCELERATE_USE_CPU", "false").lower() == "true" or not torch.cuda.is_available()
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            if "ACCELERATE_USE_CPU" in os.environ and "MASTER_ADDR" in os.environ:
                log.warning("accelerate launch --cpu starts one process; pass --multi_gpu to start several, on CPUs too.")
            return cls()
        from accelerate import PartialState

        return cls._of(PartialState(cpu=on_cpu or device == "cpu"))

    @classmethod
    def current(cls) -> Workers:
        """The processes that were joined; otherwise this process alone."""
        if not (torch.distributed.is_available() and torch.distributed.is_initialized()):
            return cls()
        from accelerate import PartialState

        return cls._of(PartialState(cpu=torch.distributed.get_backend() == "gloo"))

    @staticmethod
    def leave() -> None:
        """Wait for the others, then close the process group: its threads may abort a process that exits without that."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.barrier()
            torch.distributed.destroy_process_group()

    @classmethod
    def _of(cls, state: Any) -> Workers:
        sharded = os.environ.get("ACCELERATE_USE_FSDP", "false").lower() == "true" and state.num_processes > 1
        return cls(state.process_index, state.num_processes, state.device, sharded)

    @property
    def first(self) -> bool:
        """Whether this process logs and writes files for all."""
        return self.rank == 0

    def rows(self, count: int) -> slice:
        """This process's rows of a batch of `count`."""
        return slice(self.rank * count // self.count, (self.rank + 1) * count // self.count)

    def total(self, values: Tensor) -> Tensor:
        """The sum over all processes."""
        if self.count == 1:
            return values
        from accelerate.utils import reduce

        summed: Tensor = reduce(values.to(self.device, copy=True), "sum")
        return summed.to(values.device)

    def add_up_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Give every process the sum of all gradients."""
        if self.count == 1:
            return
        parameters = list(parameters)
        flat = torch.cat([torch.zeros_like(p).flatten() if p.grad is None else p.grad.flatten() for p in parameters])
        for parameter, part in zip(parameters, self.total(flat).split([p.numel() for p in parameters]), strict=True):
            parameter.grad = part.view_as(parameter).clone()

    def any(self, own: bool) -> bool:
        """Logical OR over all processes."""
        return bool(self.total(torch.tensor(float(own))) > 0)

    def hand_round(self, tensors: Mapping[str, Tensor] | None, owner: int) -> dict[str, Tensor]:
        """The tensors of the process `owner`, at every process; the others pass None."""
        if self.count == 1:
            assert tensors is not None
            return dict(tensors)
        own = dict(tensors or {})
        layout = {name: [list(value.shape), str(value.dtype).removeprefix("torch.")] for name, value in own.items()}
        encoded = torch.tensor(list(json.dumps(layout).encode()), dtype=torch.uint8)
        length = self._from(owner, torch.tensor([len(encoded)]))
        encoded = self._from(owner, encoded if tensors is not None else torch.empty(int(length), dtype=torch.uint8))
        received = {}
        for name, (shape, dtype) in json.loads(bytes(encoded.tolist())).items():
            value = own.get(name)
            received[name] = self._from(owner, torch.empty(shape, dtype=getattr(torch, dtype)) if value is None else value)
        return received if tensors is None else own

    def _from(self, owner: int, tensor: Tensor) -> Tensor:
        """The owner's values; sent as bytes, because not every backend supports every dtype."""
        from accelerate.utils import broadcast

        raw = broadcast(tensor.contiguous().view(-1).view(torch.uint8).to(self.device, copy=True), owner)
        return raw.to(tensor.device).view(tensor.dtype).view(tensor.shape)
