"""The memory plan: its figures are those of real runs, from configuration files alone."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from benchmarks.step_measures import COPIES, Job, Meter, Profiled, _ours
from t2vu_core.errors import UserError
from t2vu_core.memory import activations
from t2vu_core.memory.activations import encode_bytes, pass_bytes, step_bytes, step_bytes_by_depth
from t2vu_core.memory.exhausted import is_exhausted
from t2vu_core.memory.explain import _against, memory_line, shapes_of
from t2vu_core.memory.placement import Placement
from t2vu_core.memory.plan import GB, MemoryPlan, Planner
from t2vu_core.memory.presets import memory_preset, preset_for
from t2vu_core.memory.shapes import shaped_model, weight_bytes
from t2vu_core.memory.text_shapes import text_condition
from t2vu_core.memory.wording import training_advice
from t2vu_core.model import load_model
from t2vu_core.model_source import ModelSource
from t2vu_core.quantised_weights import stored_bytes
from t2vu_core.recipes import VelocityRecipe
from t2vu_core.training.velocity import points
from t2vu_core.training.velocity.step import VelocityStep
from t2vu_core.training.velocity.train import erase_velocity
from tests.core.gguf_files import weights, write_gguf
from tests.core.tiny_models import TINY_MODELS, TinyModel, wan_transformer
from tests.core.tiny_training import points_of, small_clips

PROFILED = ("animatediff", "cogvideox-5b", "hunyuan-video", "ltx-video", "mochi", "wan-2.1")
WITHIN = 0.1


def recipe(**changes: Any) -> VelocityRecipe:
    return VelocityRecipe(**{"rank": 4, "concept_batch": 2, "preserve_batch": 4, **changes})


def of_size(tiny: TinyModel, **changes: Any) -> VelocityRecipe:
    return recipe(num_frames=tiny.num_frames, height=tiny.height, width=tiny.width, **changes)


@pytest.fixture
def profiler(monkeypatch: pytest.MonkeyPatch) -> Callable[[Callable[[], Any]], Any]:
    """Run a function that counts, with the profiler counting."""

    def run(count: Callable[[], Any]) -> Any:
        with monkeypatch.context() as patched:
            patched.setattr(activations, "Allocations", Profiled)
            return count()

    return run


@pytest.mark.parametrize("checkpointing", [False, True])
@pytest.mark.parametrize("name", PROFILED)
def test_a_planned_step_is_within_ten_percent_of_the_real_allocations(
    name: str, checkpointing: bool, profiler: Callable[[Callable[[], Any]], Any]
) -> None:
    tiny, kind = TINY_MODELS[name], "lora" if checkpointing else "bottleneck"
    wanted = recipe(gradient_checkpointing=checkpointing, kind=kind)
    with shaped_model(tiny.folder, torch.float32).computing() as family:
        planned = step_bytes(family, wanted, tiny.size).activations
    real = profiler(lambda: step_bytes(tiny.model.family, wanted, tiny.size)).activations
    assert planned == pytest.approx(real, rel=WITHIN)


def test_a_planned_step_through_8_bit_weights_is_within_ten_percent(profiler: Callable[[Callable[[], Any]], Any]) -> None:
    tiny, placement = TINY_MODELS["wan-2.1"], Placement(base_dtype="fp8")
    wanted = recipe(gradient_checkpointing=True)
    shaped = shaped_model(tiny.folder, torch.float32, placement)
    with shaped.computing() as family:
        planned = step_bytes(family, wanted, tiny.size).activations
    placed = load_model(tiny.folder, device="cpu", placement=placement).family
    real = profiler(lambda: step_bytes(placed, wanted, tiny.size)).activations
    assert planned == pytest.approx(real, rel=WITHIN)
    assert weight_bytes(shaped.family.denoisers["transformer"]) == weight_bytes(placed.denoisers["transformer"])


@pytest.mark.parametrize("instructions", ["AVX2", "AVX512"])
def test_the_plan_of_a_whole_training_run_is_that_of_its_measured_step(
    instructions: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the benchmark measures it: the last step of a real run, under torch's profiler; in float32 and in bf16."""
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: instructions)
    tiny = TINY_MODELS["cogvideox-2b"]
    meter = Meter(3, torch.device("cpu"))
    with small_clips(tiny):
        kept = _ours(Job("ours_with_preservation", "", "cpu", batch=4, rank=4, steps=3), tiny.model, meter)
    plan = Planner.of(tiny.folder, of_size(tiny, concept_batch=4), torch.float32, host_only=True).plan()
    assert plan.activations == pytest.approx(meter.peak, rel=WITHIN)
    assert plan.erasers * COPIES / 3 == pytest.approx(kept["bytes"] - kept["trajectory_bytes"], rel=0.01)


def test_weights_and_trajectories_are_those_of_the_real_model() -> None:
    tiny = TINY_MODELS["wan-2.1"]
    wanted = of_size(tiny, concept_trajectories=3, preserve_trajectories=2, trajectory_steps=2, steps=1)
    plan = Planner.of(tiny.folder, wanted, torch.float32).plan()
    parts = tiny.model.family.pipeline.components
    assert plan.weights == weight_bytes(parts["transformer"])
    assert plan.loading == sum(weight_bytes(parts[name]) for name in ("transformer", "text_encoder", "vae"))
    assert erase_velocity(tiny.model, "ghost", wanted).training["trajectory_bytes"] == plan.trajectories
    offloaded = Planner.of(tiny.folder, wanted, torch.float32, Placement("blocks")).plan()
    assert offloaded.weights < 0.5 * plan.weights
    assert offloaded.weights < offloaded.loading < plan.loading, "the encoder's layers pass through the device one by one"


def test_aligned_prompts_and_clips_to_start_from_are_planned(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny, kept = TINY_MODELS["wan-2.1"], list[int]()
    wanted = of_size(tiny, concept_trajectories=3, preserve_trajectories=2, trajectory_steps=2, clip_start_share=1.0)

    def counted(*asked: Any) -> Any:
        found = dataclasses.replace(sample(*asked), masks=None)
        kept.append(found.num_bytes)
        return found

    sample = points._kept
    monkeypatch.setattr(points, "_kept", counted)
    encoded = points_of(tiny, wanted).prompts.conditions
    plan = Planner.of(tiny.folder, wanted, torch.float32).plan()
    assert len(kept) == 3
    assert plan.trajectories == sum(kept)
    assert plan.prompts == sum(each.embeds_BSD.nbytes for each in encoded.values())


def test_rounds_of_learned_tokens_are_planned_with_the_text_encoder_next_to_the_denoiser() -> None:
    tiny = TINY_MODELS["wan-2.1"]
    plain, rounds = (Planner.of(tiny.folder, of_size(tiny, probe_rounds=count), torch.float32).plan() for count in (0, 2))
    assert rounds.peak == sum((rounds.loading, rounds.encoding, rounds.prompts, rounds.erasers, rounds.activations))
    assert rounds.peak > plain.peak
    assert "probe_rounds=0" in training_advice(rounds)
    assert "probe_rounds" not in training_advice(plain)


@pytest.mark.parametrize("name", TINY_MODELS)
def test_planned_prompts_have_the_shapes_of_encoded_ones(name: str) -> None:
    family = TINY_MODELS[name].model.family
    real, planned = family.encode(["a red ghost", "a cat"]), text_condition(family, 2)
    for field in ("embeds_BSD", "mask_BS", "pooled_BD", "glyphs_BGD", "glyph_mask_BG"):
        ours, theirs = getattr(planned, field), getattr(real, field)
        assert (ours is None) == (theirs is None), field
        assert ours is None or ours.shape == theirs.shape, field


def test_a_deep_denoiser_is_counted_from_shallow_ones(tmp_path: Path) -> None:
    """Counting every block of a large model takes minutes; the same sum comes from two blocks and three."""
    config = {**wan_transformer().config, "num_layers": 7}
    folder = config_only(TINY_MODELS["wan-2.1"], tmp_path)
    (folder / "transformer" / "config.json").write_text(json.dumps(config), encoding="utf-8")
    for checkpointing in (False, True):
        wanted, size = recipe(gradient_checkpointing=checkpointing), TINY_MODELS["wan-2.1"].size
        with shaped_model(folder, torch.float32).computing() as family:
            assert len(family.eraser_sites()) == 7
            whole, from_few = step_bytes(family, wanted, size), step_bytes_by_depth(family, wanted, size)
        assert from_few.activations == pytest.approx(whole.activations, rel=0.01)
        assert from_few.erasers == whole.erasers


def test_a_plan_of_other_frames_is_interpolated_and_right() -> None:
    tiny = TINY_MODELS["wan-2.1"]
    planner = Planner.of(tiny.folder, of_size(tiny, gradient_checkpointing=True), torch.float32)
    between, exact = planner.with_frames(17), planner.plan(replace(tiny.size, num_frames=17))
    for name in ("activations", "trajectories"):
        assert getattr(between, name) == pytest.approx(getattr(exact, name), rel=0.02), name


def config_only(tiny: TinyModel, to: Path) -> Path:
    """The model's folder without its weights and tokenizers."""
    folder = to / tiny.folder.name
    for path in tiny.folder.rglob("*.json"):
        if path.name in ("config.json", "model_index.json", "scheduler_config.json"):
            (folder / path.relative_to(tiny.folder)).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, folder / path.relative_to(tiny.folder))
    return folder


def test_the_command_needs_configuration_files_only(t2vu: Callable[..., tuple[int, str, str]], tmp_path: Path) -> None:
    folder = config_only(TINY_MODELS["ltx-video"], tmp_path)
    asked = ("plan", "--memory", "--model", folder, "--num-frames", 9, "--height", 64, "--width", 96)
    code, out, error = t2vu(*asked, "--memory-limit", 16, "--json")
    assert code == 0, error
    result = json.loads(out)
    assert result["fits"] is True
    assert result["measured"] is False
    assert result["num_frames"] == 9
    parts = ("weights_gb", "activations_gb", "trajectories_gb", "peak_gb")
    assert all(result[name] > 0 for name in parts)
    assert result["peak_gb"] >= result["weights_gb"]
    code, out, _ = t2vu(*asked, "--memory-limit", 0.6)
    assert code == 0
    assert "does not fit in 0.6 GB" in out
    assert "not measured on a GPU" in out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--memory"], "needs --model"),
        (["--memory", "--model", "nowhere"], "There is no model 'nowhere'"),
        (["--memory", "--model", "miniature", "--memory-limit", "0"], "above 0"),
        (["--memory", "--model", "miniature", "--memory-limit", "nan"], "above 0"),
        (["--memory", "--model", "miniature", "--memory-limit", "inf"], "above 0"),
        (["--memory", "--model", "miniature", "--device", "toaster"], "There is no device 'toaster'"),
        (["--model", "miniature"], "Say what to plan"),
    ],
)
def test_a_plan_that_cannot_be_made_says_why(t2vu: Callable, options: list[str], message: str) -> None:
    code, _, error = t2vu("plan", *options)
    assert code == 2
    assert message in error


def test_presets_take_what_fits_and_say_that_nothing_was_measured() -> None:
    tiny = TINY_MODELS["wan-2.1"]
    own = recipe(num_frames=17, height=64, width=96)
    roomy = memory_preset(tiny.folder, 16 * GB, own, torch.bfloat16, {"height": 64, "width": 96})
    assert roomy.placement == Placement()
    assert roomy.settings["concept_batch"] == 4
    assert roomy.settings["probe_rounds"] == 0, "they need the text encoder next to the denoiser"
    assert roomy.settings["num_frames"] == tiny.model.family.defaults.size.num_frames
    assert "not measured" in roomy.describe()
    tight = roomy.plan.needed - 20_000
    narrow = memory_preset(tiny.folder, tight, own, torch.bfloat16, {"height": 64, "width": 96})
    assert narrow.plan.needed <= tight
    assert narrow.placement != Placement(), "encoding needs the most here, so the text encoder is offloaded first"
    with pytest.raises(UserError, match="does not fit in 0.5 GB"):
        memory_preset(tiny.folder, GB // 2, own, torch.bfloat16, {"height": 64, "width": 96})


def test_a_loaded_model_gets_settings_that_fit_where_it_is() -> None:
    family, own = TINY_MODELS["wan-2.1"].model.family, recipe(num_frames=5, height=64, width=96)
    shaped = shapes_of(family)
    assert shaped is not None
    roomy = preset_for(shaped, 16 * GB, own, {"num_frames": 5})
    assert roomy.settings["concept_batch"] == 4
    assert roomy.settings["num_frames"] == 5
    assert roomy.placement == shaped.placement
    with pytest.raises(UserError, match="does not fit in 0.5 GB as it is loaded.*Load the model offloaded"):
        preset_for(shaped, GB // 2, own)


def test_erasing_within_a_memory_says_what_was_chosen(t2vu: Callable, tmp_path: Path) -> None:
    few = ("steps=1", "concept_trajectories=1", "preserve_trajectories=1", "trajectory_steps=2", "rank=2", "num_frames=5")
    options = [part for each in few for part in ("--method-option", each)]
    asked = ["erase", "--model", "miniature", "--concept", "ghost", "--out", tmp_path / "ghost", "--memory", "8", *options]
    code, out, error = t2vu(*asked, "--json")
    assert code == 0
    assert json.loads(out)["steps"] == 1
    assert "8 GB: 5 frames of 32 x 32" in error
    assert "Memory, planned:" in error
    code, _, error = t2vu(*asked, "--offload", "blocks")
    assert code == 2
    assert "--memory chooses" in error


def test_what_cuda_reports_outside_pytorchs_allocator_is_memory_that_runs_out() -> None:
    kind = getattr(torch, "AcceleratorError", None)
    if kind is None:
        pytest.skip("this torch has no AcceleratorError")
    assert is_exhausted(kind("CUDA error: out of memory"))
    assert not is_exhausted(kind("CUDA error: an illegal memory access was encountered"))
    assert not is_exhausted(RuntimeError("out of memory"))


def test_memory_that_runs_out_is_a_sentence_with_what_to_lower(monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = TINY_MODELS["wan-2.1"]
    wanted = of_size(tiny, concept_trajectories=2, preserve_trajectories=2, trajectory_steps=2, steps=2)
    assert "Memory, planned:" in (memory_line(tiny.model.family, wanted) or "")

    def run_out(*_: object) -> None:
        raise torch.cuda.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(VelocityStep, "loss", run_out)
    with pytest.raises(UserError, match=r"(?i)5 frames of 32 x 48 need .* GB.* lower num_frames"):
        erase_velocity(tiny.model, "ghost", wanted)
    monkeypatch.setattr(type(tiny.model.family), "encode", run_out)
    with pytest.raises(UserError, match="Offload the text encoder"):
        erase_velocity(tiny.model, "ghost", wanted)


def test_a_plan_of_weights_that_move_by_themselves_says_how_many_stay_behind() -> None:
    """As ComfyUI does it: only what a step allocates must fit, and the largest layer."""
    size = TINY_MODELS["wan-2.1"].size
    plan = MemoryPlan(
        "model", size, 3, Placement(), weights=14 * GB, loading=7 * GB, encoding=GB, erasers=0, prompts=0,
        activations=4 * GB, sampling=2 * GB, trajectories=GB, trajectories_on="disk", least_weights=GB // 10,
    )  # fmt: skip
    assert plan.peak == 18 * GB
    assert _against(plan, 24 * GB) == "That fits in 24 GB."
    assert _against(plan, 12 * GB) == "That fits in 12 GB with 7.5 GB of the weights in host memory, where ComfyUI keeps them."
    assert "may not fit in 4.0 GB. Switch low_memory on" in _against(plan, 4 * GB)
    assert not dataclasses.replace(plan, least_weights=None).fits(12 * GB)
    assert not dataclasses.replace(plan, host_only=True).fits(12 * GB), "the host has nowhere to move weights to"


@pytest.mark.parametrize("name", ["animatediff", "wan-2.1"])
def test_encoding_is_planned_within_ten_percent(name: str, profiler: Callable[[Callable[[], Any]], Any]) -> None:
    tiny = TINY_MODELS[name]
    with (shaped := shaped_model(tiny.folder, torch.float32)).computing():
        planned = encode_bytes(shaped.parts()["text_encoder"], 4, 77)
    real = profiler(lambda: encode_bytes(tiny.model.family.pipeline.text_encoder, 4, 77))
    assert planned == pytest.approx(real, rel=WITHIN)


def test_a_pass_without_gradients_takes_less_than_a_step() -> None:
    tiny = TINY_MODELS["cogvideox-2b"]
    with shaped_model(tiny.folder, torch.float32).computing() as family:
        assert 0 < pass_bytes(family, 6, tiny.size) < step_bytes(family, recipe(), tiny.size).activations


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0", "int8"])
def test_a_plan_of_quantised_weights_is_within_ten_percent(
    kind: str, profiler: Callable[[Callable[[], Any]], Any], tmp_path: Path
) -> None:
    tiny, placement = TINY_MODELS["ltx-video"], Placement()
    source = ModelSource(tiny.folder)
    if kind == "int8":
        pytest.importorskip("optimum.quanto", reason="optimum-quanto is not installed")
        placement = Placement(base_dtype="int8")
        model = load_model(tiny.folder, device="cpu", placement=placement)
    else:
        source = ModelSource(tiny.folder, {"transformer": write_gguf(tmp_path / "ltx.gguf", weights(tiny), kind)})
        model = load_model(source.files["transformer"], config=tiny.folder, device="cpu")
    shaped = shaped_model(source, torch.float32, placement)
    real_bytes = sum(map(stored_bytes, model.family.pipeline.transformer.parameters()))
    assert weight_bytes(shaped.family.denoisers["transformer"]) == pytest.approx(real_bytes, rel=WITHIN)
    for checkpointing in (False, True):
        wanted = recipe(gradient_checkpointing=checkpointing, kind="lora")
        with shaped.computing() as family:
            planned = step_bytes(family, wanted, tiny.size).activations
        real = profiler(lambda wanted=wanted: step_bytes(model.family, wanted, tiny.size)).activations
        assert planned == pytest.approx(real, rel=WITHIN)
