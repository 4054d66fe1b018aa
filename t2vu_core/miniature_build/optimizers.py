"""Muon for everything that is a matrix, convolutions too; AdamW for the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn


class Optimizers:
    """Muon on the chosen weights, AdamW on the others, as one.

    A convolution's kernel is a matrix too, from all that it sees at a place to its output channels: Muon is
    given a flat view of it that shares its memory.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        groups: Sequence[dict[str, object]],
        *,
        muon_rate: float = 1e-2,
    ) -> None:
        self.weights = list(matrices)
        self.flat = [nn.Parameter(weight.detach().view(len(weight), -1)) for weight in self.weights]
        self.muon = torch.optim.Muon(self.flat, lr=muon_rate, weight_decay=0.01, momentum=0.95, nesterov=True, ns_steps=5)
        self.adam = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
        self.parameters = [*self.weights, *(each for group in self.adam.param_groups for each in group["params"])]
        for optimizer in (self.muon, self.adam):
            for group in optimizer.param_groups:
                group["peak"] = group["lr"]

    def step(self, loss: Tensor, *, factor: float) -> None:
        """Backward and one update, at `factor` times the peak learning rates."""
        for parameter in self.parameters:
            parameter.grad = None
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        for flat, weight in zip(self.flat, self.weights, strict=True):
            flat.grad = None if weight.grad is None else weight.grad.reshape(flat.shape)
        for optimizer in (self.muon, self.adam):
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * factor
            optimizer.step()

    def state_dict(self) -> dict[str, dict[str, Any]]:
        """The moments of both, to go on with after an interruption."""
        return {"muon": self.muon.state_dict(), "adam": self.adam.state_dict()}

    def load_state_dict(self, state: Mapping[str, dict[str, Any]]) -> None:
        """Put the moments of `state_dict` back."""
        self.muon.load_state_dict(state["muon"])
        self.adam.load_state_dict(state["adam"])


def split(module: nn.Module, *, first_and_last: Sequence[str]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The kernels and matrices inside a network, and the rest: vectors, and the layers named as its first and last."""
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            inside = parameter.ndim in (2, 4) and not name.startswith(tuple(first_and_last))
            (matrices if inside else rest).append(parameter)
    return matrices, rest


def trapezoid(step: int, done: float, *, warm_up: int = 100, flat: float = 0.45) -> float:
    """The learning rate's factor: up over some steps, level for a share of the time, then down to a fiftieth."""
    return min(1, (step + 1) / warm_up) * (1.0 if done < flat else max(0.02, (1 - done) / (1 - flat)))
