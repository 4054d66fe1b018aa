"""Velocity erasing on a tiny model of the real classes: what is trained, what is kept, what is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from benchmarks.ablations import CHANGES
from t2vu_core.commands.training import TrainingOrder
from t2vu_core.erasure import Erasure
from t2vu_core.errors import Cancelled, NotFinite, UserError
from t2vu_core.objectives.velocity import negative_guidance_target
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.recipes import VelocityRecipe
from t2vu_core.training.loop import StopEarly, TrainingDiverged, train
from t2vu_core.training.progress import TrainProgress
from t2vu_core.training.schedule import Schedule
from t2vu_core.training.velocity.train import erase_velocity
from tests.core.tiny_models import TINY_MODELS

TINY = TINY_MODELS["cogvideox-2b"]
FEW = {"concept_trajectories": 2, "preserve_trajectories": 2, "trajectory_steps": 2, "steps": 8, "rank": 4}


def recipe(**changes: object) -> VelocityRecipe:
    return VelocityRecipe.preset("quick", **{**FEW, **changes})


def test_the_target_is_the_papers_formula() -> None:
    concept, without = torch.tensor([3.0, 1.0]), torch.tensor([1.0, 1.0])
    assert torch.equal(negative_guidance_target(concept, without, 2.0), torch.tensor([-3.0, 1.0]))
    assert torch.equal(negative_guidance_target(concept, without, 0.0), without)


def test_training_lowers_the_loss_and_moves_no_weight_of_the_model() -> None:
    weights = {name: value.clone() for name, value in TINY.model.family.pipeline.transformer.state_dict().items()}
    erasure = erase_velocity(TINY.model, "ghost", recipe(steps=30, learning_rate=1e-2, eta=100.0))
    losses = erasure.training["losses"]
    assert sum(losses[-5:]) < sum(losses[:5])
    after = TINY.model.family.pipeline.transformer.state_dict()
    assert all(torch.equal(after[name], value) for name, value in weights.items())
    assert all(parameter.grad is None for parameter in TINY.model.family.pipeline.transformer.parameters())


def test_a_training_run_that_broke_down_says_so_and_not_to_train_harder() -> None:
    said = erase_velocity(TINY.model, "ghost", recipe(steps=20, learning_rate=1.0, neutral_share=0.0)).training["warning"]
    assert re.match(r"The training broke down: .* are \S+ times as far from their targets as before it\. Lower the", said)
    sound = erase_velocity(TINY.model, "ghost", recipe(steps=20, learning_rate=1e-2)).training["warning"]
    assert "broke down" not in (sound or "")


def test_the_same_seed_trains_the_same_erasure_and_another_another() -> None:
    first, second = (erase_velocity(TINY.model, "ghost", recipe(seed=3)) for _ in range(2))
    other = erase_velocity(TINY.model, "ghost", recipe(seed=4))
    assert all(torch.equal(first.tensors[name], second.tensors[name]) for name in first.tensors)
    assert not all(torch.equal(first.tensors[name], other.tensors[name]) for name in first.tensors)


def test_the_erasure_says_what_was_used() -> None:
    erasure = erase_velocity(
        TINY.model, ConceptRequest((" ghost ",), synonyms=["clown"], preserve_prompts=["a small dog"]), recipe()
    )
    assert erasure.concepts == ("ghost",)
    assert erasure.recipe["rank"] == 4
    assert "a small dog" in erasure.prompts["preserve"]
    assert erasure.base == TINY.model.base
    assert erasure.scores is None


def test_it_works_inside_a_comfyui_node() -> None:
    with torch.inference_mode():
        erasure = erase_velocity(TINY.model, "ghost", recipe())
    assert not any(tensor.is_inference() for tensor in erasure.tensors.values())


def test_an_erased_model_can_be_erased_further() -> None:
    once = TINY.model.with_erasure(erase_velocity(TINY.model, "ghost", recipe()))
    twice = once.with_erasure(erase_velocity(once, "clown", recipe()))
    assert [applied.erasure.concepts for applied in twice.erasures] == [("ghost",), ("clown",)]


def test_progress_tells_both_stages_and_cancel_stops_within_a_step() -> None:
    seen: list[TrainProgress] = []

    def stop(progress: TrainProgress) -> None:
        seen.append(progress)
        if progress.stage == "training" and progress.step == 2:
            assert progress.preview is not None
            assert progress.preview().shape[2] == 3
            raise Cancelled

    with pytest.raises(Cancelled):
        erase_velocity(TINY.model, "ghost", recipe(), on_progress=stop)
    assert {progress.stage for progress in seen} == {"encoding", "trajectories", "training"}
    assert seen[-1].step == 2
    assert not TINY.model.family.pipeline.transformer.transformer_blocks[0].attn1._forward_hooks


@pytest.mark.parametrize(
    ("concept", "hint"), [("", "concept is empty"), ("  ", "concept is empty"), ("\u6f22\u5b57", "cannot read")]
)
def test_a_concept_that_says_nothing_is_refused(concept: str, hint: str) -> None:
    with pytest.raises(UserError, match=hint):
        erase_velocity(TINY.model, concept, recipe())


@pytest.mark.parametrize(
    ("changes", "hint"),
    [
        ({"eta": float("nan")}, "eta .* must be between"),
        ({"steps": 0}, "steps .* must be between"),
        ({"steps": 2.5}, "steps .* must be between"),
        ({"ranks": 3}, "no setting 'ranks'"),
        ({"name": "x"}, "no setting 'name'"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(changes: dict[str, object], hint: str) -> None:
    with pytest.raises(UserError, match=hint):
        recipe(**changes)


def test_an_unknown_preset_is_refused_with_the_known_ones() -> None:
    with pytest.raises(UserError, match="quick, balanced, thorough"):
        VelocityRecipe.preset("best")


def stopped_at(step: int) -> Callable[[TrainProgress], None]:
    def stop(progress: TrainProgress) -> None:
        if progress.stage == "training" and progress.step == step:
            raise Cancelled

    return stop


@pytest.mark.parametrize("step", [1, 4, 7])
def test_a_stopped_training_resumes_bit_for_bit(tmp_path: Path, step: int) -> None:
    whole = erase_velocity(TINY.model, "ghost", recipe())
    with pytest.raises(Cancelled):
        erase_velocity(TINY.model, "ghost", recipe(), log_folder=tmp_path, on_progress=stopped_at(step))
    resumed = erase_velocity(TINY.model, "ghost", recipe(), log_folder=tmp_path)
    assert all(torch.equal(whole.tensors[name], resumed.tensors[name]) for name in whole.tensors)
    assert whole.training["losses"] == resumed.training["losses"]


def test_the_comparison_of_resumed_trainings_can_fail(tmp_path: Path) -> None:
    whole = erase_velocity(TINY.model, "ghost", recipe())
    with pytest.raises(Cancelled):
        erase_velocity(TINY.model, "ghost", recipe(), log_folder=tmp_path, on_progress=stopped_at(4))
    state = tmp_path / "state.safetensors"
    with safe_open(str(state), framework="pt") as file:
        tensors, metadata = {name: file.get_tensor(name) for name in file.keys()}, file.metadata()  # noqa: SIM118
    forgotten = {name: value * 0 if ".exp_avg." in name else value for name, value in tensors.items()}
    save_file(forgotten, str(state), metadata)
    resumed = erase_velocity(TINY.model, "ghost", recipe(), log_folder=tmp_path)
    assert not all(torch.equal(whole.tensors[name], resumed.tensors[name]) for name in whole.tensors)


def test_the_state_of_another_training_is_refused(tmp_path: Path) -> None:
    erase_velocity(TINY.model, "ghost", recipe(), log_folder=tmp_path)
    with pytest.raises(UserError, match="another training"):
        erase_velocity(TINY.model, "clown", recipe(), log_folder=tmp_path)
    (tmp_path / "state.safetensors").write_bytes(b"torn")
    with pytest.raises(UserError, match="cannot be read"):
        erase_velocity(TINY.model, "ghost", recipe(), log_folder=tmp_path)


def test_stopping_early_keeps_what_was_trained_and_replaces_no_complete_file(tmp_path: Path) -> None:
    def stop(progress: TrainProgress) -> None:
        if progress.stage == "training" and progress.step == 3:
            raise StopEarly

    erasure = erase_velocity(TINY.model, "ghost", recipe(), on_progress=stop)
    assert erasure.training["steps"] == 3
    assert any(tensor.abs().max() > 0 for name, tensor in erasure.tensors.items() if "lora_B" in name)
    assert erasure.partial == f"partial result: 3 of {recipe().steps} steps"
    whole = erase_velocity(TINY.model, "ghost", recipe())
    assert whole.partial is None
    order = TrainingOrder(ConceptRequest(("ghost",)), tmp_path / "ghost.safetensors", None)
    assert [order.save(made).name for made in (erasure, erasure, whole, erasure, whole)] == [
        "ghost.safetensors", "ghost.safetensors", "ghost.safetensors", "ghost_2.safetensors", "ghost.safetensors"
    ]  # fmt: skip


def test_a_loss_that_is_not_a_number_stops_before_the_weights_break() -> None:
    weight = torch.nn.Parameter(torch.ones(2))

    def loss_at(step: int) -> torch.Tensor:
        return weight.sum() * (float("nan") if step == 3 else 1.0)

    with pytest.raises(TrainingDiverged, match="step 3"):
        train({"weight": weight}, loss_at, Schedule(10, 0.1))
    assert torch.isfinite(weight).all()


def breaking(step: int) -> tuple[Any, Any]:
    """A hook of the denoiser that breaks all it predicts after so many steps, and the callback that it listens to."""
    done = 0

    def watch(progress: TrainProgress) -> None:
        nonlocal done
        done = progress.step if progress.stage == "training" else 0

    def hook(module: Any, args: Any, output: Any) -> Any:
        return tuple(part * float("nan") for part in output) if done == step else output

    return TINY.model.family.pipeline.transformer.register_forward_hook(hook), watch


def test_a_loss_that_is_not_a_number_gives_the_eraser_of_the_steps_before_and_says_so(tmp_path: Path) -> None:
    handle, watch = breaking(5)
    try:
        erasure = erase_velocity(TINY.model, "ghost", recipe(), log_folder=tmp_path, on_progress=watch)
    finally:
        handle.remove()
    assert erasure.training["warning"].startswith("The loss became nan at step 5.")
    assert len(erasure.training["losses"]) == 5
    assert erasure.training["pushed"] is None, "JSON knows no NaN"
    assert all(torch.isfinite(tensor).all() for tensor in erasure.tensors.values())
    assert any(tensor.abs().max() > 0 for name, tensor in erasure.tensors.items() if "lora_B" in name)
    loaded = Erasure.load(erasure.save(tmp_path / "ghost"))
    assert loaded.training == erasure.training


def test_a_training_run_that_breaks_at_once_leaves_nothing(tmp_path: Path) -> None:
    handle, watch = breaking(0)
    try:
        with pytest.raises(NotFinite, match="The model computes NaN"):
            erase_velocity(TINY.model, "ghost", recipe(), log_folder=tmp_path, on_progress=watch)
    finally:
        handle.remove()
    assert not (tmp_path / "state.safetensors").exists()


def test_prompts_of_the_user_that_found_no_place_are_told(caplog: pytest.LogCaptureFixture) -> None:
    own = [f"a ghost number {index}" for index in range(5)]
    kept = ["a lamp", "a cup", "a tree"]
    erasure = erase_velocity(TINY.model, ConceptRequest("ghost", concept_prompts=own, preserve_prompts=kept), recipe(steps=2))
    first = "3 of your 5 prompts are not used ('a ghost number 2' is the first): raise concept_trajectories."
    second = "1 of your 3 prompts are not used ('a tree' is the first): raise preserve_trajectories."
    assert erasure.training["warning"].endswith(f"{first} {second}")
    assert first in caplog.text
    some = erase_velocity(
        TINY.model, ConceptRequest("ghost", concept_prompts=own[:2], preserve_prompts=kept[:2]), recipe(steps=2)
    )
    assert "not used" not in (some.training["warning"] or "")


def test_the_settings_page_names_every_setting_with_its_default_and_a_reason() -> None:
    page = (Path(__file__).parents[2] / "docs" / "settings" / "velocity.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in page.splitlines() if line.startswith("| `")]
    told = {cells[0].strip("`"): cells[1:] for cells in rows}
    for name, default in VelocityRecipe().describe().items():
        shown, reason = told[name]
        written = str(default).lower() if isinstance(default, bool) else str(default).removesuffix(".0")
        assert shown.strip("`") == written, name
        assert len(reason) > 20, name
    for row in re.findall(r"Rows? ([^.]+)\.", page):
        for name in re.findall(r"`(\w+)…?`", row):
            assert any(known.startswith(name) for known in CHANGES), f"there is no row {name}"
