"""The benchmarks of few-shot unlearning: curves over steps, the spread over seeds, and nothing trained or judged twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks import encoder_objectives, encoder_rows, encoder_spread, encoder_step, encoder_transfer
from benchmarks.encoder_shapes import shaped
from benchmarks.encoder_table import curve, document, picture, reached
from t2vu_core.evaluation import EvaluationSettings, WorldDetector
from t2vu_core.recipes import FewShotRecipe
from tests.core.tiny_few_shot import VIDEO, twin
from tests.core.tiny_models import TINY_MODELS

REPOSITORY = Path(__file__).parents[2]
TINY = TINY_MODELS["cogvideox-2b"]
TITLES = {"ascent": "ascent", "anchor": "anchor"}
SMALL = [
    "shots=1", "shot_steps=2", "prompts=2", "preserve_prompts=2", "batch=1", "preserve_batch=1", "trained=mlp",
]  # fmt: skip


def row(name: str, step: int, shown: int, **changes: Any) -> dict[str, Any]:
    """A row of 20 clips, `shown` of which show the concept."""
    numbers = {f"erased_{register}": shown / 20 for register in ("terse", "synonym", "refined")}
    numbers |= {"kept": 0.9, "attributes": 0.8, "probe": None}
    outcomes = {"shown": [True] * shown + [False] * (20 - shown), "kept_shown": [], "train_seconds": 2.0, "clip_seconds": 0.1}
    return {"method": name, "concept": "santa", "seed": 0, "step": step, "diverged": None, **numbers, **outcomes, **changes}


def diverged(name: str, step: int, concept: str = "santa") -> dict[str, Any]:
    return {"method": name, "concept": concept, "seed": 0, "step": step, "diverged": "The loss became inf at step 3."}


def board(rows: list[dict[str, Any]]) -> dict[str, Any]:
    facts = {"model": "m", "base_hash": "0" * 64, "through": "m", "clips_a_register": 5, "kept_clips": 5}
    return {**facts, "preset": "quick", "target": 0.1, "rows": rows}


def test_the_objectives_are_compared_where_they_have_erased_equally_much(tmp_path: Path) -> None:
    rows = [row("ascent", 0, 20, kept=1.0), row("ascent", 5, 2, kept=0.4), row("ascent", 10, 0, kept=0.1)]
    rows += [
        row("anchor", 0, 20, kept=1.0),
        row("anchor", 5, 12),
        row("anchor", 10, 1, kept=0.95),
        row("anchor", 20, 0, kept=0.7),
    ]
    point = reached(curve(rows, "anchor"), 0.1)
    assert point is not None
    assert (point["step"], point["share"], point["train_seconds"]) == (10, 0.05, 6.0)
    text = document(board(rows), TITLES)
    assert "At 10 % still shown or less, anchor keeps most: 95 % of base's other concepts" in text
    assert "| ascent | 5 | 10 % (3 to 30) |" in text
    assert picture(rows, tmp_path / "curves.png", TITLES).stat().st_size > 5000


def test_of_two_that_keep_all_other_concepts_the_one_that_keeps_the_attributes_wins() -> None:
    rows = [row("ascent", 5, 0, kept=1.0, attributes=0.4), row("anchor", 5, 0, kept=1.0, attributes=0.9)]
    assert "anchor keeps most: 100 % of base's other concepts, 90 % of the other attributes." in document(board(rows), TITLES)


def test_rows_on_concepts_of_the_scoreboard_choose_no_objective() -> None:
    text = document(board([row("ascent", 5, 0, kept=1.0), row("anchor", 5, 0, concept="ghost")]), TITLES)
    assert "The scoreboard measures ghost with the same prompts, so these rows choose no setting" in text
    assert "keeps most" not in text


def test_an_objective_that_never_erases_is_in_brackets_and_keeps_no_prize() -> None:
    text = document(board([row("ascent", 0, 20, kept=1.0), row("ascent", 5, 9, kept=1.0), row("ascent", 10, 15)]), TITLES)
    assert "| ascent | (5) | (45 % (26 to 66)) |" in text
    assert "No objective leaves 10 % or less." in text


def test_a_step_that_one_concept_lacks_is_no_point_and_a_divergence_is_named() -> None:
    rows = [row("ascent", 5, 4), row("ascent", 5, 8, concept="cat"), row("ascent", 10, 0), diverged("ascent", 10, "cat")]
    points = curve(rows, "ascent")
    assert [(point["step"], point["share"], len(point["shown"])) for point in points] == [(5, 0.3, 40)]
    assert "ascent, cat: The loss became inf at step 3." in document(board(rows), TITLES)


def test_the_spread_says_its_ends_and_what_diverged() -> None:
    rows = [row("", 0, shown, kept=kept) for shown, kept in ((0, 1.0), (2, 0.8), (4, 0.9))]
    found = encoder_spread.spread([*rows, diverged("", 0)])
    assert found["shown"] == pytest.approx({"mean": 0.1, "low": 0.0, "high": 0.2, "deviation": 0.1})
    assert (found["trainings"], found["diverged"]) == (4, 1)
    line = encoder_spread.spoken({"model": "m", "rows": rows, "spread": encoder_spread.spread(rows)})
    assert "still shown 10 % (0 % to 20 %, 10.0 points of standard deviation)" in line
    assert line.endswith("; a run with its shots took 2 to 2 s; none diverged.")


@pytest.fixture
def bench(tmp_path: Path) -> encoder_rows.Bench:
    settings = EvaluationSettings.of("quick", per_register=1, kept=1)
    return encoder_rows.Bench(TINY.model, None, WorldDetector.bundled(), settings, tmp_path, encoder_rows.measuring_prompts)


def recipe(**changes: Any) -> FewShotRecipe:
    few = dict(part.split("=") for part in SMALL)
    settings = {name: value if name == "trained" else int(value) for name, value in few.items()}
    return FewShotRecipe.preset("quick", **{**settings, "steps": 4, "stop_at": encoder_rows.NEVER, **changes})


def test_a_curve_is_one_training_run_that_goes_on_and_an_earlier_step_is_trained_again(bench: encoder_rows.Bench) -> None:
    first, third, again = (bench.encoder_at("ghost", recipe(), step) for step in (1, 3, 1))
    assert [erasure.training["steps"] for erasure in (first, third, again)] == [1, 3, 1]
    assert third.training["losses"][:1] == first.training["losses"]
    assert all(torch.equal(again.tensors[name], tensor) for name, tensor in first.tensors.items())


def test_a_training_run_that_diverges_is_a_row_that_says_so(bench: encoder_rows.Bench) -> None:
    def infinite(module: Any, args: Any, output: Any) -> Any:
        # Only in a training step: the shots before it are fine.
        return tuple(part * float("inf") for part in output) if torch.is_grad_enabled() else output

    handle = TINY.model.family.pipeline.transformer.register_forward_hook(infinite)
    try:
        made = bench.row("ghost", recipe(), 2)
    finally:
        handle.remove()
    assert "at step 0" in made["diverged"]
    assert bench.row("ghost", recipe(), 2) == made, "a finished row is read, not made again"


def test_every_row_is_a_recipe_and_no_two_are_the_same() -> None:
    recipes = [FewShotRecipe.preset("balanced", **changes) for _, changes in encoder_objectives.ROWS.values()]
    assert len({json.dumps(each.describe()) for each in recipes}) == len(recipes)
    assert {each.objective for each in recipes} == {"ascent", "ascent_trust_region", "anchor", "negative_guidance"}


@pytest.mark.parametrize(
    ("module", "arguments", "hint"),
    [
        (encoder_objectives, ["--rows", "descent"], "Unknown row 'descent'"),
        (encoder_objectives, ["--stops", "0"], "cannot stop after 0 steps"),
        (encoder_spread, ["--seeds", "0"], "--seeds must be at least 1, not 0"),
    ],
)
def test_a_wrong_option_is_refused_before_anything_is_trained(
    module: Any, arguments: list[str], hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert module.main([*arguments, "--model", str(TINY.folder), "--out", str(tmp_path / "out")]) == 2
    assert hint in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_commands_write_table_picture_and_line_and_repeat_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Slow because four encoders are judged by the real detector."""
    options = [part for option in SMALL for part in ("--method-option", option)]
    common = ["--model", str(TINY.folder), "--out", str(tmp_path), "--clips", "1", *options]
    curves = ["--rows", "ascent", "anchor", "--stops", "1", *common]
    assert encoder_objectives.main(curves) == 0
    said = capsys.readouterr()
    assert "Rows to evaluate: 3, about" in said.err
    assert (tmp_path / "objectives.md").read_text().strip() == said.out.strip()
    assert {path.name for path in tmp_path.glob("objectives.*")} == {f"objectives.{end}" for end in ("json", "md", "png")}
    made = {path: path.stat().st_mtime_ns for path in (tmp_path / "rows").iterdir()}
    assert len(made) == 3, "the model as it is, and an encoder of each objective"
    assert encoder_objectives.main(curves) == 0
    assert "Rows to evaluate" not in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "rows").iterdir()} == made
    assert encoder_spread.main(["--seeds", "2", "--method-option", "steps=1", *common]) == 0
    assert "2 trainings on" in capsys.readouterr().out
    assert len(json.loads((tmp_path / "spread.json").read_text())["rows"]) == 2


EIGHT = {"sample_width": 8, "sample_height": 8}
SMALLER = {
    "stable-diffusion-1.5": {
        "encoder": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
        "denoiser": {"block_out_channels": (32,) * 4, "sample_size": 8, "layers_per_block": 1},
        "vae": {"block_out_channels": (32,) * 4, "layers_per_block": 1, "sample_size": 64},
    },
    "cogvideox-2b": {
        "encoder": {"d_model": 64, "d_ff": 64, "num_layers": 2, "num_heads": 2},
        "denoiser": {
            "num_attention_heads": 2,
            "attention_head_dim": 16,
            "num_layers": 2,
            "sample_width": 8,
            "sample_height": 8,
        },
        "vae": {"block_out_channels": (32,) * 4, "layers_per_block": 1},
    },
    "ltx-2b": {
        "encoder": {"d_model": 64, "d_ff": 64, "num_layers": 2, "num_heads": 2},
        "denoiser": {"num_attention_heads": 2, "attention_head_dim": 16, "cross_attention_dim": 32, "num_layers": 2},
        "vae": {
            "block_out_channels": (8,) * 4,
            "decoder_block_out_channels": (8,) * 4,
            "layers_per_block": (1,) * 5,
            "decoder_layers_per_block": (1,) * 5,
        },
    },
    "mochi-10b": {
        "encoder": {"d_model": 64, "d_ff": 64, "num_layers": 2, "num_heads": 2},
        "denoiser": {"num_attention_heads": 2, "attention_head_dim": 16, "pooled_projection_dim": 16, "num_layers": 2},
        "vae": {"encoder_block_out_channels": (32,) * 4, "decoder_block_out_channels": (32,) * 4, "layers_per_block": (1,) * 5},
    },
}


@pytest.mark.parametrize("name", SMALLER)
def test_what_a_training_run_takes_is_measured_on_the_one_that_users_start(name: str) -> None:
    smaller = SMALLER[name]
    done = encoder_step.training(name, torch.device("cpu"), 1, shots=1, shot_steps=2, smaller=smaller)
    known = encoder_step.sizes(shaped(name, torch.device("meta"), **smaller))
    assert done["trained_parameters"] == known["trained_parameters"]
    assert known["state_bytes"] == 16 * known["trained_parameters"]
    assert done["weight_bytes"] >= known["denoiser_bytes"] + known["encoder_bytes"] + known["vae_bytes"]
    assert done["seconds"] > done["shot_seconds"] > 0


def test_the_shapes_are_the_released_models_and_the_settings_page_has_their_sizes(capsys: pytest.CaptureFixture[str]) -> None:
    assert encoder_step.main(["--device", "cpu", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    rows, page = result["rows"], (REPOSITORY / "docs" / "settings" / "few-shot.md").read_text(encoding="utf-8")
    table = [line for line in encoder_step.table(result).splitlines() if line.startswith("| ")]
    assert [line for line in table[1:] if line not in page] == []
    # Published sizes: a UNet of 860 M and a CLIP of 123 M parameters; with T5's 4.8 B
    # or UMT5's 5.7 B 1.7 B (CogVideoX), 1.4 B (Wan), 1.9 B (LTX) and 10 B (Mochi).
    for name, denoiser, encoder in (
        ("stable-diffusion-1.5", 0.86, 0.123),
        ("cogvideox-2b", 1.7, 4.8),
        ("wan-1.3b", 1.4, 5.7),
        ("ltx-2b", 1.92, 4.8),
        ("mochi-10b", 10.0, 4.8),
    ):
        assert rows[name]["denoiser_bytes"] / 2e9 == pytest.approx(denoiser, rel=0.03)
        assert rows[name]["encoder_bytes"] / 2e9 == pytest.approx(encoder, rel=0.03)
    assert rows["stable-diffusion-1.5"]["trained"] == "feed-forward layers and the last attention"
    assert rows["cogvideox-2b"]["trained"] == "low-rank factors"


def test_images_and_video_are_compared_in_one_table() -> None:
    images = {"before": [True] * 4, "after": [True] + [False] * 3, "kept_before": [True] * 2, "kept_after": [True, False]}
    text = encoder_transfer.table([{"concept": "ghost", "images": images, "video": row("", 0, 6, kept=0.8)}])
    assert "| ghost | 100 % | 25 % | 30 % | 50 % | 80 % | 30 % | 30 % |" in text
    assert "Still shown on video against on images: +5.0 points." in text


def test_images_are_made_with_the_encoder_and_without(tmp_path: Path) -> None:
    settings = EvaluationSettings.of("quick", per_register=1, kept=1, num_inference_steps=1)
    bench = encoder_rows.Bench(VIDEO.model, twin(), WorldDetector.bundled(), settings, tmp_path, encoder_rows.measuring_prompts)
    erasure, made = bench.encoder_at("ghost", recipe(steps=1), None), []
    handle = twin().pipeline.unet.register_forward_hook(lambda module, args, output: made.append(output[0]))
    try:
        shown = encoder_transfer.measure_images(bench, twin(), "ghost", erasure)
    finally:
        handle.remove()
    assert {key: len(found) for key, found in shown.items()} == {"before": 4, "kept_before": 1, "after": 4, "kept_after": 1}
    half = len(made) // 2
    assert not any(torch.equal(before, after) for before, after in zip(made[:half], made[half:], strict=True))
    assert not any(module._forward_hooks for module in twin().text_encoder.modules())


def test_a_model_without_an_image_model_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert encoder_transfer.main(["--model", str(TINY.folder), "--out", str(tmp_path)]) == 2
    assert "no image model that shares its text encoder" in capsys.readouterr().err
