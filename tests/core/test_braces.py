"""Dynamic prompts: a user's prompts with braces are trained on as what they stand for."""

from __future__ import annotations

import pytest

from t2vu_core.errors import UserError
from t2vu_core.prompts.braces import MAX_ALTERNATIVES, alternatives
from t2vu_core.prompts.candidates import PlanSize
from t2vu_core.prompts.lines import Line, prompt_lines
from t2vu_core.prompts.pairs import PromptPair
from t2vu_core.prompts.plan import PromptPlan, plan_request, warn_unused
from t2vu_core.prompts.prompt_set import prompt_set_for
from t2vu_core.prompts.request import ConceptRequest


def plan(request: ConceptRequest) -> PromptPlan:
    return plan_request(request, prompt_set_for(None), PlanSize(12, 6, 0))


@pytest.mark.parametrize(
    ("prompt", "found"),
    [
        ("a ghost runs", ["a ghost runs"]),
        ("a {ghost|cat} runs", ["a ghost runs", "a cat runs"]),
        ("a {ghost|cat} in {rain|snow|fog}", ["a ghost in rain", "a cat in snow", "a ghost in fog"]),
        ("a {small|{very |}big} ghost", ["a small ghost", "a very big ghost", "a big ghost"]),
        ("a {|red} ghost", ["a ghost", "a red ghost"]),
        (r"\{a sign\} and a {ghost}", ["{a sign} and a ghost"]),
        ("a {ghost|cat runs", ["a {ghost|cat runs"]),
        ("{}", ["{}"]),
    ],
)
def test_every_alternative_of_a_dynamic_prompt_is_spelled_out(prompt: str, found: list[str]) -> None:
    assert alternatives(prompt) == found


@pytest.mark.parametrize("prompt", ["{" * 4000 + "}" * 4000, "{a|b}" * 4000, "{" + "a|" * 9000 + "}", "{a|b{" * 4000])
def test_thousands_of_braces_neither_hang_nor_fail(prompt: str) -> None:
    assert 1 <= len(alternatives(prompt)) <= MAX_ALTERNATIVES


def test_a_dynamic_prompt_trains_only_the_alternatives_that_say_the_concept() -> None:
    own = "A {ghost|cat} sleeps in {rain|a castle}", "A {red|blue} ghost in a castle"
    request = ConceptRequest("ghost", concept_prompts=own)
    found = plan(request)
    assert found.pairs[:3] == (
        PromptPair("A ghost sleeps in rain", "An empty scene in rain"),
        PromptPair("A red ghost in a castle", "A castle"),
        PromptPair("A blue ghost in a castle", "A castle"),
    )
    assert not any(set("{|}") & set(pair.prompt + pair.neutral) for pair in found.pairs)
    assert not found.unsaid
    assert warn_unused(found, request, ("prompts", "preserve")) is None, "the prompts with braces are used"


def test_preserve_prompts_are_spelled_out_and_a_concept_in_their_braces_is_an_error() -> None:
    assert plan(ConceptRequest("ghost", preserve_prompts=("a {dog|cat} runs",))).preserve[:2] == ("a dog runs", "a cat runs")
    with pytest.raises(UserError, match=r"^Line 2 of the preserve prompts, 'a \{dog\|ghost\} runs', says 'ghost'"):
        plan(ConceptRequest("ghost", preserve_prompts=tuple(prompt_lines("a dog\na {dog|ghost} runs", "A text field"))))


def test_an_alternative_keeps_the_number_of_its_line() -> None:
    assert [text.number for text in alternatives(Line.of(7, "a {dog|cat}")) if isinstance(text, Line)] == [7, 7]
