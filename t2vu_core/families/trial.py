"""A trial of a model folder's settings: what no clip can be made with is refused when the folder is loaded."""

from __future__ import annotations

import torch

from t2vu_core.errors import reading
from t2vu_core.families.base import Family

STEPS = 2
"""The shortest schedule of every architecture."""
SCALES = ("scaling_factor", "shift_factor", "latents_mean", "latents_std")
DIVISORS = ("scaling_factor", "latents_std")
MOST = 1e6


@torch.no_grad()
def try_settings(family: Family) -> None:
    """Raise UserError if the family cannot lay out a clip or make a step of its schedule. The denoiser does not compute."""
    advice = ". Download the configuration files of its scheduler, denoiser and VAE again."
    with reading(f"The settings in {family.folder} cannot make a clip", advice):
        size = family.defaults.size
        shape = family.latent_shape(size)
        if min(*shape, *family.token_grid(size)) < 1:
            raise ValueError(f"its own clip, {size.width} x {size.height}, has no place in the latents")
        latents = torch.zeros(1, *shape, device=family.device)
        scheduler = family.make_scheduler(STEPS, size)
        family.step(scheduler, latents, scheduler.timesteps[0], latents)
        family.sites()
        _check_scales(family)


def _check_scales(family: Family) -> None:
    """Raise ValueError for what the VAE multiplies latents with, which is otherwise used when a clip is decoded only."""
    config = getattr(getattr(getattr(family, "pipeline", None), "vae", None), "config", {})
    for key in SCALES:
        value = config.get(key)
        for number in value if isinstance(value, list | tuple) else [] if value is None else [value]:
            if not isinstance(number, int | float) or not abs(number) <= MOST or (number == 0 and key in DIVISORS):
                raise ValueError(f"the VAE has {key} {str(number)[:40]}")
