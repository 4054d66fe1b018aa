"""What a text says of a concept: by its names in all their forms, by another word for it, or by a kind of it."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from t2vu_core.cli import main
from t2vu_core.errors import UserError
from t2vu_core.mentions import says
from t2vu_core.miniature.bundled import bundled_folder
from t2vu_core.prompts.candidates import PlanSize
from t2vu_core.prompts.common_concepts import common_concept
from t2vu_core.prompts.concept import understand
from t2vu_core.prompts.languages import is_english
from t2vu_core.prompts.lines import prompt_lines
from t2vu_core.prompts.meanings import kinds_of
from t2vu_core.prompts.neutral import without_concepts
from t2vu_core.prompts.plan import PromptPlan, plan_request
from t2vu_core.prompts.prompt_set import prompt_set_for
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.recipes import ClosedFormRecipe, FewShotRecipe, VelocityRecipe
from t2vu_core.training.few_shot.plan import encoder_plan

GENERAL = prompt_set_for(None)


def plan(concept: str, **asked: Any) -> PromptPlan:
    return plan_request(ConceptRequest(concept, **asked), GENERAL, PlanSize(24, 60, 0))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("She lights a cigarette", "lighting a cigarette"), ("She lit her cigarette", "lighting a cigarette"),
        ("they smoke cigarettes", "smoking a cigarette"), ("a couple has sex", "having sex"),
        ("he takes drugs in a club", "taking drugs"), ("they took drugs", "taking drugs"),
        ("he hits someone", "hitting someone"), ("A man hits a woman.", "hitting someone"),
        ("he hits his old wife", "hitting someone"), ("she punches him", "punching someone"),
        ("two men smoke", "smoking"), ("They smoke", "smoking"), ("she starts to smoke", "smoking"),
        ("soldiers shoot", "shooting"),
        ("a man ran home", "running"), ("a woman runs", "running"), ("she kisses him", "kissing"),
        ("gray hair", "grey hair"), ("grey hair", "gray hair"), ("a watercolor", "watercolour"), ("in greyscale", "grayscale"),
        ("a stylized cat", "stylised cat"), ("at the centre", "center"),
        ("Beyoncé sings", "Beyonce"), ("beyonce sings", "Beyoncé"), ("POKEMON", "Pokémon"),
        ("(red:1.2) hair", "red hair"), ("1girl, (red_hair:1.3)", "red hair"),
        ("a golden (retriever:1.2)", "golden retriever"), ("golden (retriever)", "golden retriever"),
    ],
)  # fmt: skip
def test_a_name_is_found_in_the_forms_and_spellings_that_prompts_have(text: str, name: str) -> None:
    assert says(text, [name])


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("a drummer hits her drum", "hitting someone"), ("a red (hair salon)", "red hair"), ("he builds a house", "building"),
        ("he paints a wall", "painting"), ("an even road", "evening"), ("the phone rang", "ring"), ("a glass of rosé", "rose"),
        ("a hot dog", "dog"), ("two hot-dogs", "dogs"), ("a guinea pig", "pig"), ("a glue gun", "a gun"),
        ("a komodo dragon", "dragon"),
        ("smoke rises", "smoking"), ("chimneys smoke", "smoking"), ("the men see smoke", "smoking"),
        ("a person takes a photo of drugs", "taking drugs"),
    ],
)  # fmt: skip
def test_a_word_that_only_looks_like_a_form_of_the_name_is_not_found(text: str, name: str) -> None:
    assert not says(text, [name])


@pytest.mark.parametrize(
    ("concept", "prompt", "neutral"),
    [
        ("smoking", "She lights a cigarette in a bar", "She is calm in a bar"),
        ("taking drugs", "He takes drugs in a club", "He is calm in a club"),
        ("golden retriever", "a golden (retriever:1.2) and a boy, (sunset:1.1)", "a boy, (sunset:1.1)"),
        ("red hair", "a woman with (red:1.2) hair", "a woman"),
    ],
)
def test_what_is_found_also_leaves_the_neutral_prompt(concept: str, prompt: str, neutral: str) -> None:
    assert without_concepts(prompt, understand(ConceptRequest(concept), GENERAL)) == neutral


def test_both_spellings_of_a_concept_are_in_the_table() -> None:
    assert common_concept("watercolour", "style") == common_concept("watercolor", "style") is not None
    assert common_concept("grey hair") == common_concept("gray hair")


@pytest.mark.parametrize(
    ("concept", "text"),
    [
        ("smoking", "She lights a cigarette"), ("taking drugs", "he takes drugs in a club"), ("ghost", "a phantom flies"),
        ("having sex", "a couple has sex"), ("red hair", "a redhead at a desk"), ("car", "an automobile in the rain"),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("field", "what"), [("preserve_prompts", "preserve prompts"), ("neighbours", "neighbours")])
def test_keeping_what_is_erased_is_refused_with_the_line(field: str, what: str, concept: str, text: str) -> None:
    given = tuple(prompt_lines(f"a red kite\n\n{text}\n", "file"))
    with pytest.raises(UserError, match=re.escape(f"Line 3 of the {what}, {text!r}, says")) as refused:
        plan(concept, **{field: given})
    assert repr(concept) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("concept", "words"),
    [("car", "a taxi"), ("cat", "a kitten"), ("dog", "a golden retriever"), ("gun", "a pistol"), ("animal", "a dog"),
     ("alcohol", "a glass of wine")],
)  # fmt: skip
def test_a_kind_of_the_concept_is_no_replacement_and_is_warned_of_where_it_shall_stay(concept: str, words: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"The replacement {words!r} is a kind of {concept!r}")):
        plan(concept, replacement=words)
    kept = plan(concept, preserve_prompts=(f"{words} in a garden",))
    assert [text for text in kept.warnings if "works against the erasure" in text]


@pytest.mark.parametrize(
    ("concept", "words", "warned"),
    [("car", "a vehicle", True), ("cat", "an animal", True), ("pistol", "a gun", True), ("tiger", "an animal", False),
     ("golden retriever", "a dog", False), ("car", "a bicycle", False), ("Iron Man", "a man in armor", False)],
)  # fmt: skip
def test_a_wider_word_for_which_the_concept_may_be_drawn_is_a_warning(concept: str, words: str, warned: bool) -> None:
    made = plan(concept, replacement=words)
    assert any("may draw it again" in text for text in made.warnings) == warned


@pytest.mark.parametrize("concept", ["car", "dog", "cat", "snake", "horse", "fish", "dinosaur", "woman", "computer", "vehicle"])
def test_nothing_that_is_a_kind_of_the_concept_is_kept(concept: str) -> None:
    kinds, made = kinds_of(concept), plan(concept)
    assert kinds
    assert len(made.concepts[0].neighbours) >= 3
    assert not [text for text in (*made.concepts[0].neighbours, *made.preserve) if says(text, kinds)]


@pytest.mark.parametrize(
    ("concept", "near"),
    [("clowns", {"mime", "acrobat", "juggler"}), ("glasses", {"a hat", "monocle"}), ("beard", {"mustache", "long hair"}),
     ("holding a gun", {"holding a camera", "holding a power drill"}), ("wearing a hijab", {"wearing a scarf"})],
)  # fmt: skip
def test_neighbours_are_what_the_model_may_take_for_the_concept(concept: str, near: set[str]) -> None:
    neighbours = plan(concept).concepts[0].neighbours
    assert near <= set(neighbours)
    assert not [(one, two) for one in neighbours for two in neighbours if one != two and says(one, [two]) and says(two, [one])]


OTHER_LANGUAGES = [("Geist", "Der Geist winkt"), ("fantasma", "Un fantasma cruza el pasillo"), ("鬼", "一只鬼在花园里跑")]


@pytest.mark.parametrize(("concept", "prompt"), OTHER_LANGUAGES)
def test_a_prompt_in_another_language_is_never_filled_with_an_english_word(concept: str, prompt: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"The prompt {prompt!r} is not in English")) as refused:
        plan(concept, kind="thing", concept_prompts=(prompt,))
    assert "--instead" in str(refused.value)
    made = plan(concept, kind="thing", concept_prompts=(prompt,), replacement="X")
    assert made.pairs[0].prompt == prompt
    assert "X" in made.pairs[0].neutral
    assert [text for text in made.warnings if "not in English" in text]


def test_enough_prompts_in_another_language_are_not_mixed_with_english_ones() -> None:
    own = tuple(f"Der Geist winkt {word}" for word in ("heute", "morgen", "abends", "oft", "selten", "immer", "nie", "dort"))
    more = tuple(
        f"Ein Geist {word} im Garten {when}" for word in ("schwebt", "fliegt") for when in ("", "nachts", "früh", "leise")
    )
    assert plan("Geist", concept_prompts=own, replacement="Hund").sources.get("templates")
    alone = plan("Geist", concept_prompts=own + more, replacement="Hund")
    assert dict(alone.sources) == {"own": 16}
    assert [text for text in alone.warnings if "without the English contexts" in text]


@pytest.mark.parametrize(
    "text", ["1girl, ghost, park", "a ghost in El Greco style", "ghost, crème brûlée on a table", "a clip of 鬼 in a park"]
)
def test_an_english_prompt_with_foreign_names_is_english(text: str) -> None:
    assert is_english(text, ["ghost", "鬼"])


@pytest.mark.parametrize("method", ["velocity", "encoder", "closed_form"])
def test_the_plan_of_a_method_is_the_one_that_its_training_makes(method: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder, request = bundled_folder("miniature"), ConceptRequest("ghost")
    assert main(["plan", "--concept", "ghost", "--model", "miniature", "--method", method, "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    made: Any
    if method == "encoder":
        made = encoder_plan(folder, request, FewShotRecipe.preset("balanced"))
    else:
        velocity, closed = VelocityRecipe.preset("balanced"), ClosedFormRecipe.preset("balanced")
        counts = {
            "velocity": (velocity.concept_trajectories, velocity.preserve_trajectories),
            "closed_form": (closed.concept_prompts, closed.preserve_prompts),
        }[method]
        made = plan_request(request, prompt_set_for(folder), PlanSize(*counts, 0, velocity.augmentation))
    assert shown["pairs"] == [[pair.prompt, pair.neutral] for pair in made.pairs]
    assert (shown["preserve"], shown["near"]) == (len(made.preserve), len(made.near))
    assert shown["kind"] == "thing"
