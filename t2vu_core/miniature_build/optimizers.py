"""Muon for everything that is a matrix, convolutions too; AdamW for the rest."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from t2vu_core.errors import NotFinite
from t2vu_core.mixed_precision import fast_bf16

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
MOMENTUM, WEIGHT_DECAY = 0.95, 0.01


class Optimizers:
    """Muon on the chosen weights, AdamW on the others, as one.

    A convolution's kernel is a matrix too, from all that it sees at a place to its output channels.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        groups: Sequence[dict[str, object]],
        *,
        muon_rate: float = 1e-2,
    ) -> None:
        self.weights, self.muon_rate = list(matrices), muon_rate
        self.momenta = [torch.zeros_like(weight).flatten(1) for weight in self.weights]
        self.adam = torch.optim.AdamW(groups, betas=(0.9, 0.98), weight_decay=0.0, fused=True)
        self.parameters = [*self.weights, *(each for group in self.adam.param_groups for each in group["params"])]
        for group in self.adam.param_groups:
            group["peak"] = group["lr"]

    def step(self, loss: Tensor, *, factor: float) -> None:
        """Backward and one update, at `factor` times the peak learning rates.

        Raises NotFinite before anything is updated, if a gradient is inf or NaN.
        """
        for parameter in self.parameters:
            parameter.grad = None
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, 1.0)
        if not torch.isfinite(norm):
            raise NotFinite(
                f"The gradients became {norm.item()}, at a loss of {loss.item():.4g}; the same command goes on from the last "
                "state that was kept."
            )
        self._step_muon(self.muon_rate * factor)
        for group in self.adam.param_groups:
            group["lr"] = group["peak"] * factor
        self.adam.step()

    def state_dict(self) -> dict[str, Any]:
        """The moments of both, to go on with after an interruption."""
        return {"muon": self.momenta, "adam": self.adam.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put the moments of `state_dict` back."""
        self.momenta = list(state["muon"])
        self.adam.load_state_dict(state["adam"])

    @torch.no_grad()
    def _step_muon(self, rate: float) -> None:
        for weight, momentum in zip(self.weights, self.momenta, strict=True):
            if weight.grad is None:
                continue
            gradient = weight.grad.flatten(1)
            momentum.lerp_(gradient, 1 - MOMENTUM)
            update = orthogonalised(gradient.lerp(momentum, MOMENTUM))
            rows, columns = gradient.shape
            weight.mul_(1 - rate * WEIGHT_DECAY)
            weight.sub_(update.view(weight.shape), alpha=rate * max(1.0, rows / columns) ** 0.5)


def orthogonalised(matrices: Tensor) -> Tensor:
    """The nearest (semi-)orthogonal matrices (..., rows, columns), by five Newton-Schulz steps (Muon, Jordan et al. 2024).

    In bf16 where that is fast. `torch.optim.Muon` always computes in bf16: on a processor with AVX2 only, this alone took
    most of a step.
    """
    a, b, c = NEWTON_SCHULZ
    tall = matrices.shape[-2] > matrices.shape[-1]
    x = matrices.mT if tall else matrices
    x = x.bfloat16() if fast_bf16(x.device) else x
    x = x / (x.float().norm(dim=(-2, -1), keepdim=True) + 1e-7).to(x.dtype)
    for _ in range(5):
        gram = x @ x.mT
        x = a * x + (b * gram + c * gram @ gram) @ x
    return (x.mT if tall else x).float()


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
