"""Concepts as users type them: weights and quotes, lists, numbers, colors, and options that do not fit."""

from __future__ import annotations

import pytest

from t2vu_core.errors import UserError
from t2vu_core.prompts.candidates import PlanSize
from t2vu_core.prompts.concept import understand
from t2vu_core.prompts.plan import PromptPlan, plan_request
from t2vu_core.prompts.prompt_set import prompt_set_for
from t2vu_core.prompts.request import ConceptRequest

GENERAL = prompt_set_for(None)


def plan(concept: str) -> PromptPlan:
    return plan_request(ConceptRequest(concept), GENERAL, PlanSize(20, 10, 0))


@pytest.mark.parametrize(
    ("typed", "concept"),
    [
        ("(ghost:1.2)", "ghost"), ("((ghost))", "ghost"), ("[ghost]", "ghost"), ("ghost.", "ghost"), ("Ghost,", "Ghost"),
        ("'ghost'", "ghost"), ('"Mario"', "Mario"), ("“Mario”", "Mario"), ("ghost:1.3", "ghost"), ("{ghost}", "ghost"),
        ("a (red:1.2) car", "a red car"), ("E.T.", "E.T."), ("Robert Downey Jr.", "Robert Downey Jr."), ("16:9", "16:9"),
        ("ghost (film)", "ghost (film)"), ("boys'", "boys'"), ("👻", "👻"), ("alive", "alive"),
    ],
)  # fmt: skip
def test_weights_quotes_and_final_marks_are_no_part_of_a_concept(typed: str, concept: str) -> None:
    assert ConceptRequest((typed,)).concepts == (concept,)


@pytest.mark.parametrize("concept", ["cats, dogs", "ghosts or zombies", "van gogh, monet", "cats & dogs", "cats/dogs"])
def test_two_concepts_in_a_list_are_a_warning(concept: str) -> None:
    assert f"{concept!r} names two concepts: give each of them as a concept of its own." in plan(concept).warnings


@pytest.mark.parametrize("concept", ["Tom and Jerry", "black and white", "Tyler, the Creator", "a large, hairy dog"])
def test_a_name_with_a_comma_or_an_and_is_one_concept(concept: str) -> None:
    assert not any("names two concepts" in warning for warning in plan(concept).warnings)


@pytest.mark.parametrize(("one", "two"), [("ghost", "ghosts"), ("Trump", "Donald Trump"), ("a cat", "Cat")])
def test_the_same_concept_twice_is_a_warning(one: str, two: str) -> None:
    concepts = understand(ConceptRequest((one, two, "car")), GENERAL)
    assert concepts[1].doubts[-1] == f"{two!r} and {one!r} are the same concept: give it once."
    assert not any("same concept" in doubt for each in (concepts[0], concepts[2]) for doubt in each.doubts)


@pytest.mark.parametrize(
    ("name", "verb"),
    [
        ("Keanu Reeves", "walks"), ("Bill Gates", "walks"), ("Steve Jobs", "walks"), ("Britney Spears", "walks"),
        ("Spongebob squarepants", "walks"), ("Emma Woods", "walks"), ("Tom and Jerry", "walk"), ("Minions", "walk"),
        ("a Minion", "walks"), ("Spice Girls", "walk"), ("nurses", "walk"),
    ],
)  # fmt: skip
def test_verbs_agree_with_how_many_a_name_is_of(name: str, verb: str) -> None:
    found = understand(ConceptRequest(name), GENERAL)[0]
    assert found.wording(found.names[0]).fill("{} [walks]").prompt.endswith(verb)


@pytest.mark.parametrize(
    ("concept", "of", "spoken"),
    [
        ("red", "a car", "a red car"), ("blue", "a shirt", "a blue shirt"), ("wet", "a street", "a wet street"),
        ("rusty", "cars", "rusty cars"), ("gold", "a car", "a car with gold"), ("logo", "a shirt", "a shirt with a logo"),
    ],
)  # fmt: skip
def test_a_color_or_state_stands_before_what_has_it(concept: str, of: str, spoken: str) -> None:
    found = understand(ConceptRequest(concept, attribute_of=of), GENERAL)[0]
    assert found.wording(found.names[0]).spoken == spoken


def test_verbs_agree_with_what_has_an_attribute() -> None:
    found = understand(ConceptRequest("stripes", attribute_of="shirts"), GENERAL)[0]
    assert found.wording("stripes").fill("there [is] {}").prompt == "there are shirts with stripes"
    found = understand(ConceptRequest("stripes", attribute_of="a shirt"), GENERAL)[0]
    assert found.wording("stripes").fill("there [is] {}").prompt == "there is a shirt with stripes"


@pytest.mark.parametrize("concept", ["80s style", "18th century style", "8-bit style"])
def test_numbers_that_begin_with_a_vowel_take_an(concept: str) -> None:
    found = understand(ConceptRequest(concept), GENERAL)[0]
    assert found.wording(concept).fill("{a} picture").prompt.startswith("an ")


@pytest.mark.parametrize("concept", ["purple hair", "ginger hair", "blonde hair"])
def test_hair_that_the_table_lacks_lies_near_other_hair(concept: str) -> None:
    found = understand(ConceptRequest(concept), GENERAL)[0]
    assert found.neighbours[:2] == ("black hair", "grey hair")
    assert found.replacements == ("", "black hair")


@pytest.mark.parametrize(
    ("concept", "asked", "warning"),
    [
        ("a woman", {"kind": "style"}, "has it as a person"),
        ("ghost", {"attribute_of": "a sheet"}, "taken for an attribute of 'a sheet', but the table"),
    ],
)
def test_a_kind_that_does_not_fit_is_a_warning(concept: str, asked: dict[str, str], warning: str) -> None:
    request = ConceptRequest(concept, **asked)  # type: ignore[arg-type]
    assert any(warning in doubt for doubt in understand(request, GENERAL)[0].doubts)
    logo = understand(ConceptRequest("nike logo", attribute_of="a shoe"), GENERAL)[0]
    assert not any("table" in doubt for doubt in logo.doubts)


def test_an_attribute_does_not_belong_to_itself() -> None:
    with pytest.raises(UserError, match="says 'logo' itself: name what has it"):
        understand(ConceptRequest("logo", attribute_of="logo"), GENERAL)


@pytest.mark.parametrize(
    ("concept", "pair"),
    [
        ("faces", ("a woman facing the camera", "a woman turned away from the camera")),
        ("a face", ("a woman looking into the camera", "a woman turned away from the camera")),
        ("racism", ("a woman shouting racist insults", "a calm woman")),
        ("hate speech", ("a woman shouting hateful insults", "a calm woman")),
        ("death", ("a woman lying dead", "a woman lying asleep")),
    ],
)
def test_what_platforms_forbid_happens_to_people_and_leaves_them(concept: str, pair: tuple[str, str]) -> None:
    found = plan_request(ConceptRequest(concept), GENERAL, PlanSize(200, 60, 0))
    assert found.concepts[0].kind == "act"
    assert any(each.prompt.startswith(pair[0]) and each.neutral.startswith(pair[1]) for each in found.pairs)


@pytest.mark.parametrize("words", ["seen from behind", "lost in thought", "hidden behind a mask", "wearing a mask"])
def test_a_replacement_that_begins_with_a_participle_follows_the_person(words: str) -> None:
    found = plan_request(ConceptRequest("faces", replacement=words), GENERAL, PlanSize(60, 10, 0))
    assert not any("scene with a " + words in each.neutral for each in found.pairs)
    assert any(f"a woman {words}" in each.neutral for each in found.pairs)
