"""Erasers trained on ComfyUI's own models: right gradients in every precision, and one file for both libraries."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from t2vu_core.erasure import Erasure
from t2vu_core.families.text_condition import TextCondition
from tests.nodes.scripts import found_by
from tests.nodes.test_native_sampling import KINDS, difference, write_inputs
from tests.nodes.twins import TWINS, Twin
from tools.comfyui.server import REPOSITORY

BY_NAME = ("cosmos_predict2", "kandinsky5")
"""Architectures without a row in the table, which take LoRA erasers only."""
FAMILIES = (*TWINS, "mochi", "hunyuan_video_15", "ltx_2", *BY_NAME)
RESULTS = REPOSITORY / "benchmarks" / "results"
WAYS = ("plain", "recomputed")
PRECISIONS = {"fp8": "float8_e4m3fn", "fp8_scaled": "float8_e4m3fn", "bf16": "bfloat16", "packed": "int8"}
"""`packed` is a layer that unpacks its weight whenever it computes, as those of ComfyUI-GGUF do."""


@dataclass(frozen=True)
class Trained:
    """What one process in ComfyUI's folder found."""

    folder: Path
    twins: Mapping[str, Twin]
    predicted: Mapping[str, Tensor]
    said: Mapping[str, Any]

    def of(self, family: str, what: str) -> Any:
        if f"{family} rows" not in self.said:
            pytest.skip(f"this ComfyUI has no native {family}")
        return self.said[f"{family} {what}"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    folder = tmp_path_factory.mktemp("native")
    twins = {name: make() for name, make in TWINS.items()}
    write_inputs(folder, twins)
    for kind in KINDS:
        save_file(twins["wan"].eraser(kind), folder / f"theirs_{kind}.safetensors")
    tensors, said = found_by("native_training_in_process.py", folder)
    return Trained(folder, twins, tensors, said)


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("way", WAYS)
def test_gradients_are_those_of_finite_differences(trained: Trained, family: str, kind: str, way: str) -> None:
    if family in BY_NAME and kind == "bottleneck":
        pytest.skip("bottlenecks have no places in it")
    expected = trained.of(family, f"{kind} difference")
    assert trained.said[f"{family} {kind} {way}"] == pytest.approx(expected, rel=0.03)
    assert expected


@pytest.mark.parametrize("how", PRECISIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_through_quantised_layers_are_those_of_the_same_values(trained: Trained, how: str, kind: str) -> None:
    assert PRECISIONS[how] in trained.said[f"{how} layer"]
    for way in WAYS:
        cosine, size, _ = trained.said[f"{how} {kind} {way}"]
        assert cosine > 0.9999
        assert size == pytest.approx(1, rel=1e-3)
    cosine, _, _ = trained.said[f"{how} {kind} autocast"]
    assert cosine > 0.999, "in bf16, as training computes"


@pytest.mark.parametrize("model", [*(f"{family} fp16" for family in TWINS), "wan fp8", "wan fp8_scaled"])
def test_what_comfyui_computes_in_fp16_is_trained_in_bf16_and_sampled_as_before(trained: Trained, model: str) -> None:
    """Under the rules of CUDA's autocast, which refuses to combine fp16 with bf16."""
    facts = trained.said[f"half {model}"]
    assert facts["dtype"] == facts["dtype after"] == "torch.float16"
    for way in WAYS:
        cosine, size = facts[way]
        assert cosine > 0.99
        assert size == pytest.approx(1, rel=0.05)
    assert facts["samples as before"]
    assert facts["left behind"] == 0


def test_comfyui_is_asked_for_the_memory_that_a_step_was_measured_to_take(trained: Trained) -> None:
    measured = json.loads((RESULTS / "native_step-nvidia_h200.json").read_text(encoding="utf-8"))["rows"]["wan-1.3b:bf16"]
    (asked,) = trained.said["asked memory"]
    assert measured["clip"] == [17, 480, 832]
    assert asked >= measured["peak_bytes"] - measured["denoiser_bytes"]


@pytest.mark.parametrize("how", ["fp8", "fp8_scaled", "bf16"])
def test_an_eraser_that_was_trained_on_rounded_weights_knows_its_model_in_float32(trained: Trained, how: str) -> None:
    assert trained.said[f"{how} against float32"].startswith(("the same but for rounding", "the same weights"))


@pytest.mark.parametrize("how", PRECISIONS)
def test_no_weight_is_kept_for_the_backward_pass(trained: Trained, how: str) -> None:
    """All weights of the tiny model in float32 are 3.9 MB; activations alone are kept, and none between checkpoints."""
    _, _, kept = trained.said[f"{how} lora plain"]
    assert 0 < kept < 2e6
    assert trained.said[f"{how} lora recomputed"][2] == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_clips_are_sampled_as_ksampler_does(trained: Trained, family: str) -> None:
    # Cosmos' noise is of another size than 1 at the start, by 1 %.
    assert trained.of(family, "off KSampler") < (0.02 if family == "cosmos_predict2" else 1e-5)


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_of_other_lengths_in_a_batch_do_not_change_a_row(trained: Trained, family: str) -> None:
    assert trained.of(family, "rows") < 1e-5


@pytest.mark.parametrize("family", TWINS)
def test_a_single_file_has_the_hash_of_the_diffusers_folder(trained: Trained, family: str) -> None:
    assert trained.said[f"{family} hash"] == trained.twins[family].family.base_hash


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("source", ["trained", "theirs"])
def test_one_eraser_file_serves_both(trained: Trained, kind: str, source: str) -> None:
    """`trained` comes from ComfyUI's model, `theirs` from the diffusers model with the same weights."""
    twin, sigmas = trained.twins["wan"], torch.tensor([0.7, 0.4])
    text = TextCondition(twin.given["text"].expand(2, -1, -1))
    tensors = load_file(trained.folder / f"{source}_{kind}.safetensors")

    def predict() -> Tensor:
        return twin.family.predict(twin.given["noise"], sigmas * 1000, text, twin.size)

    with torch.no_grad():
        plain = predict()
        with twin.attached(tensors):
            erased = predict()
    assert difference(trained.predicted["plain"], plain) < 1e-5
    assert difference(trained.predicted[f"{source} {kind}"] - trained.predicted["plain"], erased - plain) < 1e-2
    assert difference(erased, plain) > 1e-4


def test_what_video_tokens_attend_to_is_read_as_in_the_diffusers_model(trained: Trained) -> None:
    """The mask of the preset paper; ComfyUI's own kernel for the CPU does not show it."""
    twin = trained.twins["wan"]
    text = TextCondition(twin.given["text"].expand(2, -1, -1))
    with torch.no_grad(), twin.family.text_attention([[1, 2], [3]], twin.size) as watch:
        twin.family.predict(twin.given["noise"], torch.tensor([700.0, 400.0]), text, twin.size)
    assert difference(trained.predicted["attention"], watch.mean()) < 1e-5


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_names_the_model_it_was_trained_on(trained: Trained, kind: str) -> None:
    erasure = Erasure.load(trained.folder / f"trained_{kind}.safetensors")
    assert (erasure.base.family, erasure.base.hash) == ("wan", trained.twins["wan"].family.base_hash)


def test_a_cancel_inside_a_pass_pauses_the_training(trained: Trained) -> None:
    assert trained.said["cancelled by"] == "Paused"
    assert trained.said["cancel is taken"]


def test_a_resumed_training_ends_bit_for_bit_where_an_uninterrupted_one_does(trained: Trained) -> None:
    assert trained.said["resumed at"] == 4
    assert trained.said["resumed is the same"]
    assert trained.said["recomputed is the same"]
    assert trained.said["another size is another run"]


def test_the_model_is_bit_for_bit_what_it_was(trained: Trained) -> None:
    assert trained.said["weights"]
    assert trained.said["left behind"] == 0
    assert not trained.said["left on the sampling"]


@pytest.mark.parametrize("name", ["hunyuan_video_15", "Q8_0"])
def test_the_planned_memory_of_a_step_is_within_ten_percent(trained: Trained, name: str) -> None:
    for planned, real in trained.said["planned"][name].values():
        assert planned == pytest.approx(real, rel=0.1)


def test_too_little_memory_says_what_to_lower(trained: Trained) -> None:
    assert trained.said["memory"].startswith("The memory ran out while an eraser was trained: switch low_memory on, ")


def test_a_start_image_counts_in_every_row(trained: Trained) -> None:
    assert min(trained.said["image gradients"]) > 0
    assert trained.said["image counts"] > 0.01


def test_other_parts_of_a_conditioning_go_into_every_row_or_are_refused(trained: Trained) -> None:
    assert trained.said["image embeds"] == [1.0, True]
    control, combined = trained.said["refused conditioning"]
    assert "carries control, which a training run cannot repeat" in control
    assert "combines 2 conditionings" in combined


def test_a_lora_on_the_model_is_trained_with_and_the_base_stays_the_base(trained: Trained) -> None:
    said = trained.said
    assert said["style counts"] > 0.01
    assert said["plain after style"], "a MODEL swapped between two runs"
    assert said["hash with style"]
    assert said["described apart"]


def test_two_models_share_the_noise_levels_and_one_eraser_file(trained: Trained) -> None:
    said = trained.said
    assert max(said["rows by noise"]) < 1e-4 < said["rows apart"]
    blocks = ["blocks.0.attn2", "blocks.1.attn2"]
    assert said["sites of both"] == [*blocks, *(f"transformer_2.{name}" for name in blocks)]
    assert said["passes"] == [[True, False], [False, True]]
    assert said["gradients of both"] > 0


def test_the_shift_of_the_schedule_can_be_set(trained: Trained) -> None:
    """ComfyUI's Wan has 8; the middle of two steps is shift / (1 + shift)."""
    assert trained.said["shift"] == pytest.approx([8 / 9, 3 / 4], rel=1e-3)


def test_a_text_encoder_that_cannot_be_trained_is_refused_before_anything_is_computed(trained: Trained) -> None:
    said = trained.said["unknown encoder"]
    assert said.startswith("The text encoder of this CLIP (Linear) cannot be trained on ComfyUI's own models")
    assert "diffusers folder" in said


def test_the_plan_says_which_text_encoders_stay_as_they_are(trained: Trained) -> None:
    assert trained.said["one encoder"] == []
    assert (
        "warning      Of this CLIP, only letters is trained. The others (clip_l) stay as they are"
        in trained.said["two encoders"]
    )


def test_the_plan_says_which_layers_were_found_by_name(trained: Trained) -> None:
    assert trained.said["by name"] == "comfyui:MiniTrainDIT"
    assert (
        "erasers      MiniTrainDIT is not in the table of architectures; LoRA erasers sit on 8 " in trained.said["plan by name"]
    )
    assert trained.said["for Load LoRA"]
    assert trained.said["bottleneck by name"].endswith("Set kind to lora: this model has no places for bottlenecks.")


def test_clips_are_as_large_as_the_pictures_of_a_latent_with_sound(trained: Trained) -> None:
    trained.of("ltx_2", "rows")
    assert trained.said["pictures"] == [9, 96, 128]
