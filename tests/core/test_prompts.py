"""The prompts of a training run: contexts, neutral forms, and prompts that must keep working."""

from __future__ import annotations

import json
import re
from importlib import resources
from pathlib import Path
from typing import Any

import pytest

from t2vu_core.errors import UserError
from t2vu_core.mentions import mentions, says
from t2vu_core.miniature import captions
from t2vu_core.prompts.candidates import PlanSize
from t2vu_core.prompts.concept import understand
from t2vu_core.prompts.english import with_article
from t2vu_core.prompts.grammar import grammar_pairs
from t2vu_core.prompts.plan import PromptPlan, plan_request
from t2vu_core.prompts.prompt_set import PromptSet, prompt_set_for
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.prompts.two_subjects import two_subject_pairs

REQUESTED = ("synonyms", "concept_prompts", "kind", "attribute_of", "replacement", "neighbours")


def plan(concept: str, *, prompts: PromptSet | None = None, **changes: Any) -> PromptPlan:
    own = {name: changes.pop(name) for name in (*REQUESTED, "preserve_prompts") if name in changes}
    size = PlanSize(**{"num_pairs": 20, "num_preserve": 10, "seed": 0, **changes})
    return plan_request(ConceptRequest((concept,), **own), prompts or prompt_set_for(None), size)


def test_a_pair_differs_in_the_concept_alone() -> None:
    for pair in plan("ghost", replacement="robot").pairs:
        assert "a ghost" in pair.prompt.lower()
        assert pair.prompt.replace("a ghost", "a robot").replace("A ghost", "A robot") == pair.neutral


def test_a_manner_leaves_the_sentence_whole_when_it_goes() -> None:
    for pair in plan("pixel art style").pairs:
        assert "pixel art" in pair.prompt
        assert "pixel" not in pair.neutral
        assert "  " not in pair.neutral


def test_a_word_that_goes_from_inside_a_sentence_leaves_no_gap() -> None:
    manners = ("a street {} at night", "a hill, {}, seen from afar")
    contexts = PromptSet(things=("a {} by the sea",), manners=manners, preserve=("a cat",), names={})
    pairs = plan("in noir style", prompts=contexts, num_pairs=2, num_preserve=0).pairs
    assert {pair.neutral for pair in pairs} == {"a street at night", "a hill, seen from afar"}
    (own,) = plan("in noir style", num_pairs=1, concept_prompts=["a  street in noir style\n at night"]).pairs
    assert own.neutral == "a street at night"


def test_names_get_the_article_they_need() -> None:
    assert [with_article(name) for name in ("ghost", "octopus", "the moon", "Obama")] == [
        "a ghost",
        "an octopus",
        "the moon",
        "Obama",
    ]


def test_a_preserve_prompt_never_says_the_concept() -> None:
    assert not any("dog" in prompt for prompt in plan("dog", num_preserve=100).preserve)


def test_synonyms_are_erased_too() -> None:
    prompts = " | ".join(pair.prompt for pair in plan("ghost", synonyms=["spook"], num_pairs=40).pairs)
    assert "a spook" in prompts
    assert "a ghost" in prompts


def test_a_blank_synonym_is_none() -> None:
    assert plan("ghost", synonyms=["", "  "]).names == plan("ghost").names


def test_a_name_in_a_language_without_spaces_is_found_in_a_sentence() -> None:
    assert says("一只幽灵在飞", ["幽灵"])
    assert not says("一只猫在飞", ["幽灵"])


def test_the_users_own_prompts_come_first_and_get_a_neutral_form() -> None:
    pair = plan("ghost", concept_prompts=["the ghost waves at night"]).pairs[0]
    assert (pair.prompt, pair.neutral) == ("the ghost waves at night", "an empty scene at night")
    assert plan("ghost", preserve_prompts=["my own prompt"]).preserve[0] == "my own prompt"


def test_braces_in_a_users_preserve_prompt_are_letters_like_others() -> None:
    pairs = two_subject_pairs(["a ghost"], ["ghost"], [], ["a {dog} running"], count=9, seed=0)
    assert [(pair.prompt, pair.neutral) for pair in pairs] == [("a ghost and a {dog} running", "a {dog} running")]


def test_the_same_seed_chooses_the_same_prompts() -> None:
    assert plan("ghost", seed=1) == plan("ghost", seed=1)
    assert plan("ghost", seed=1) != plan("ghost", seed=2)


def test_a_broken_prompt_set_of_a_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "prompts.json").write_text(json.dumps({"things": []}))
    with pytest.raises(UserError, match=r"prompts\.json is not a prompt set"):
        prompt_set_for(tmp_path)


def test_names_that_a_prompt_set_knows_are_erased_with_the_concept() -> None:
    prompts = PromptSet(("{} here",), ("seen {}",), ("a dog",), {"ghost": ("phantom",), "in noir style": ("in grayscale",)})
    things = plan("a ghost", prompts=prompts, num_pairs=9, num_preserve=1)
    manners = plan("noir style", prompts=prompts, num_pairs=9, num_preserve=1)
    assert "a phantom here" in [pair.prompt for pair in things.pairs]
    assert "seen in grayscale" in [pair.prompt for pair in manners.pairs]


def test_a_name_with_more_words_is_erased_with_the_concept_and_one_with_fewer_is_not() -> None:
    names = {"in pencil sketch style": ("as a line drawing",), "truck": ("a lorry",)}
    prompts = PromptSet(("{} here",), ("seen {}",), ("a dog",), names)
    assert names_of("sketch style", prompts) == ("sketch style", "in pencil sketch style", "as a line drawing")
    assert names_of("fire truck", prompts) == ("fire truck",)
    assert names_of("sketch", prompts, kind="thing") == ("sketch",), "a thing is no style"


def names_of(concept: str, prompts: PromptSet, **asked: Any) -> tuple[str, ...]:
    return understand(ConceptRequest((concept,), **asked), prompts)[0].names


CONCEPTS = ["ghost", "an explicit scene", "Barack Obama", "guns", "in the style of Van Gogh", "pixel art style", "dog"]
CONCEPTS += ["red hair", "smoking"]


@pytest.mark.parametrize("concept", CONCEPTS)
def test_the_grammar_says_any_concept_in_short_and_in_long(concept: str) -> None:
    made = plan(concept, num_pairs=60, augmentation="grammar")
    assert made.sources["grammar"] >= 28, "half, but for sentences that the templates have too"
    spoken = concept.removesuffix(" style").lower()
    for pair in made.pairs:
        assert says(pair.prompt, made.names)
        assert not says(pair.neutral, made.names)
        assert not {"{", "}", "  ", " ,", " ."} & {pair.prompt[i : i + n] for n in (1, 2) for i in range(len(pair.prompt))}
    lengths = sorted(len(pair.prompt.split()) for pair in made.pairs)
    assert lengths[0] <= 8 + len(spoken.split())
    assert lengths[-1] >= 30


def test_the_grammar_says_it_in_several_sentences_and_the_neutral_form_speaks_of_it() -> None:
    pairs = [pair for pair in plan("ghost", num_pairs=60, augmentation="grammar").pairs if pair.prompt.count("ghost") > 1]
    assert pairs
    for pair in pairs:
        assert " it" in pair.neutral
        assert pair.prompt.replace("a ghost", "an empty scene").replace("the ghost", "it") == pair.neutral


def test_a_neutral_prompt_of_the_grammar_keeps_the_scene_of_a_manner() -> None:
    (noir,) = understand(ConceptRequest("in noir style"), prompt_set_for(None))
    for pair in grammar_pairs(noir, count=40, seed=0):
        neutral, prompt = ([word.strip(",.") for word in text.split()] for text in (pair.neutral, pair.prompt))
        assert set(neutral) <= set(prompt)
        assert len(neutral) >= 3


def test_the_grammar_makes_preserve_prompts_long_as_well() -> None:
    short, long = plan("ghost", num_preserve=20), plan("ghost", num_preserve=20, augmentation="grammar")
    assert long.preserve[:2] == short.preserve[:2]
    for index in (2, 3):
        assert long.preserve[index].lower().startswith(short.preserve[index].rstrip(".").lower())
        assert len(long.preserve[index]) > len(short.preserve[index])


def test_no_augmentation_says_the_names_alone() -> None:
    made = plan("ghost", synonyms=["spook"], augmentation="none", concept_prompts=["my ghost's house"])
    assert [(pair.prompt, pair.neutral) for pair in made.pairs] == [
        ("my ghost's house", "my house"), ("a ghost", "an empty scene"), ("a spook", "an empty scene"),
    ]  # fmt: skip
    assert made.describe()["sources"] == {"own": 1, "name": 2}


def test_a_prompt_in_a_language_without_spaces_gets_a_neutral_form() -> None:
    made = plan("幽灵", concept_prompts=["夜晚的幽灵在飞"], replacement="小狗")
    assert made.pairs[0].neutral == "夜晚的小狗在飞"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("ghost", "Ghosts in a ghost's house, ghostly, aghost", ["Ghosts", "ghost's"]),
        ("fire truck", "two fire  trucks and a truck", ["fire  trucks"]),
        ("cross", "three Crosses across a crossing", ["Crosses"]),
        ("QR码", "墙上的qr码", ["qr码"]),
    ],
)
def test_a_name_is_found_in_every_form_and_never_inside_another_word(name: str, text: str, said: list[str]) -> None:
    assert [found.group() for found in mentions(name).finditer(text)] == said
    neutral = plan(name, concept_prompts=[text], replacement="xylophone").pairs[0].neutral
    assert neutral.count("xylophone") == len(said)
    assert neutral.count("xylophone's") == text.count(f"{name}'s")


def test_the_grammar_trains_on_nothing_that_is_kept_for_measuring() -> None:
    """The held-out sentence forms of the miniature's captions measure; a grammar that spoke like them would cheat."""
    written = resources.files("t2vu_core.prompts").joinpath("grammar.json").read_text(encoding="utf-8").lower()
    forms = (captions.TERSE_FORMS, captions.REFINED_OPENINGS, captions.REFINED_PLACES, captions.REFINED_STYLES)
    phrases = [
        phrase.strip(" ,.")
        for words in forms
        for form in words.held_out
        for phrase in re.split(r"\{\w+\}|[,.]", form)
        if len(phrase.split()) >= 3
    ]
    assert len(phrases) >= 8
    assert [phrase for phrase in phrases if phrase in written] == []
