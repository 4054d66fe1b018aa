"""An eraser of either kind on a MODEL: a wrapper around each denoiser pass attaches it and takes it off again.

The weights are never changed. fp8, quantised and offloaded models take the eraser at the precision it was trained in,
and a MODEL without the wrapper computes bit for bit what it computed before.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from comfy.patcher_extension import WrappersMP
from torch import Tensor, nn

from t2vu_core import UserError
from t2vu_core.erasers import EraserSet
from t2vu_core.families.eraser_site import EraserSite

from .. import comfy_bridge
from .architectures import Architecture, spoken
from .found_sites import any_architecture, reached

KEY = "t2vu_erasers"
SAME_SIGMA = 1e-4
"""Relative difference up to which a step is at a border of the interval: schedules round."""


@dataclass(frozen=True)
class Part:
    """The part of the sampling in which an eraser is on, as shares from 0 (noise) to 1 (clip)."""

    start_at: float = 0.0
    end_at: float = 1.0

    def __post_init__(self) -> None:
        # NaN compares false.
        if not 0 <= self.start_at < self.end_at <= 1:
            raise UserError(
                f"The eraser cannot be on from {self.start_at:g} to {self.end_at:g}: start_at and end_at are shares of the "
                "sampling between 0 and 1, and start_at must be less than end_at."
            )

    def holds(self, sampling: Any, sigma: float) -> bool:
        """Whether a step at this noise level is in it; one at the border belongs to the later part."""
        first, last = (sampling.percent_to_sigma(share) * (1 + SAME_SIGMA) for share in (self.start_at, self.end_at))
        return bool((self.start_at == 0 or sigma <= first) and (self.end_at == 1 or sigma > last))


class EraserOnPass:
    """The wrapper. Clones of the MODEL share it."""

    def __init__(self, tensors: Mapping[str, Tensor], strength: float, part: Part, family: str) -> None:
        self._tensors, self._strength, self._part, self._family = tensors, strength, part, family
        self._erasers: dict[torch.device, EraserSet] = {}

    def describe(self) -> dict[str, Any]:
        """What it does, as values that can be compared."""
        return {"tensors": dict(self._tensors), "strength": self._strength, "part": vars(self._part)}

    def sites(self, denoiser: nn.Module, architecture: Architecture, video_tokens: int = 0) -> list[EraserSite]:
        """Where the eraser sits. Raises UserError if it does not fit this denoiser."""
        wrong = f"This MODEL is not the {spoken(self._family)} model that the eraser is for"
        if architecture.family != self._family:
            raise UserError(f"{wrong}: it is a {spoken(architecture.family)} model.")
        try:
            return self._on(torch.device("cpu")).fit(architecture.sites(denoiser, lambda: video_tokens))
        except AttributeError as error:
            raise UserError(f"{wrong}: {type(denoiser).__name__} has other layers ({error}).") from error
        except UserError as error:
            raise UserError(f"{wrong}. {error}") from error

    def __call__(self, executor: Any, x: Tensor, t: Tensor, *args: Any, **kwargs: Any) -> Any:
        # ComfyUI may compute on a copy of the patcher's model, for example with several GPUs.
        model = executor.class_obj
        if self._strength == 0 or not self._part.holds(model.model_sampling, float(t.max())):
            return executor(x, t, *args, **kwargs)
        denoiser = denoiser_of(model.diffusion_model)
        architecture = known_architecture(denoiser)
        latents = [x, *(part for part in [kwargs.get("ref_latent")] if part is not None)]
        video_tokens = 0 if architecture.text == "apart" else architecture.video_tokens(denoiser, latents)
        sites = self.sites(denoiser, architecture, video_tokens)
        with self._on(x.device).attached(sites, strength=self._strength), reached(architecture, sites):
            return executor(x, t, *args, **kwargs)

    def _on(self, device: torch.device) -> EraserSet:
        if device not in self._erasers:
            # Nodes and samplers run in inference mode; its tensors could not be used in a later training run.
            with torch.inference_mode(False):
                erasers = EraserSet.from_tensors(self._tensors).eval().requires_grad_(False)
                self._erasers[device] = erasers.to(device)
        return self._erasers[device]


def with_eraser(model: Any, tensors: Mapping[str, Tensor], family: str, *, strength: float, part: Part) -> Any:
    """A clone of ComfyUI's MODEL that computes with the eraser. Raises UserError if the eraser does not fit it."""
    comfy_bridge.check_strength(strength)
    denoiser = denoiser_of(model.get_model_object("diffusion_model"))
    wrapper = EraserOnPass(tensors, strength, part, family)
    wrapper.sites(denoiser, known_architecture(denoiser))
    erased = model.clone()
    erased.add_wrapper_with_key(WrappersMP.APPLY_MODEL, KEY, wrapper)
    return erased


def denoiser_of(diffusion_model: Any) -> nn.Module:
    """The denoiser itself, where `torch.compile` has wrapped it."""
    denoiser: nn.Module = getattr(diffusion_model, "_orig_mod", diffusion_model)
    return denoiser


def known_architecture(denoiser: nn.Module) -> Architecture:
    """The denoiser's architecture. Raises UserError if it is unknown and no attentions to the text are found in it."""
    architecture = any_architecture(denoiser)
    if architecture is None:
        raise UserError(
            f"This MODEL is a {type(denoiser).__name__}, in which no places for erasers are known, and no cross- or joint "
            "attention was found by name. They are known in Wan, LTX-Video, HunyuanVideo, Mochi and CogVideoX."
        )
    return architecture
