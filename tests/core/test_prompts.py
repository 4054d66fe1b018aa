"""The prompts of a training: contexts, neutral forms, and prompts that must keep working."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from t2vu_core.errors import UserError
from t2vu_core.prompts.plan import PromptSet, concept_kind, plan_prompts, prompt_set_for, with_article


def plan(concept: str, **changes: object):
    options = {"num_pairs": 20, "num_preserve": 10, "seed": 0, **changes}
    return plan_prompts(concept, prompt_set_for(None), **options)  # type: ignore[arg-type]


def test_a_pair_differs_in_the_concept_alone() -> None:
    for pair in plan("ghost").pairs:
        assert "a ghost" in pair.prompt
        assert pair.prompt.replace("a ghost", "something") == pair.neutral


def test_a_manner_leaves_the_sentence_whole_when_it_goes() -> None:
    for pair in plan("pixel art style").pairs:
        assert "in pixel art style" in pair.prompt
        assert "pixel" not in pair.neutral
        assert "  " not in pair.neutral


@pytest.mark.parametrize(
    ("concept", "kind"), [("ghost", "thing"), ("in noir style", "manner"), ("watercolor style", "manner"), ("Mickey", "thing")]
)
def test_things_and_manners_are_told_apart(concept: str, kind: str) -> None:
    assert concept_kind(concept) == kind


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


def test_the_users_own_prompts_come_first_and_get_a_neutral_form() -> None:
    pair = plan("ghost", concept_prompts=["the ghost waves at night"]).pairs[0]
    assert (pair.prompt, pair.neutral) == ("the ghost waves at night", "something waves at night")
    assert plan("ghost", preserve_prompts=["my own prompt"]).preserve[0] == "my own prompt"


def test_the_same_seed_chooses_the_same_prompts() -> None:
    assert plan("ghost", seed=1) == plan("ghost", seed=1)
    assert plan("ghost", seed=1) != plan("ghost", seed=2)


def test_a_broken_prompt_set_of_a_model_is_named(tmp_path: Path) -> None:
    (tmp_path / "prompts.json").write_text(json.dumps({"things": []}))
    with pytest.raises(UserError, match=r"prompts\.json is not a prompt set"):
        prompt_set_for(tmp_path)


def test_names_that_a_prompt_set_knows_are_erased_with_the_concept() -> None:
    prompts = PromptSet(("{} here",), ("seen {}",), ("a dog",), {"ghost": ("phantom",), "in noir style": ("in grayscale",)})
    things = plan_prompts("a ghost", prompts, num_pairs=9, num_preserve=1, seed=0)
    manners = plan_prompts("noir style", prompts, num_pairs=9, num_preserve=1, seed=0)
    assert "a phantom here" in [pair.prompt for pair in things.pairs]
    assert "seen in grayscale" in [pair.prompt for pair in manners.pairs]
