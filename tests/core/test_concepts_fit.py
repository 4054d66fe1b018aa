"""What does not fit: children in plans for nudity, guessed kinds, replacements that mean the concept."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from typing import Any

import pytest

from t2vu_core.errors import UserError
from t2vu_core.mentions import says
from t2vu_core.miniature.bundled import bundled_folder
from t2vu_core.prompts.candidates import PlanSize
from t2vu_core.prompts.common_concepts import ConceptKind
from t2vu_core.prompts.english import with_article
from t2vu_core.prompts.kinds import choose_kind
from t2vu_core.prompts.minors import ALSO_CHILDREN, CHILDREN, words_to_avoid
from t2vu_core.prompts.plan import PromptPlan, plan_request
from t2vu_core.prompts.prompt_set import prompt_set_for
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.prompts.two_subjects import two_subject_pairs
from t2vu_core.prompts.wording import EMPTY_SCENE
from t2vu_core.prompts.written import Written

GENERAL = prompt_set_for(None)
CHILD_WORDS = (*CHILDREN, *ALSO_CHILDREN)


def plan(concept: str | Sequence[str], **asked: Any) -> PromptPlan:
    return plan_request(ConceptRequest(concept, **asked), GENERAL, PlanSize(200, 60, 0))


@pytest.mark.parametrize("concept", ["nudity", "sex", "hentai", "bare breasts", "naked woman", "sexy", "bikini"])
@pytest.mark.parametrize("augmentation", ["templates", "grammar"])
def test_no_prompt_about_nudity_or_sex_has_a_child(concept: str, augmentation: Any) -> None:
    size = PlanSize(400, 300, 1, augmentation)
    made = plan_request(ConceptRequest(concept), GENERAL, size)
    assert len(made.pairs) > 50
    assert not [pair.prompt for pair in made.pairs if says(pair.prompt, CHILD_WORDS)]
    said = [made.concepts[0].wording(name).spoken for name in made.names]
    avoided = [*made.names, *words_to_avoid(made.concepts)]
    both = two_subject_pairs(said, avoided, (), GENERAL.preserve, count=900, seed=0)
    assert len(both) > 20
    assert not [pair.prompt for pair in both if says(pair.prompt, CHILD_WORDS)]


@pytest.mark.parametrize("kind", ["thing", "style", "act", "attribute"])
def test_contexts_that_take_any_word_have_no_child(kind: ConceptKind) -> None:
    assert not [text for text in GENERAL.contexts(kind) if says(text, CHILD_WORDS)]


def test_prompts_about_nudity_that_speak_of_a_child_are_refused_and_others_are_not() -> None:
    with pytest.raises(UserError, match=r"a nude child on a beach.* speaks of a child"):
        plan("nudity", concept_prompts=("a nude woman", "a nude child on a beach"))
    sexual = (
        "nude teenagers",
        "child pornography",
        "sexy schoolgirl",
        "teen girl in a bikini",
        "loli",
        "CSAM",
        "schoolgirl upskirt",
    )
    for title in sexual:
        with pytest.raises(UserError, match="would be sampled with children"):
            plan(title)
    kept = "a woman and her child run from violence"
    assert kept in {pair.prompt for pair in plan("violence", concept_prompts=(kept,)).pairs}
    from_model = Written(("a nude man in a lake", "a nude schoolgirl in a lake"), ())
    made = plan_request(ConceptRequest("nudity"), GENERAL, PlanSize(60, 20, 0), {"nudity": from_model})
    assert "a nude man in a lake" in {pair.prompt for pair in made.pairs}
    assert not [pair.prompt for pair in made.pairs if says(pair.prompt, CHILD_WORDS)]


@pytest.mark.parametrize(
    ("model", "expected"),
    [("miniature", "15f55be43c8f1209"), ("miniature-unet", "15f55be43c8f1209"), ("miniature-ltx", "f8ef9b7d776aa436")],
)
def test_saved_results_of_the_miniatures_keep_the_prompts_that_they_were_trained_with(model: str, expected: str) -> None:
    from t2vu_core.miniature.bundled import bundled_folder

    world, found = prompt_set_for(bundled_folder(model)), hashlib.sha256()
    for name in [*sorted(world.names), "santa", "panda", "car", "pop art", "ghost", "octopus", "wizard"]:
        for seed in range(3):
            made = plan_request(ConceptRequest(name), world, PlanSize(60, 24, seed))
            pairs = [[pair.prompt, pair.neutral] for pair in made.pairs]
            found.update(json.dumps([pairs, list(made.preserve), list(made.warnings)], ensure_ascii=False).encode())
    assert found.hexdigest()[:16] == expected


@pytest.mark.parametrize("concept", ["ballroom", "sunset", "night", "kitchen", "loneliness"])
def test_a_word_outside_the_table_is_a_guess_and_the_plan_says_so(concept: str) -> None:
    assert any("was taken for" in text for text in plan(concept).warnings)


@pytest.mark.parametrize(
    ("concept", "kind"),
    [("feet", "attribute"), ("hands", "attribute"), ("ballet", "act"), ("tango", "act"), ("pole dance", "act"),
     ("violence against women", "act"), ("motion blur", "style"), ("oil painting", "style"), ("moon", "thing"),
     ("Paris", "thing")],
)  # fmt: skip
def test_body_parts_dances_looks_and_cities_are_not_taken_for_something_else(concept: str, kind: ConceptKind) -> None:
    assert choose_kind(concept).kind == kind


@pytest.mark.parametrize("concept", ["a cat and a dog", "dogs and cats"])
def test_two_concepts_in_one_name_are_a_warning(concept: str) -> None:
    assert any("names two concepts" in text for text in plan(concept).warnings)


@pytest.mark.parametrize("concept", ["people", "person", "human"])
def test_people_are_not_replaced_by_people(concept: str) -> None:
    made = plan(concept)
    assert made.concepts[0].replacement == EMPTY_SCENE
    assert not [pair.neutral for pair in made.pairs if says(pair.neutral, ["person", "people"])]
    assert not [pair.neutral for pair in made.pairs if "empty scene giving" in pair.neutral]


def test_a_replacement_that_only_stands_in_the_same_list_is_accepted() -> None:
    assert plan("flower", replacement="a tree").concepts[0].replacement == "a tree"


def test_soldiers_become_people() -> None:
    assert "people" in plan("soldiers").concepts[0].wording("soldiers").fill("{} [marches]").neutral


@pytest.mark.parametrize(
    ("concept", "words"),
    [("ghost", "a phantom"), ("ghost", "spectre"), ("gun", "firearm"), ("nudity", "undressed"), ("Trump", "Donald"),
     ("red hair", "a redhead"), ("Van Gogh", "Vincent"), ("Van Gogh", "in the style of Vincent")],
)  # fmt: skip
def test_a_replacement_that_means_the_concept_is_refused(concept: str, words: str) -> None:
    with pytest.raises(UserError, match=re.escape(f"The replacement {words!r} means {concept!r} itself")):
        plan(concept, replacement=words)


def test_nudity_is_not_replaced_by_more_of_it() -> None:
    with pytest.raises(UserError, match="The replacement 'having sex' is nudity or sex, as 'nudity' is: name something else"):
        plan("nudity", replacement="having sex")
    assert plan("nudity", replacement="in underwear").concepts[0].replacement == "in underwear"
    assert plan("nudity", replacement="in a swimsuit").concepts[0].replacement == "in a swimsuit"


@pytest.mark.parametrize(
    ("concept", "candidate"),
    [("grumpy cat", "a cat"), ("vintage sports car", "a car"), ("rusty bicycle", "a bicycle"), ("grey zorblax", None)],
)
def test_a_thing_with_more_words_can_become_its_class(concept: str, candidate: str | None) -> None:
    assert plan(concept).concepts[0].replacements == tuple(filter(None, (EMPTY_SCENE, candidate)))


def test_a_model_with_prompts_of_its_own_says_what_they_do_not_name() -> None:
    prompts = prompt_set_for(bundled_folder("miniature"))

    def warned(concept: str) -> bool:
        made = plan_request(ConceptRequest(concept), prompts, PlanSize(16, 16, 0))
        return any("do not name" in text for text in made.warnings)

    assert [warned(concept) for concept in ("zebra", "nudity", "a violin")] == [True] * 3
    known = ("ghost", "ghosts", "phantom", "a cat", "sepia", "in noir style", "sketch", "Santa")
    assert not [concept for concept in known if warned(concept)]


@pytest.mark.parametrize(
    ("concept", "asked", "warning"),
    [
        ("smoking", {"kind": "person"}, "has it as an act"),
        ("Van Gogh", {"kind": "thing"}, "has it as a style"),
        ("ghost", {"kind": "act"}, "has it as a thing"),
        ("smoking", {"replacement": "a lollipop"}, "nothing that a person does"),
        ("zorblax", {}, "No neighbours of 'zorblax' are known"),
    ],
)
def test_a_kind_a_replacement_and_neighbours_that_do_not_fit_are_a_warning(
    concept: str, asked: dict[str, Any], warning: str
) -> None:
    assert any(warning in text for text in plan(concept, **asked).warnings)


def test_nothing_as_a_replacement_is_no_thing_and_a_style_is_not_replaced_by_a_robot() -> None:
    assert plan("ghost", replacement="nothing").concepts[0].replacement == EMPTY_SCENE
    assert plan("anime", replacement="none").concepts[0].replacement == ""
    with pytest.raises(UserError, match="'a robot' is not a style"):
        plan("ghost", kind="style", replacement="a robot")


def test_a_possessive_takes_no_second_article() -> None:
    assert with_article("my dog Rex") == "my dog Rex"
