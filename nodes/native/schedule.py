"""The noise levels of a sampling run of ComfyUI's, and the steps between them.

Latents are those that the network takes, x_t as `calculate_input` scales it: noise of unit size is where sampling starts.
"""

from dataclasses import dataclass
from typing import Any

import comfy.samplers
import torch
from torch import Tensor

SCHEDULERS = tuple(comfy.samplers.SCHEDULER_NAMES)
"""The names that KSampler offers."""


def input_scale(sampling: Any, sigmas: Tensor) -> Tensor:
    """What ComfyUI multiplies its samplers' x with before the network takes it."""
    scale: Tensor = sampling.calculate_input(sigmas, torch.ones((), device=sigmas.device))
    return scale


@dataclass(frozen=True)
class Schedule:
    """The noise levels of one run, and the rules of the MODEL's sampling (`model_sampling`)."""

    sigmas: Tensor
    sampling: Any

    @property
    def timesteps(self) -> Tensor:
        """The noise level of each pass."""
        return self.sigmas[:-1]

    def noised(self, clean: Tensor, eps: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
        """x_t and the prediction that is correct there, for indices `place` (B,) into `timesteps`.

        Every prediction that ComfyUI knows is affine in the clean latents: it is found by inverting that map.
        """
        sigmas = self.timesteps.cpu()[place.cpu()].to(clean)
        x = self.sampling.noise_scaling(sigmas, eps.clone(), clean)
        if self._variance_preserving:
            x = x / (1 + sigmas.view(-1, *[1] * (clean.dim() - 1)) ** 2) ** 0.5
        start = self.sampling.calculate_denoised(sigmas, torch.zeros_like(x), x)
        slope = self.sampling.calculate_denoised(sigmas, torch.ones_like(x), torch.zeros_like(x))
        return self.sampling.calculate_input(sigmas, x), (clean - start) / slope

    def step(self, prediction: Tensor, sigma: Tensor, latents: Tensor) -> Tensor:
        """KSampler's euler, from one noise level to the next."""
        now = int((self.sigmas - sigma).abs().argmin())
        sigma, following = self.sigmas[now], self.sigmas[now + 1]
        x = latents / input_scale(self.sampling, sigma)
        clean = self.sampling.calculate_denoised(sigma, prediction, x)
        if self._variance_preserving:
            x = x * (1 + sigma**2) ** 0.5
        x = x + (x - clean) / sigma * (following - sigma)
        if self._variance_preserving:
            return x / (1 + following**2) ** 0.5
        if following == 0:
            # What KSampler gives at the end: a shifted flow has no input scale there.
            end: Tensor = self.sampling.inverse_noise_scaling(following, x)
            return end
        return x * input_scale(self.sampling, following)

    @property
    def _variance_preserving(self) -> bool:
        """Whether the network takes x as it is although its noise is not of size sigma: ComfyUI's own class for CogVideoX."""
        return any(kind.__name__ == "V_PREDICTION_DDPM" for kind in type(self.sampling).__mro__)
