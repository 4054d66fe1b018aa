"""Wrong requests end in one sentence before anything is sampled."""

from __future__ import annotations

from pathlib import Path

import pytest

from t2vu_core import ConceptRequest, T2VModel, UserError, VelocityRecipe, erase_velocity, load_model
from t2vu_core.cli import main


@pytest.fixture(scope="module")
def loaded() -> T2VModel:
    return load_model("miniature")


@pytest.fixture
def model(loaded: T2VModel, monkeypatch: pytest.MonkeyPatch) -> T2VModel:
    """The bundled model, which must not be asked for a prediction."""

    def predict(*args: object, **more: object) -> None:
        raise AssertionError("The model was computed with.")

    monkeypatch.setattr(type(loaded.family), "predict", predict)
    return loaded


WRONG = {
    "words the model cannot read": (ConceptRequest(("\u6f22\u5b57",)), "cannot read"),
    "a replacement that says the concept": (ConceptRequest(("ghost",), replacement="two ghosts"), "says the concept itself"),
    "a replacement that says a synonym": (
        ConceptRequest(("ghost",), synonyms=("phantom",), replacement="a phantom"), "says the concept itself",
    ),
    "a neighbour that says the concept": (
        ConceptRequest(("ghost",), neighbours=("robot", "friendly ghost")), "neighbour 'friendly ghost'",
    ),
    "what a thing belongs to": (
        ConceptRequest(("ghost",), kind="thing", attribute_of="a shirt"), "asked to be of the kind thing",
    ),
}  # fmt: skip


@pytest.mark.parametrize("which", WRONG)
def test_a_training_run_refuses_it_in_a_sentence_before_it_computes(which: str, model: T2VModel) -> None:
    request, reason = WRONG[which]
    with pytest.raises(UserError, match=reason) as raised:
        erase_velocity(model, request, VelocityRecipe.preset("quick"))
    assert "\n" not in str(raised.value)


def test_a_kind_that_does_not_exist_is_named_with_those_that_do() -> None:
    with pytest.raises(UserError, match="There is no kind of concept 'vibe'; choose one of auto, thing"):
        ConceptRequest(("ghost",), kind="vibe")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "words",
    [".", "-", "!!!", "{}", "{the}", "(:1.2)", "[]", '""', "the", "an", "a", "in", "of", "is", "with", "in the style of", "$"],
)
def test_a_concept_that_names_nothing_is_refused(words: str) -> None:
    with pytest.raises(UserError, match="names nothing: say in words what to erase") as refused:
        ConceptRequest((words,))
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("words", ["{cat|dog}", "a {red|blue} car", "cat|dog"])
def test_alternatives_are_several_concepts(words: str) -> None:
    with pytest.raises(UserError, match="lists alternatives: give each of them as a concept of its own"):
        ConceptRequest((words,))


def test_the_command_says_it_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    near = tmp_path / "near.txt"
    near.write_text("robot\na ghost in a sheet\n")
    wrong = (["--neighbours", str(near)], ["--instead", "the ghost"], ["--kind", "thing", "--of", "a shirt"],
             ["--instead", ""], ["--of", " "], ["--of", "a ghost"], ["--concept", "漢字"], ["--concept", "the"],
             ["--model", str(tmp_path)])  # fmt: skip
    for options in wrong:
        assert main(["plan", "--concept", "ghost", "--model", "miniature", *options]) == 2
        assert capsys.readouterr().err.count("\n") == 1
