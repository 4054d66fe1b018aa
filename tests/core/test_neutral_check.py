"""The neutral check: what takes the concept's place is looked at before anything is trained."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from t2vu_core import (
    ClosedFormRecipe,
    ConceptRequest,
    Erasure,
    FewShotRecipe,
    T2VModel,
    UserError,
    VelocityRecipe,
    load_image_model,
    load_model,
)
from t2vu_core.cli import main
from t2vu_core.evaluation.detectors import Judgement
from t2vu_core.evaluation.neutral_check import CLIPS, check_neutral
from t2vu_core.evaluation.neutral_source import STEPS
from t2vu_core.training.progress import TrainProgress


class Detector:
    """Sees the concept in every clip whose first pixel is bright."""

    name, clean_prompts = "of this test", None

    def known(self) -> tuple[str, ...]:
        return ()

    def resolve(self, concept: str) -> str | None:
        return concept

    def accuracy(self, concept: str) -> None:
        return None

    def judge(self, clips: Tensor, concepts: Sequence[str]) -> list[Judgement]:
        shown = [dict.fromkeys(concepts, bool(clip[0, 0, 0, 0] > 0.5)) for clip in clips]
        return [Judgement(each, {name: [there] * clips.shape[1] for name, there in each.items()}, 1.0) for each in shown]


@pytest.fixture(scope="module")
def model() -> T2VModel:
    return load_model("miniature")


@pytest.fixture
def drawn(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Clips by prompt: dark for what has taken the concept's place, bright for a scene without it."""
    prompts: list[str] = []

    def sample(self: T2VModel, prompt: str, **more: object) -> Tensor:
        prompts.append(prompt)
        return torch.full((1, 9, 3, 32, 32), 0.1 if any(word in prompt for word in ("dog", "person", "robot")) else 0.9)

    monkeypatch.setattr(T2VModel, "sample", sample)
    return prompts


RECIPE = VelocityRecipe.preset("quick")


def test_the_bundled_model_draws_an_empty_scene_where_a_ghost_was(model: T2VModel) -> None:
    stages: list[TrainProgress] = []
    check = check_neutral(model, ConceptRequest(("ghost",)), RECIPE, on_progress=stages.append)
    assert check.taken.drawable
    assert check.request == ConceptRequest(("ghost",))
    assert "an empty scene" in check.message
    assert len(check.taken.prompts) == CLIPS
    assert not any("ghost" in prompt for prompt in check.taken.prompts)
    assert [stages[-1].stage, stages[-1].step, stages[-1].total] == ["neutral check", CLIPS * STEPS, CLIPS * STEPS]
    assert check.sheet().shape == (3, CLIPS * 32, 3 * 32)


def test_the_next_replacement_is_taken_where_the_first_shows_the_concept(model: T2VModel, drawn: list[str]) -> None:
    request = ConceptRequest(("nurse",), kind="person")
    check = check_neutral(model, request, RECIPE, detector=Detector())
    assert (check.taken.replacement, check.taken.drawable) == ("a person", True)
    thing = check_neutral(model, ConceptRequest(("dragon",), replacement="an empty scene"), RECIPE, detector=Detector())
    assert thing.request.replacement == "an empty scene"
    assert thing.taken.drawable is False
    assert "show 'dragon' itself" in thing.message


def test_a_class_takes_the_place_of_a_scene_that_shows_the_concept(
    model: T2VModel, drawn: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from t2vu_core.evaluation import neutral_check, neutral_source
    from t2vu_core.prompts.prompt_set import prompt_set_for

    general = prompt_set_for(None)
    for module in (neutral_check, neutral_source):
        monkeypatch.setattr(module, "prompt_set_for", lambda folder: general)
    request = ConceptRequest(("golden retriever",))
    check = check_neutral(model, request, RECIPE, detector=Detector())
    assert [each.replacement for each in check.tried] == ["an empty scene", "a dog"]
    assert check.request.replacement == "a dog"
    assert "The plan's next choice is taken" in check.message
    assert check.describe()["taken"] == "a dog"
    given = check_neutral(
        model, ConceptRequest(("golden retriever",), replacement="an empty scene"), RECIPE, detector=Detector()
    )
    assert given.request.replacement == "an empty scene"
    assert "'a dog' is better" in given.message


def test_without_a_detector_the_clips_are_only_shown(
    model: T2VModel, drawn: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    check = check_neutral(model, ConceptRequest(("a lighthouse",)), RECIPE)
    assert check.taken.drawable is None
    assert "Look at the clips" in check.message


def test_both_other_methods_are_looked_at_before_they_compute(model: T2VModel) -> None:
    for recipe in (FewShotRecipe.preset("quick"), ClosedFormRecipe()):
        check = check_neutral(model, ConceptRequest(("ghost",)), recipe)
        assert check.taken.drawable
        assert check.taken.clips.shape == (CLIPS, 9, 3, 32, 32), "the miniatures' detector judges single frames badly"
        assert not any("ghost" in prompt for prompt in check.taken.prompts)


def test_what_no_miniatures_detector_judges_has_the_frames_of_the_recipe(model: T2VModel) -> None:
    check = check_neutral(model, ConceptRequest(("a lighthouse",)), FewShotRecipe.preset("quick"))
    assert check.taken.clips.shape == (CLIPS, 1, 3, 32, 32), "hours of whole clips before a training run on single frames"
    assert check.sheet().shape == (3, CLIPS * 32, 32)


def test_an_encoder_without_a_video_model_is_looked_at_through_its_image_model() -> None:
    stages: list[TrainProgress] = []
    image_model = load_image_model("miniature-unet-image")
    check = check_neutral(image_model, ConceptRequest(("ghost",)), FewShotRecipe.preset("quick"), on_progress=stages.append)
    assert check.taken.drawable is None
    assert check.taken.clips.shape == (CLIPS, 1, 3, 32, 32)
    assert check.taken.clips.std() > 0.05, "blank images"
    assert stages[-1].step == CLIPS * STEPS


def test_a_few_step_model_is_looked_at_with_its_own_steps(model: T2VModel, monkeypatch: pytest.MonkeyPatch) -> None:
    few = dataclasses.replace(model.family.defaults, num_inference_steps=4)
    monkeypatch.setattr(type(model.family), "defaults", property(lambda self: few))
    stages: list[TrainProgress] = []
    check_neutral(model, ConceptRequest(("a lighthouse",)), FewShotRecipe(), on_progress=stages.append)
    assert stages[-1].total == CLIPS * 4, "a distilled model is only right at its own steps"


def test_a_clip_that_cannot_be_trained_on_is_refused_before_the_first_look(model: T2VModel, drawn: list[str]) -> None:
    for recipe in (RECIPE, FewShotRecipe(), ClosedFormRecipe()):
        with pytest.raises(UserError, match="cannot|multiple"):
            check_neutral(model, ConceptRequest(("ghost",)), dataclasses.replace(recipe, height=33))
    with pytest.raises(UserError, match="rounds has no effect"):
        check_neutral(model, ConceptRequest(("ghost",)), ClosedFormRecipe(objective="refusal", rounds=1))
    assert not drawn


def test_the_size_of_the_images_that_an_encoder_is_trained_through_is_not_asked_of_the_video_model(
    model: T2VModel, drawn: list[str]
) -> None:
    recipe, image_model = FewShotRecipe(height=40, width=24), load_image_model("miniature-unet-image")
    with pytest.raises(UserError, match="24 x 40"):
        check_neutral(model, ConceptRequest(("cat",)), recipe)
    assert check_neutral(model, ConceptRequest(("cat",), replacement="a robot"), recipe, through=image_model).given
    with pytest.raises(UserError, match="multiples"):
        check_neutral(model, ConceptRequest(("cat",)), dataclasses.replace(recipe, height=33), through=image_model)


def test_a_cancel_stops_it(model: T2VModel) -> None:
    class Cancelled(Exception):
        pass

    def on_progress(progress: TrainProgress) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        check_neutral(model, ConceptRequest(("ghost",)), RECIPE, on_progress=on_progress)


def test_the_command_looks_without_training(drawn: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["erase", "--model", "miniature", "--concept", "cat", "--instead", "a robot", "--check-only"]
    assert main([*arguments, "--log", str(tmp_path)]) == 0
    said = capsys.readouterr().out
    assert "neutral_check.png" in said
    assert [file.name for file in tmp_path.iterdir()] == ["neutral_check.png"]
    assert main(["erase", "--model", "miniature", "--concept", "cat"]) == 2
    assert "--out" in capsys.readouterr().err


@pytest.mark.parametrize("command", [["unlearn-encoder"], ["erase", "--method", "closed_form"]])
def test_the_commands_of_the_other_methods_look_too(
    command: list[str], drawn: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [*command, "--model", "miniature", "--concept", "cat", "--instead", "a robot", "--check-only"]
    assert main([*arguments, "--log", str(tmp_path)]) == 0
    assert "neutral_check.png" in capsys.readouterr().out
    assert [file.name for file in tmp_path.iterdir()] == ["neutral_check.png"]
    assert [("robot" in prompt) for prompt in drawn[:CLIPS]] == [True] * CLIPS, "another replacement was looked at first"


def test_the_file_of_every_method_keeps_what_was_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    few = {"unlearn-encoder": ["prompts=4", "steps=1", "shots=1", "shot_steps=1"], "erase": ["concept_prompts=4"]}
    for command, settings in few.items():
        out = tmp_path / f"{command}.safetensors"
        arguments = [command, "--model", "miniature", "--concept", "ghost", "--out", str(out)]
        arguments += ["--method", "closed_form"] if command == "erase" else []
        arguments += [word for setting in (*settings, "preserve_prompts=4") for word in ("--method-option", setting)]
        assert main(arguments) == 0
        assert Erasure.load(out).prompts["neutral_check"]["taken"] == "an empty scene"
        assert "an empty scene" in capsys.readouterr().err, "the message is not shown before it trains"
        assert main([*arguments, "--no-check"]) == 0
        assert "neutral_check" not in Erasure.load(out).prompts
        capsys.readouterr()
