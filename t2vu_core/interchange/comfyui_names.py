"""ComfyUI's names for the projections of diffusers' models, including fused projections.

They follow ComfyUI's model classes (comfy/ldm/wan, lightricks, hunyuan_video, genmo; CogVideoX since 0.21) and are tested
by loading into them. If ComfyUI has one matrix for q, k and v, three LoRAs of rank r become one block-diagonal LoRA of
rank 3 r: an exact equivalent, not an approximation.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from t2vu_core.errors import UserError

Pair = tuple[Tensor, Tensor]
"""`lora_A` (rank, in) and `lora_B` (out, rank) of one projection."""


@dataclass(frozen=True)
class _Place:
    """A projection in ComfyUI: its module and, for a fused one, the index of this part and the number of equal parts."""

    module: str
    part: int = 0
    parts: int = 1


def _same(block: str, projection: str) -> _Place:
    return _Place(f"transformer_blocks.{block}.attn2.{projection}")


def _wan(block: str, projection: str) -> _Place:
    return _Place(f"blocks.{block}.cross_attn.{_SHORT[projection]}")


def _cogvideox(block: str, projection: str) -> _Place:
    return _Place(f"blocks.{block}.{'attn_out' if projection == 'to_out.0' else _SHORT[projection]}")


def _mochi(block: str, projection: str) -> _Place:
    if projection == "to_out.0":
        return _Place(f"blocks.{block}.attn.proj_x")
    return _Place(f"blocks.{block}.attn.qkv_x", "qkv".index(_SHORT[projection]), 3)


def _hunyuan_video_15(block: str, projection: str) -> _Place:
    if projection == "to_out.0":
        return _Place(f"double_blocks.{block}.img_attn.proj")
    return _Place(f"double_blocks.{block}.img_attn.qkv", "qkv".index(_SHORT[projection]), 3)


def _hunyuan_video(block: str, projection: str) -> _Place:
    return _Place(f"single_blocks.{block}.linear1", "qkv".index(_SHORT[projection]), 3 + HUNYUAN_MLP_RATIO)


HUNYUAN_MLP_RATIO = 4
"""`linear1` outputs q, k, v and the feed-forward half, which is this many times as wide as q."""

_SHORT = {"to_q": "q", "to_k": "k", "to_v": "v", "to_out.0": "o"}
_TABLES: dict[str, tuple[str, Callable[[str, str], _Place]]] = {
    "cogvideox": (r"transformer_blocks\.(\d+)\.attn1\.(to_[qkv]|to_out\.0)", _cogvideox),
    "hunyuan_video": (r"single_transformer_blocks\.(\d+)\.attn\.(to_[qkv])", _hunyuan_video),
    "hunyuan_video_15": (r"transformer_blocks\.(\d+)\.attn\.(to_[qkv]|to_out\.0)", _hunyuan_video_15),
    "ltx": (r"transformer_blocks\.(\d+)\.attn2\.(to_[qkv]|to_out\.0)", _same),
    "mochi": (r"transformer_blocks\.(\d+)\.attn1\.(to_[qkv]|to_out\.0)", _mochi),
    "wan": (r"blocks\.(\d+)\.attn2\.(to_[qkv]|to_out\.0)", _wan),
}
OWN_NAMES = "comfyui:"
"""Before ComfyUI's class in the family's name, for models of which only ComfyUI's names of the layers are known."""
FIRST_VERSION = {"cogvideox": "0.21"}
"""The first version of ComfyUI with the architecture, unless all supported versions have it."""


def to_comfyui(family: str, pairs: Mapping[str, Pair]) -> dict[str, Pair]:
    """Rename LoRA pairs from diffusers modules to `diffusion_model.<ComfyUI module>`. Raises UserError for unknown names."""
    if family.startswith(OWN_NAMES):
        return {f"diffusion_model.{module}": pair for module, pair in pairs.items()}
    if family not in _TABLES:
        raise UserError(f"ComfyUI's names are not known for {family}; they are for {', '.join(sorted(_TABLES))}.")
    pattern, place_of = _TABLES[family]
    grouped: dict[str, list[tuple[_Place, Pair]]] = {}
    for site, pair in pairs.items():
        match = re.fullmatch(pattern, site)
        if match is None:
            raise UserError(f"The erasure changes {site}, which has no known name in ComfyUI's {family}.")
        place = place_of(*match.groups())
        grouped.setdefault(f"diffusion_model.{place.module}", []).append((place, pair))
    return {module: _fuse(members) for module, members in grouped.items()}


def _fuse(members: list[tuple[_Place, Pair]]) -> Pair:
    """LoRAs of parts of a matrix as one LoRA: the As are stacked, each B is placed in the rows of its part."""
    if members[0][0].parts == 1:
        return members[0][1]
    columns = []
    for place, (_, up) in members:
        whole = up.new_zeros(place.parts * len(up), up.shape[1])
        whole[place.part * len(up) : (place.part + 1) * len(up)] = up
        columns.append(whole)
    return torch.cat([down for _, (down, _) in members]), torch.cat(columns, dim=1)
