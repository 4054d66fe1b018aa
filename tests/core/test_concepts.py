"""What a concept is taken for, how it is said, and what stands in its place: the words that users bring."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Sequence
from dataclasses import replace
from importlib import resources
from typing import Any

import pytest

from t2vu_core.errors import UserError
from t2vu_core.mentions import mentions, says
from t2vu_core.prompts.candidates import PlanSize
from t2vu_core.prompts.common_concepts import ConceptKind, number_of_concepts
from t2vu_core.prompts.concept import understand
from t2vu_core.prompts.english import head, is_plural, mass_nouns, with_article, word_lists
from t2vu_core.prompts.kinds import KINDS, choose_kind
from t2vu_core.prompts.neutral import without_concepts
from t2vu_core.prompts.plan import PromptPlan, plan_request
from t2vu_core.prompts.plan_text import plan_ahead, plan_text
from t2vu_core.prompts.prompt_set import prompt_set_for
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.prompts.wording import EMPTY_SCENE, Wording
from t2vu_core.training.velocity.encoded_prompts import encode_prompts
from tests.core.tiny_models import TINY_MODELS
from tests.core.tiny_training import recipe

GENERAL = prompt_set_for(None)
WRONG = re.compile(
    r"\ban? (?:nudity|guns|smoking|violence|water|a|an|the)\b|\ban unicorn|\ba (?:octopus|hour|empty|old|umbrella)\b"
    r"|\ban? (?:abraham|mickey)|[{}\[\]]|  | ,| \.",
    re.IGNORECASE,
)
"""What a person would call wrong: articles, slots that were left, gaps."""


def plan(concept: str | Sequence[str], **asked: Any) -> PromptPlan:
    return plan_request(ConceptRequest(concept, **asked), GENERAL, PlanSize(200, 60, 0))


@pytest.mark.parametrize(
    ("concept", "kind", "said", "without"),
    [
        ("nudity", "act", "a nude woman in a forest pool", "a fully dressed woman in a forest pool"),
        ("guns", "thing", "guns in a sunny park", "an empty, sunny park"),
        ("smoking", "act", "an old man smoking on a bench", "a calm old man on a bench"),
        ("Van Gogh", "style", "a castle on a hill in the style of Van Gogh", "a castle on a hill"),
        ("anime", "style", "an anime picture of a lighthouse", "a picture of a lighthouse"),
        ("watercolor", "style", "a cat as a watercolor painting", "a cat"),
        ("sepia", "style", "a city street in sepia tones", "a city street"),
        ("unicorn", "thing", "a unicorn in the rain", "an empty street in the rain"),
        ("abraham lincoln", "person", "Abraham Lincoln giving a speech on a stage", "a person giving a speech on a stage"),
        ("car", "thing", "a car and a dog on a lawn", "a dog on a lawn"),
        ("red hair", "attribute", "a woman with red hair", "a woman"),
        ("logo on a shirt", "attribute", "a shirt with a logo at night", "a shirt at night"),
        ("mickey mouse", "character", "Mickey Mouse waving at the camera", "an empty stage"),
    ],
)
def test_the_words_that_users_bring_give_the_plan_that_a_person_would_make(
    concept: str, kind: ConceptKind, said: str, without: str
) -> None:
    made = plan(concept)
    assert made.kind == kind
    assert made.warnings == ()
    pairs = {pair.prompt: pair.neutral for pair in made.pairs}
    found = [prompt for prompt in pairs if prompt.startswith(said)]
    assert found, "\n".join(pairs)
    assert any(pairs[prompt].startswith(without) for prompt in found)
    for prompt, neutral in pairs.items():
        assert says(prompt, made.names)
        assert not says(neutral, made.names)
        assert not WRONG.search(prompt), prompt
        assert not WRONG.search(neutral), neutral
    assert not [text for text in made.preserve if WRONG.search(text) or says(text, made.names)]


@pytest.mark.parametrize(
    ("concept", "kind", "sure"),
    [
        ("Pikachu", "character", True), ("golden retriever", "thing", True), ("in noir style", "style", True),
        ("like an old photo", "style", True), ("with glasses", "attribute", True), ("big blue eyes", "attribute", True),
        ("john smith", "person", False), ("Maria Gonzalez", "person", True), ("Zorblax", "character", False),
        ("zorblax", "thing", False), ("vintage sports car", "thing", True), ("kissing", "act", True),
        ("holding a knife", "act", True), ("building", "thing", False), ("flying saucer", "thing", False),
        ("mayhem", "thing", False), ("nurse", "person", True), ("muddy", "attribute", False),
    ],
)  # fmt: skip
def test_the_kind_is_seen_in_the_words_and_doubt_is_said(concept: str, kind: str, sure: bool) -> None:
    choice = choose_kind(concept)
    assert (choice.kind, choice.sure) == (kind, sure)
    assert choice.reason
    assert bool(plan(concept).warnings) != sure


@pytest.mark.parametrize(
    ("concept", "kind", "reason"),
    [("Marlo Zendt", "person", "proper name"), ("XR-9000", "thing", "product"), ("pale", "thing", "adjective"),
     ("猫", "thing", "not English"), ("Keanu", "person", "first name"), ("trump", "person", "Donald Trump")],
)  # fmt: skip
def test_a_guess_says_that_it_is_one(concept: str, kind: str, reason: str) -> None:
    choice = choose_kind(concept)
    assert (choice.kind, choice.sure) == (kind, False)
    assert reason in choice.reason


def test_every_concept_of_the_table_is_said_with_the_right_article() -> None:
    table = json.loads(resources.files("t2vu_core.prompts").joinpath("data/neighbours.json").read_text(encoding="utf-8"))
    groups = [(kind, group) for kind, groups in table.items() for group in groups]
    things = [name for kind, group in groups if kind == "thing" for name in (*group["members"], *group["near"])]
    bare = [said for said in map(with_article, things) if said.split()[0].lower() not in ("a", "an", "the")]
    uncounted = mass_nouns() | set(word_lists()["always_plural"])
    # What is left takes no article: names, plurals and what cannot be counted.
    assert [name for name in bare if name.islower() and head(name) not in uncounted and name not in uncounted
            and not is_plural(name)] == []  # fmt: skip
    for kind, group in groups:
        assert len(set(group["members"])) == len(group["members"])
        assert set(group.get("also", ())) <= set(group["members"]), "an alias of nothing"
        assert kind in KINDS


def test_a_neighbour_that_is_a_thing_does_not_play_the_guitar() -> None:
    said = [text for text in plan("person").near if says(text, ["statue", "horse"])]
    assert said
    assert not [text for text in said if says(text, ["plays", "answers", "takes"])]


def test_kinds_of_earlier_files_and_graphs_mean_the_same() -> None:
    assert ConceptRequest("solarpunk", kind="manner").kind == "style"  # type: ignore[arg-type]
    assert any("in solarpunk style" in pair.prompt for pair in plan("solarpunk", kind="manner").pairs)
    assert ConceptRequest("ghost", kind="thing").kind == "thing"


def test_the_miniature_decides_by_its_own_language() -> None:
    own = prompt_set_for(TINY_MODELS["cogvideox-2b"].model.family.folder)
    assert own is GENERAL, "a model without prompts of its own"
    from t2vu_core.miniature.bundled import bundled_folder

    world = prompt_set_for(bundled_folder("miniature"))
    sepia = plan_request(ConceptRequest("sepia"), world, PlanSize(24, 24, 0))
    assert sepia.kind == "style"
    assert sepia.names == ("in sepia style", "like an old photo", "in antique tones")
    santa = plan_request(ConceptRequest("santa"), world, PlanSize(24, 24, 0))
    assert santa.kind == "thing"
    assert santa.concepts[0].replacements == (EMPTY_SCENE,)
    assert {"ghost", "princess"} <= set(santa.concepts[0].neighbours)
    assert santa.near == (), "every prompt of its set shows a neighbour"
    car = plan_request(ConceptRequest("car"), world, PlanSize(1000, 24, 0))
    assert any("a cartoon shows" in pair.prompt for pair in car.pairs)


@pytest.mark.parametrize(
    ("name", "text", "found"),
    [
        ("ghost", "(ghost:1.2), {ghost|cat}", 2), ("ghost", "1girl,ghost", 1), ("girl", "1girl, solo", 1),
        ("ghost", "“Ghost”\nghosts", 2), ("red hair", "red\u00a0hair, red  hair, red_hair, red\nhair", 4),
        ("car", "a cartoon of a carpet", 0), ("car", "two cars", 1), ("mouse", "three mice", 1), ("Spider-Man", "spiderman", 1),
        ("smoking", "he smoked", 1), ("smoking", "smoke rises from the chimney", 0), ("Van Gogh", "a van_gogh sky", 1),
        ("1girl", "11girl", 0), ("ghost", "夜晚的ghost在飞", 1), ("cat", "concatenate", 0),
    ],
)  # fmt: skip
def test_one_finder_knows_how_prompts_are_written(name: str, text: str, found: int) -> None:
    assert len(mentions(name).findall(text)) == found
    assert says(text, [name]) == bool(found)


def test_a_name_is_found_however_its_accents_are_typed() -> None:
    apart = unicodedata.normalize("NFD", "Beyonc\u00e9")
    assert apart != "Beyonc\u00e9"
    made = plan(apart, concept_prompts=("Beyonc\u00e9 sings on a stage",), kind="person")
    assert "a person sings on a stage" in [pair.neutral for pair in made.pairs]
    assert ConceptRequest(("Beyonc\u00e9", apart)).concepts == ("Beyonc\u00e9",)


@pytest.mark.parametrize(
    ("concept", "second"),
    [
        ("noir", "in natural colors"), ("Van Gogh", "in realistic style"), ("dreampunk style", "in realistic style"),
        ("red hair", "black hair"), ("logo on a shirt", "stripes"), ("bald", None), ("slow motion", None), ("realism", None),
        ("film grain", None),
    ],
)  # fmt: skip
def test_a_style_or_attribute_that_is_drawn_unasked_has_a_second_replacement(concept: str, second: str | None) -> None:
    found = understand(ConceptRequest(concept), prompt_set_for(None))[0]
    assert found.replacements == ("", *([second] if second else []))
    assert found.replacement == "", "the plain sentence is tried first"
    if second:
        pairs = plan(concept, replacement=second).pairs
        assert sum(says(pair.neutral, [second]) for pair in pairs) > len(pairs) / 2
        assert not any(says(pair.neutral, found.names) for pair in pairs)


@pytest.mark.parametrize(
    ("concepts", "text", "neutral"),
    [
        ("ghost", "a ghost and a cat on a hill", "a cat on a hill"),
        ("ghost", "a cat and a ghost are dancing", "a cat is dancing"),
        ("ghost", "a ghost, a dog and a ghost", "a dog"),
        ("ghost", "a cat next to a small white ghost", "a cat"),
        ("ghost", "1girl,ghost", "1girl"),
        ("ghost", "A (ghost:1.2) runs through a castle.", "A castle."),
        ("ghost", "a castle at night, ((ghost)), (fog:1.1)", "a castle at night, (fog:1.1)"),
        ("ghost", "(a cat:1.2) next to a ghost", "(a cat:1.2)"),
        ("ghost", "my ghost's house", "my house"),
        ("unicorn", "a girl riding a unicorn on a beach", "a girl riding an animal on a beach"),
        (("ghost", "robot"), "a ghost and a robot dancing", "an empty scene"),
        ("abraham lincoln", "Abraham Lincoln's hat", "a person's hat"),
        ("anime", "an anime picture, anime style", "a picture"),
        ("red hair", "a woman with red hair on a hill", "a woman on a hill"),
        ("nudity", "a nude old woman, a scene of nudity", "a fully dressed old woman, a scene of fully dressed people"),
        ("smoking", "a man smoking on a balcony", "a man on a balcony"),
    ],
)
def test_a_given_prompt_stays_a_sentence_without_the_concept(concepts: str | tuple[str, ...], text: str, neutral: str) -> None:
    assert plan(concepts, concept_prompts=[text]).pairs[0].neutral == neutral


@pytest.mark.parametrize(
    ("text", "neutral"),
    [
        ("the ghost's hat", "the hat"), ("ghosts' chains rattle", "chains rattle"), ("ghosts fly", "an empty scene"),
        ("a ghost haunting a house", "a house"), ("ghosts fly over a lake at night", "a lake at night"),
        ("two ghosts are dancing in a hall", "a hall"), ("my dog sees ghosts", "my dog sees figures"),
        ("A ghost walks down the stairs. The ghost is pale. It turns around. The camera follows.",
         "The stairs. The camera follows."),
        ("a ghost slowly waves at the camera", "an empty scene"), ("a ghost and its shadow", "an empty scene"),
        ("a ghost is chased by a cat", "a cat"), ("a scary ghost house", "a scary house"), ("no ghost", "an empty scene"),
        ("a ghost barking at a mailman", "a mailman"), ("a ghost and two cats are dancing", "two cats are dancing"),
    ],
)  # fmt: skip
def test_what_a_leaving_concept_does_leaves_with_it(text: str, neutral: str) -> None:
    assert without_concepts(text, plan("ghost").concepts) == neutral


@pytest.mark.parametrize(
    ("concept", "asked", "text", "neutral"),
    [
        ("cat", {"replacement": "robot"}, "a cat sleeps while two cats play", "a robot sleeps while two robots play"),
        ("cat", {"replacement": "robot"}, "cats' hats", "robots' hats"),
        ("car", {}, "a man in a red sports car", "a man in a vehicle"),
        ("red hair", {}, "a woman with long red hair and green eyes", "a woman with green eyes"),
        ("red hair", {}, "the girl's red hair blows", "the girl's hair blows"),
        ("smoking", {}, "smoking", "a calm person"),
    ],
)
def test_numbers_adjectives_and_owners_stay_grammatical(concept: str, asked: dict[str, Any], text: str, neutral: str) -> None:
    assert without_concepts(text, plan(concept, **asked).concepts) == neutral


def test_a_concept_prompt_that_does_not_name_the_concept_is_a_warning() -> None:
    made = plan("Barack Obama", concept_prompts=["a politician waves", "Barack Obama waves"])
    assert made.warnings == (
        "1 of your concept prompts do not name 'Barack Obama' ('a politician waves' is the first) and are trained to become "
        "'a person': add the name that they use as a synonym.",
    )


def test_the_users_replacement_stands_in_every_neutral_prompt() -> None:
    made = plan("octopus", replacement="robot")
    assert made.concepts[0].replacements == ("a robot", EMPTY_SCENE, "a sea animal")
    assert all("a robot" in pair.neutral.lower() for pair in made.pairs)
    assert plan("anime", replacement="as a photograph").pairs[0].neutral.count("as a photograph") == 1
    assert "reading a book" in plan("smoking", replacement="reading a book").pairs[0].neutral


def test_plurals_take_plural_verbs() -> None:
    pair = Wording("person", "children", "a person").fill("{} [is] old and [watches] us")
    assert pair.prompt == "children are old and watch us"
    assert pair.neutral == "a person is old and watches us"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("unicorn", "a unicorn"), ("hour", "an hour"), ("guns", "guns"), ("water", "water"), ("sheep", "a sheep"),
        ("nudity", "nudity"), ("two men", "two men"), ("slice of pizza", "a slice of pizza"), ("Obama", "Obama"),
    ],
)  # fmt: skip
def test_articles_are_those_of_english(name: str, said: str) -> None:
    assert with_article(name) == said


def test_every_kind_has_sixty_contexts_in_three_registers() -> None:
    for kind in KINDS:
        contexts = [text.partition(" => ")[0] for text in GENERAL.contexts(kind)]
        assert len(set(contexts)) >= 60
        lengths = [len(text.split()) for text in contexts]
        assert sum(length <= 7 for length in lengths) >= 18
        assert sum(length >= 25 for length in lengths) >= 15
        assert sum(7 < length < 25 for length in lengths) >= 18


def test_things_and_characters_can_leave_every_context() -> None:
    for kind in ("thing", "character"):
        for context in GENERAL.contexts(kind):
            text, _, empty = context.partition(" => ")
            assert text.count("{}") == 1
            assert empty, f"{text} says nothing about the place alone"


def test_there_are_many_preserve_prompts_and_a_table_of_neighbours() -> None:
    assert len(set(GENERAL.preserve)) >= 300
    assert number_of_concepts() >= 2_100, "docs/concepts.md says so"


@pytest.mark.parametrize(
    ("concept", "neighbour"),
    [("poodle", "german shepherd"), ("Van Gogh", "Claude Monet"), ("Barack Obama", "Joe Biden"),
     ("nudity", "a marble sculpture"),
     ("red hair", "black hair"), ("smoking", "drinking coffee"), ("a strange golden car", "truck")],
)  # fmt: skip
def test_half_of_the_preserve_prompts_show_neighbours(concept: str, neighbour: str) -> None:
    made = plan(concept)
    assert neighbour in made.concepts[0].neighbours
    assert len(made.near) == len(made.preserve) // 2 == 30
    assert set(made.near) <= set(made.preserve)
    assert any(says(text, [neighbour]) for text in made.near)


def test_a_pistol_is_no_neighbour_of_guns() -> None:
    assert not says(" ".join(plan("guns").concepts[0].neighbours), ["pistol", "rifle", "revolver"])


def test_the_training_knows_which_preserve_prompts_are_neighbours() -> None:
    made = plan_request(ConceptRequest("ghost"), GENERAL, PlanSize(2, 4, 0))
    asked = recipe(preserve_trajectories=4)
    near = encode_prompts(TINY_MODELS["cogvideox-2b"].model.family, made, GENERAL, asked).near
    assert near is not None
    assert near.tolist() == [text in made.near for text in made.preserve]
    assert near.sum() == 2


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"kind": "vibe"}, "no kind of concept 'vibe'; choose one of auto, thing"),
        ({"kind": "thing", "attribute_of": "a shirt"}, "choose the kind attribute"),
        ({"replacement": "two Ghosts"}, "says the concept itself"),
        ({"replacement": "a phantom", "synonyms": ["phantom"]}, "says the concept itself"),
        ({"neighbours": ["a zombie", "a ghost ship"]}, "neighbour 'a ghost ship' says 'ghost', which is to be erased"),
        ({"preserve_prompts": ["a cat", "a cat and a ghost"]}, "preserve prompt 'a cat and a ghost' says 'ghost'"),
    ],
)
def test_what_cannot_be_is_one_sentence_before_anything_is_sampled(asked: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)) as refused:
        plan("ghost", **asked)
    assert "\n" not in str(refused.value)


def test_a_concept_that_every_context_says_by_itself_is_refused() -> None:
    foggy = replace(GENERAL, things=("{} in the fog", "{} and fog", "a foggy day", "fog, {}", "{} by the sea"))
    with pytest.raises(UserError, match=r"Only 1 of 5 contexts .* too few to train on"):
        plan_request(ConceptRequest("fog"), foggy, PlanSize(4, 4, 0))
    assert plan_request(ConceptRequest("fog", concept_prompts=["fog at sea"]), foggy, PlanSize(4, 4, 0)).pairs


def test_the_plan_is_what_the_file_keeps_and_what_people_read() -> None:
    made = plan("red hair")
    text = plan_text(made.describe())
    assert "attribute: the table of common concepts has 'red hair'" in text
    assert "nothing: a person without it" in text
    assert made.pairs[0].prompt in text
    assert "30 of them about neighbours" in text
    ahead = plan_ahead(made.describe())
    assert "neighbours   " in ahead, "as a node shows it before it samples anything"
    assert "30 of them about neighbours" in ahead
    assert "if that is wrong, choose its kind" in plan_text(plan("zorblax").describe())
