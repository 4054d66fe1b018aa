"""The settings that `benchmarks.tuning` tries for each guard and baseline.

The first ones are those of its paper or code: SAFREE's are those of its authors' text-to-video code, ESD's rate is that of its
authors' later code. The exception is the refusal direction, whose code is our reading of the method, and whose first settings
are ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

Settings = Mapping[str, Any]

CANDIDATES: dict[str, Sequence[Settings]] = {
    "negative_prompt": (
        {"names": "one"},
        *({"names": "all", "guidance_scale": scale} for scale in (4.0, 7.0, 10.0)),
    ),
    "safree": (
        {"names": "all", "self_validating": False, "negative_prompt": True},
        {"names": "all", "mapping": "authors"},
        {"names": "one"},
        *({"names": "all", "mapping": "authors", "first_share": share} for share in (0.5, 1.0)),
        *({"names": "all", "self_validating": False, "first_share": share} for share in (0.5, 1.0)),
    ),
    "video_eraser": (
        {"names": "one"},
        {"names": "all"},
        {"names": "all", "momentum_decay": 0.7, "weight": 5000.0},
        {"names": "all", "momentum_scale": 1.0},
        {"names": "all", "momentum_scale": 2.0},
    ),
    "closed_form": (
        {"eta": 0.0},
        {"eta": 0.0, "preserve_weight": 0.3},
        {"eta": 0.0, "preserve_weight": 3.0},
        *({"eta": eta} for eta in (0.5, 1.0, 2.0)),
        {"eta": 0.0, "rounds": 3},
    ),
    "refusal": ({}, {"eta": 0.0}, {"eta": 1.0}, {"directions": 1}, {"directions": 16}),
    "esd": ({"rate": 5e-5}, {}, {"rate": 1e-3}),
    "receler": ({}, {"rate": 1e-3}, {"rate": 1e-3, "eta": 2.0}),
    "leco": ({}, {"rate": 1e-3}, {"rate": 1e-3, "rank": 16}),
}
