"""The architectures: one file each, behind the protocol in `base`."""

from __future__ import annotations

from t2vu_core.families.base import ClipSize, EraserSite, Family, SamplingDefaults, TextCondition
from t2vu_core.families.cogvideox import CogVideoX

FAMILIES: tuple[type[Family], ...] = (CogVideoX,)

__all__ = ["FAMILIES", "ClipSize", "CogVideoX", "EraserSite", "Family", "SamplingDefaults", "TextCondition", "family_for"]


def family_for(pipeline_class: str) -> type[Family] | None:
    """The family that knows a diffusers pipeline class by its name, or None."""
    return next((family for family in FAMILIES if pipeline_class in family.pipeline_classes), None)
