"""The templates for real models: a download for every file that they load, and a note that they were not run."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tools.template_plans import RESULTS, clips_of, notes

REPOSITORY = Path(__file__).resolve().parents[2]
REAL = sorted(path.stem for path in (REPOSITORY / "example_workflows").glob("erase_from_*.json"))
LOADED = ("unet_name", "vae_name", "ckpt_name", "clip_name", "clip_name1", "clip_name2")


def graph(name: str) -> dict[str, Any]:
    read: dict[str, Any] = json.loads((REPOSITORY / "example_workflows" / f"{name}.json").read_text(encoding="utf-8"))
    return read


@pytest.mark.parametrize("name", REAL)
def test_comfyui_can_offer_every_file_that_is_missing(name: str) -> None:
    """The frontend reads name, folder and address from a loader's properties."""
    queued = json.loads((REPOSITORY / "workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))
    offered = {model["name"]: model for node in graph(name)["nodes"] for model in node.get("properties", {}).get("models", [])}
    loaded = [value for node in queued.values() for key, value in node["inputs"].items() if key in LOADED]
    assert loaded
    assert sorted(loaded) == sorted(offered)
    for file, model in offered.items():
        assert model["url"].startswith("https://huggingface.co/")
        assert model["url"].endswith(f"/{file}")
        assert model["directory"] in ("diffusion_models", "text_encoders", "vae", "checkpoints")


@pytest.mark.parametrize("name", REAL)
def test_the_note_says_that_the_graph_was_not_run(name: str) -> None:
    (text,) = [node["widgets_values"][0] for node in graph(name)["nodes"] if node["type"] == "MarkdownNote"]
    assert "not run" in text
    assert "not measured here" in text


def test_memory_and_time_in_the_notes_are_those_of_the_plans() -> None:
    """`python -m tools.template_plans` writes both."""
    plans = json.loads(RESULTS.read_text(encoding="utf-8"))
    assert sorted(plans) == REAL
    for path, text in notes(plans).items():
        assert path.read_text(encoding="utf-8") == text, path.name
    more = {name: {**plan, "trajectories": plan["trajectories"] + 10**9} for name, plan in plans.items()}
    assert all(path.read_text(encoding="utf-8") != text for path, text in notes(more).items()), "another plan is another note"


def test_time_is_counted_in_clips_that_are_sampled_with_and_without_guidance() -> None:
    guided, distilled = clips_of("erase_from_wan_2_2_a14b"), clips_of("erase_from_hunyuan_video")
    assert distilled == 2 * guided, "both have 20 steps; a pass of HunyuanVideo has one row"


def test_ltx_video_is_trained_at_the_frame_rate_that_it_is_sampled_at() -> None:
    """The frame rate is in the CONDITIONING: without one, ComfyUI computes LTX-Video's positions with 25."""
    name = "erase_from_ltx_video"
    queued = json.loads((REPOSITORY / "workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))
    inputs = {node["class_type"]: node["inputs"] for node in queued.values() if node["class_type"] != "CLIPTextEncode"}
    (rate,) = [key for key, node in queued.items() if node["class_type"] == "LTXVConditioning"]
    assert inputs["T2VUFromComfyUI"]["conditioning"] == inputs["KSampler"]["positive"] == [rate, 0]
    rates = inputs["LTXVConditioning"]["frame_rate"], inputs["T2VUFromComfyUI"]["fps"], inputs["CreateVideo"]["fps"]
    assert len(set(rates)) == 1
    nodes = {node["type"]: node for node in graph(name)["nodes"]}
    into = {part["name"]: part["link"] for part in nodes["T2VUFromComfyUI"]["inputs"]}
    assert into["conditioning"] in nodes["LTXVConditioning"]["outputs"][0]["links"], "the same in the graph that is seen"


def test_each_denoiser_of_wan_2_2_is_trained_where_it_is_sampled() -> None:
    """KSampler (Advanced) changes models after a number of steps, T2V Model from ComfyUI at a noise level."""
    queued = json.loads((REPOSITORY / "workflows" / "api" / "erase_from_wan_2_2_a14b.json").read_text(encoding="utf-8"))
    by_kind = {node["class_type"]: node["inputs"] for node in queued.values()}
    made, shift = by_kind["T2VUFromComfyUI"], 8.0
    assert "ModelSamplingSD3" not in by_kind, "the shift is that of ComfyUI's Wan"
    (change,) = {node["inputs"]["end_at_step"] for node in queued.values() if node["inputs"].get("start_at_step") == 0}
    times = [1 - step / made["steps"] for step in range(made["steps"])]
    noisy = [shift * time / (1 + (shift - 1) * time) >= made["boundary"] for time in times]
    assert noisy.index(False) == change
