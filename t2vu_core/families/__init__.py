"""The architectures: one file each, behind the protocol in `base`."""

from __future__ import annotations

from t2vu_core.families.base import ClipSize, EraserSite, Family, SamplingDefaults, TextCondition
from t2vu_core.families.cogvideox import CogVideoX
from t2vu_core.families.hunyuan_video import HunyuanVideo
from t2vu_core.families.ltx import LTX
from t2vu_core.families.mochi import Mochi
from t2vu_core.families.wan import Wan

FAMILIES: tuple[type[Family], ...] = (CogVideoX, HunyuanVideo, LTX, Mochi, Wan)

__all__ = [
    "FAMILIES",
    "LTX",
    "ClipSize",
    "CogVideoX",
    "EraserSite",
    "Family",
    "HunyuanVideo",
    "Mochi",
    "SamplingDefaults",
    "TextCondition",
    "Wan",
    "family_for",
]


def family_for(pipeline_class: str) -> type[Family] | None:
    """The family that knows a diffusers pipeline class by its name, or None."""
    return next((family for family in FAMILIES if pipeline_class in family.pipeline_classes), None)
