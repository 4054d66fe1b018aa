"""Exchanging parts of a denoiser between two prompts: all parts make the other clip, none changes nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from benchmarks import style_sites
from benchmarks.style_sites import Exchange, Output, Part, Share, Way, parts_of
from t2vu_core.model import T2VModel, load_model
from tests.core.tiny_models import TINY_MODELS

SMALL = ["steps=1", "concept_trajectories=1", "preserve_trajectories=1", "trajectory_steps=2", "rank=4", "probe_rounds=0"]
PROMPT, NEUTRAL = "a man on a street in noir style", "a man on a street"
VIDEO: tuple[Output, ...] = (("attention", "video"), ("feed-forward", "video"))


@pytest.fixture(scope="module")
def model() -> T2VModel:
    return load_model("miniature")


def clip(model: T2VModel, prompt: str) -> Tensor:
    return model.sample(prompt, seeds=3, num_inference_steps=3)


def with_part(model: T2VModel, part: Part, way: Way) -> Tensor:
    return clip(model.with_guard(Exchange(part, way, {PROMPT: NEUTRAL})), PROMPT)


def test_all_that_reaches_the_video_makes_the_clip_of_the_other_prompt(model: T2VModel) -> None:
    asked, neutral = clip(model, PROMPT), clip(model, NEUTRAL)
    assert (asked - neutral).abs().max() > 1e-3
    whole = Part("all", VIDEO)
    torch.testing.assert_close(with_part(model, whole, "needed"), neutral, atol=1e-5, rtol=0)
    torch.testing.assert_close(with_part(model, whole, "enough"), asked, atol=1e-5, rtol=0)


def test_a_part_in_no_step_changes_nothing(model: T2VModel) -> None:
    never = Part("never", VIDEO, steps=(0, 0))
    torch.testing.assert_close(with_part(model, never, "needed"), clip(model, PROMPT), atol=1e-5, rtol=0)
    torch.testing.assert_close(with_part(model, never, "enough"), clip(model, NEUTRAL), atol=1e-5, rtol=0)


def test_every_part_of_the_table_changes_the_clip_and_is_not_all_of_it(model: T2VModel) -> None:
    asked, neutral = clip(model, PROMPT), clip(model, NEUTRAL)
    blocks = len(model.family.denoisers["transformer"].transformer_blocks)
    few = [part for part in parts_of(blocks) if part.blocks is None or 0 in part.blocks]
    made = {part.title: with_part(model, part, "needed") for part in few}
    for title, found in made.items():
        assert not torch.equal(found, asked), title
        assert not torch.allclose(found, neutral, atol=1e-6), title
    assert len({found.numpy().tobytes() for found in made.values()}) == len(made)


def test_the_mean_and_the_rest_of_an_output_are_together_the_other_output() -> None:
    rows = torch.randn(6, 5, 4)
    asked, neutral = rows[2:4], rows[4:]
    shares: tuple[Share, ...] = ("mean", "rest")
    mean, rest = (Exchange(Part("", VIDEO, share=share), "needed", {}).mixed(rows, 2) for share in shares)
    torch.testing.assert_close(mean[2:4].mean(1), neutral.mean(1))
    torch.testing.assert_close(rest[2:4].mean(1), asked.mean(1))
    torch.testing.assert_close(mean[2:4] + rest[2:4], asked + neutral)
    for mixed in (mean, rest):
        assert torch.equal(mixed[:2], rows[:2])
        assert torch.equal(mixed[4:], neutral)


def test_the_command_prints_and_saves_the_parts_that_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(style_sites, "RESULTS", tmp_path)
    options = [word for setting in SMALL for word in ("--method-option", setting)]
    sizes = ["--preset", "quick", "--clips", "2", "--steps", "2", "--attack-steps", "2", "--parts", "text"]
    assert style_sites.main([*sizes, *options, "--out", str(tmp_path), "--save"]) == 0
    printed = capsys.readouterr().out
    assert printed.count("| attention and feed-forward, text tokens") == 1
    assert "video tokens" not in printed
    assert "2 clips of noir" in printed
    assert len(list(tmp_path.glob("*.safetensors"))) == 1
    saved = json.loads((tmp_path / "style_sites.json").read_text(encoding="utf-8"))
    assert printed == style_sites.document(saved) + "\n"


def test_a_model_of_another_class_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert style_sites.main(["--model", str(TINY_MODELS["wan-2.1"].folder)]) == 2
    assert "style_sites: style_sites knows transformers of CogVideoX, not Wan" in capsys.readouterr().err


def test_a_part_that_is_not_there_is_one_sentence_before_any_training(capsys: pytest.CaptureFixture[str]) -> None:
    assert style_sites.main(["--parts", "nowhere"]) == 2
    assert "No part's title has 'nowhere'" in capsys.readouterr().err


def test_the_saved_results_have_every_part() -> None:
    saved = json.loads((style_sites.RESULTS / "style_sites.json").read_text(encoding="utf-8"))
    assert [row["part"] for row in saved["rows"]] == [part.title for part in parts_of(6)]
    counts = [count for row in saved["rows"] for when in ("before", "after") for count in row[when].values()]
    assert len(counts) == 4 * len(saved["rows"])
    assert all(0 <= count <= saved["clips"] for count in counts)
