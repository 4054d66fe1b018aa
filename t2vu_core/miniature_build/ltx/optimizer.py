"""Muon and Adam in few kernels and without reading the device, so that a whole step can be one CUDA graph.

Muon (Jordan et al. 2024) takes every matrix of one shape in one batched product.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import torch
from torch import Tensor, nn

from t2vu_core.miniature_build.optimizers import MOMENTUM, WEIGHT_DECAY, orthogonalised

BETAS, EPSILON = (0.9, 0.98), 1e-8
MAX_NORM = 1.0


class MuonAdam:
    """Muon on `matrices`, Adam on the parameter groups (parameters, peak rate); `factor` scales all peak rates.

    A convolution's kernel counts as a matrix from all that it sees to its output channels.
    """

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        groups: Sequence[tuple[Sequence[nn.Parameter], float]],
        *,
        muon_rate: float = 1e-2,
    ) -> None:
        self.muon_rate = muon_rate
        by_shape: dict[tuple[int, int], list[Tensor]] = {}
        for weight in matrices:
            by_shape.setdefault((len(weight), weight[0].numel()), []).append(weight)
        self.stacks = list(by_shape.items())
        self.groups: list[tuple[list[Tensor], float]] = [(list(parameters), rate) for parameters, rate in groups]
        self.parameters: list[Tensor] = [each for _, weights in self.stacks for each in weights]
        self.parameters += [each for parameters, _ in self.groups for each in parameters]
        device = self.parameters[0].device
        self.factor, self.steps = torch.zeros((), device=device), torch.zeros((), device=device)
        self.momenta = [torch.zeros(len(weights), *shape, device=device) for shape, weights in self.stacks]
        self.first = [[torch.zeros_like(each) for each in parameters] for parameters, _ in self.groups]
        self.second = [[torch.zeros_like(each) for each in parameters] for parameters, _ in self.groups]

    def step(self, loss: Tensor) -> None:
        """One update of all parameters, in place."""
        gradients = torch.autograd.grad(loss, self.parameters, allow_unused=True)
        with torch.no_grad():
            found = [torch.zeros_like(p) if g is None else g for p, g in zip(self.parameters, gradients, strict=True)]
            norm = torch.stack(torch._foreach_norm(found)).norm()
            torch._foreach_mul_(found, (MAX_NORM / (norm + 1e-6)).clamp(max=1.0))
            self.steps += 1
            rest = iter(found)
            for (shape, weights), momentum in zip(self.stacks, self.momenta, strict=True):
                self._muon(shape, weights, [next(rest) for _ in weights], momentum)
            for (parameters, rate), first, second in zip(self.groups, self.first, self.second, strict=True):
                self._adam(parameters, [next(rest) for _ in parameters], first, second, rate)

    def state(self) -> dict[str, Tensor]:
        """The moments by name, to go on with after an interruption."""
        named = {"steps": self.steps}
        named |= {f"momentum.{index}": value for index, value in enumerate(self.momenta)}
        for name, groups in (("first", self.first), ("second", self.second)):
            named |= {f"{name}.{at}.{index}": value for at, group in enumerate(groups) for index, value in enumerate(group)}
        return named

    def _muon(self, shape: tuple[int, int], weights: list[Tensor], gradients: list[Tensor], momentum: Tensor) -> None:
        stacked = torch.stack([gradient.reshape(shape) for gradient in gradients])
        momentum.lerp_(stacked, 1 - MOMENTUM)
        updates = orthogonalised(stacked.lerp(momentum, MOMENTUM)) * max(1.0, shape[0] / shape[1]) ** 0.5
        rate = self.muon_rate * self.factor
        torch._foreach_mul_(weights, 1 - rate * WEIGHT_DECAY)
        changes = [update.view(weight.shape) for update, weight in zip(updates * rate, weights, strict=True)]
        torch._foreach_sub_(weights, changes)

    def _adam(
        self, parameters: list[Tensor], gradients: list[Tensor], first: list[Tensor], second: list[Tensor], rate: float
    ) -> None:
        torch._foreach_lerp_(first, gradients, 1 - BETAS[0])
        torch._foreach_mul_(second, BETAS[1])
        torch._foreach_addcmul_(second, gradients, gradients, value=1 - BETAS[1])
        scale = torch._foreach_sqrt(second)
        torch._foreach_mul_(scale, (1 - BETAS[1] ** self.steps).rsqrt())
        torch._foreach_add_(scale, EPSILON)
        changes = torch._foreach_div(first, scale)
        torch._foreach_mul_(changes, rate * self.factor / (1 - BETAS[0] ** self.steps))
        torch._foreach_sub_(parameters, changes)


def matrices_inside(module: nn.Module, *, outside: Sequence[str]) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """The matrices and kernels of a network, and the rest: vectors, and layers whose name starts with one of `outside`."""
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, parameter in module.named_parameters():
        inside = parameter.ndim in (2, 5) and not name.startswith(tuple(outside)) and "table" not in name
        (matrices if inside else rest).append(parameter)
    return matrices, rest


def trapezoid(step: int, done: float, *, warm_up: int = 200, flat: float = 0.45) -> float:
    """The learning rate's factor: up over some steps, level for a share of the time, then down to a fiftieth."""
    return min(1, (step + 1) / warm_up) * (1.0 if done < flat else max(0.02, (1 - done) / (1 - flat)))
