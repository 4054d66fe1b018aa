"""Adding noise to clean latents as a scheduler removes it."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def add_noise(scheduler: Any, clean: Tensor, eps: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
    """x_t and the prediction that is correct there, for indices `place` (B,) into the scheduler's timesteps.

    Diffusion (Ho et al., arXiv 2006.11239; v: Salimans & Ho, arXiv 2202.00512) or flow matching (Lipman et al.,
    arXiv 2210.02747), in the model's own output space. A scheduler that has a method `noised` is asked for both.
    """
    if hasattr(scheduler, "noised"):
        noisy, target = scheduler.noised(clean, eps, place)
        return noisy, target
    place = place.cpu()
    # Some schedulers that can do flow matching also keep the betas of diffusion.
    if hasattr(scheduler, "alphas_cumprod") and scheduler.config.get("prediction_type") != "flow_prediction":
        alpha = scheduler.alphas_cumprod.cpu()[scheduler.timesteps.cpu().long()[place]]
        signal, spread = (_like(root, clean) for root in (alpha.sqrt(), (1 - alpha).sqrt()))
        targets = {"epsilon": eps, "v_prediction": signal * eps - spread * clean, "sample": clean}
        return signal * clean + spread * eps, targets[scheduler.config.prediction_type]
    sigma = _like(scheduler.sigmas.cpu()[place], clean)
    if scheduler.config.get("invert_sigmas"):
        return sigma * clean + (1 - sigma) * eps, clean - eps
    return (1 - sigma) * clean + sigma * eps, eps - clean


def _like(values_B: Tensor, latents: Tensor) -> Tensor:
    return values_B.to(latents).view(-1, *[1] * (latents.dim() - 1))
