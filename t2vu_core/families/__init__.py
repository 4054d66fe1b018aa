"""The supported architectures, one file each; `base` defines their interface."""

from __future__ import annotations

from t2vu_core.families.animatediff import AnimateDiff
from t2vu_core.families.base import Family
from t2vu_core.families.clip_size import ClipSize, SamplingDefaults
from t2vu_core.families.cogvideox import CogVideoX
from t2vu_core.families.eraser_site import EraserSite
from t2vu_core.families.hunyuan_video import HunyuanVideo
from t2vu_core.families.hunyuan_video_15 import HunyuanVideo15
from t2vu_core.families.ltx import LTX
from t2vu_core.families.ltx_condition import LTXCondition
from t2vu_core.families.mochi import Mochi
from t2vu_core.families.text_condition import TextCondition
from t2vu_core.families.text_to_video_sd import TextToVideoSD
from t2vu_core.families.wan import Wan

FAMILIES: tuple[type[Family], ...] = (
    AnimateDiff, CogVideoX, HunyuanVideo, HunyuanVideo15, LTX, LTXCondition, Mochi, TextToVideoSD, Wan,
)  # fmt: skip

__all__ = [
    "FAMILIES",
    "LTX",
    "AnimateDiff",
    "ClipSize",
    "CogVideoX",
    "EraserSite",
    "Family",
    "HunyuanVideo",
    "HunyuanVideo15",
    "LTXCondition",
    "Mochi",
    "SamplingDefaults",
    "TextCondition",
    "TextToVideoSD",
    "Wan",
    "family_for",
]


def family_for(pipeline_class: str) -> type[Family] | None:
    """The family of a diffusers pipeline class, by name, or None."""
    return next((family for family in FAMILIES if pipeline_class in family.pipeline_classes), None)
