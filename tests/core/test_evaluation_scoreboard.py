"""The scoreboard: its methods do what their rows say, and its table pools clips rather than percentages."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest
import torch

from benchmarks.methods import METHODS, _never_advancing, esd, public_port
from benchmarks.scoreboard_table import markdown, picture, pooled
from t2vu_core.evaluation.clip_store import weights_hash
from tests.core.tiny_models import TINY_MODELS

TINY = TINY_MODELS["cogvideox-2b"]


def row(method: str, shown: list[bool], **changes: object) -> dict:
    numbers = {"erased_terse": 0.5, "erased_refined": 0.5, "kept": 0.9, "attributes": 0.8, "probe": None}
    return {"method": method, "shown": shown, **numbers, "train_seconds": 1.0, "clip_seconds": 0.5, **changes}


def test_rows_of_a_method_are_pooled_and_compared_with_ours(tmp_path: Path) -> None:
    rows = [
        row("base", [True] * 40, kept=1.0),
        row("velocity", [False] * 30 + [True] * 2),
        row("velocity", [False] * 32, erased_terse=0.0, probe=0.25),
        row("safree", [False] * 60 + [True] * 4),
    ]
    ours = next(entry for entry in pooled(rows) if entry["method"] == "velocity")
    assert len(ours["shown"]) == 64
    assert ours["erased_terse"] == 0.25
    assert ours["probe"] == 0.25
    text = markdown(rows)
    assert "base against velocity (ours): +97 points" in text
    assert "which is a difference." in text
    assert "SAFREE against velocity (ours): +3 points" in text
    assert "no clear difference" in text
    assert picture(rows, tmp_path / "board.png").stat().st_size > 5000


def test_the_public_ports_latents_never_advance() -> None:
    family, size = TINY.model.family, TINY.size
    points = list(itertools.islice(_never_advancing(family, size, 60, seed=0), 60))
    assert all(torch.equal(latents, points[0][0]) for latents, _ in points[:50])
    assert len({float(timestep) for _, timestep in points[:50]}) == 50
    assert not torch.equal(points[50][0], points[0][0])


@pytest.mark.parametrize("method", [esd, public_port])
def test_a_trained_method_changes_its_model_and_not_the_base(method: object) -> None:
    before = weights_hash(TINY.model.family)
    erased = method(TINY.model, "ghost", 0, steps=2)  # type: ignore[operator]
    assert weights_hash(TINY.model.family) == before
    options = {"seeds": 1, "num_inference_steps": 2}
    assert (erased.model.sample("a ghost", **options) - TINY.model.sample("a ghost", **options)).abs().max() > 1e-5
    assert erased.train_seconds > 0


def test_every_method_has_a_title_and_guards_need_no_training() -> None:
    for name in ("base", "negative_prompt", "safree", "video_eraser"):
        assert not METHODS[name].trained
        assert METHODS[name].apply(TINY.model, "ghost", 0).train_seconds == 0
    assert METHODS["safree"].apply(TINY.model, "ghost", 0).model.guard is not None
