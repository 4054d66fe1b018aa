"""A trial of a model folder's settings: what no clip can be made with is refused when the folder is loaded."""

from __future__ import annotations

import torch

from t2vu_core.errors import reading
from t2vu_core.families.base import Family

STEPS = 2
"""The shortest schedule of every architecture."""


@torch.no_grad()
def try_settings(family: Family) -> None:
    """Raise UserError if the family cannot lay out a clip or make a step of its schedule. The denoiser does not compute."""
    advice = ". Download the configuration files of its scheduler, denoiser and VAE again."
    with reading(f"The settings in {family.folder} cannot make a clip", advice):
        size = family.defaults.size
        family.token_grid(size)
        latents = torch.zeros(1, *family.latent_shape(size), device=family.device)
        scheduler = family.make_scheduler(STEPS, size)
        family.step(scheduler, latents, scheduler.timesteps[0], latents)
        family.sites()
