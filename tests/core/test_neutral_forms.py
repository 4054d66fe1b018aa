"""Neutral forms of prompts as users of large video models write them: read one by one, and mended by cause."""

from __future__ import annotations

import pytest

from t2vu_core.prompts.candidates import PlanSize
from t2vu_core.prompts.concept import understand
from t2vu_core.prompts.neutral import without_concepts
from t2vu_core.prompts.plan import plan_request, warn_unused
from t2vu_core.prompts.prompt_set import prompt_set_for
from t2vu_core.prompts.request import ConceptRequest

GENERAL = prompt_set_for(None)


def neutral_form(concept: str, prompt: str) -> str:
    return without_concepts(prompt, understand(ConceptRequest(concept), GENERAL))


@pytest.mark.parametrize(
    ("concept", "prompt"),
    [
        ("Obama", "Michelle Obama smiles"),
        ("Donald Trump", "Melania Trump waves from a balcony"),
        ("ghost", "No ghosts, just an empty house"),
        ("ghost", "Without ghosts, the castle is quiet"),
        ("spider", "spider-Man swings over a street"),
        ("smoking", "A man in a cafe, no smoking"),
    ],
)
def test_a_prompt_that_denies_the_concept_or_names_somebody_else_is_left_out_with_a_warning(concept: str, prompt: str) -> None:
    request = ConceptRequest(concept, concept_prompts=(prompt,))
    made = plan_request(request, GENERAL, PlanSize(200, 8, 0))
    assert prompt not in [pair.prompt for pair in made.pairs]
    assert "1 of your concept prompts are left out" in " ".join(made.warnings)
    assert "is the first): raise" not in str(warn_unused(made, request, ("pairs", "preserve")))


@pytest.mark.parametrize(
    ("concept", "neutral"), [("ghost", "an empty scene"), ("smoking", "a calm person"), ("anime", "a picture")]
)
def test_a_prompt_that_does_not_name_the_concept_never_becomes_an_empty_prompt(concept: str, neutral: str) -> None:
    made = plan_request(ConceptRequest(concept, concept_prompts=("She looks at the camera",)), GENERAL, PlanSize(4, 4, 0))
    assert made.pairs[0].neutral == neutral
    assert f"are trained to become '{neutral}'" in " ".join(made.warnings)


@pytest.mark.parametrize(
    ("concept", "prompt", "neutral"),
    [
        ("Obama", "President Obama steps out of a helicopter", "A person steps out of a helicopter"),
        ("Barack Obama", "Former president Barack Obama, wearing a tan suit", "A person, wearing a tan suit"),
        ("Taylor Swift", "singer Taylor Swift plays guitar by the sea", "a person plays guitar by the sea"),
        ("Obama", "two Obamas fight", "two people fight"),
        ("Elon Musk", "Tesla CEO Elon Musk dances on a stage", "A person dances on a stage"),
        ("crowd", "A crowd cheers in a stadium", "People cheer in a stadium"),
        ("crowd", "A man pushes through a crowd", "A man pushes through people"),
        ("police", "A police car chases a truck", "A car chases a truck"),
        (
            "Elsa",
            "Queen Elsa raises her hand and snow swirls around her",
            "A princess raises her hand and snow swirls around her",
        ),
    ],
)
def test_a_title_goes_with_the_name_and_people_stay_people(concept: str, prompt: str, neutral: str) -> None:
    assert neutral_form(concept, prompt) == neutral


@pytest.mark.parametrize(
    ("concept", "prompt", "neutral"),
    [
        ("ghost", "a ghost-like mist", "a mist"),
        ("dog", "A dog-shaped balloon floats above the crowd", "A balloon floats above the crowd"),
        ("blood", "blood-soaked bandages in a sink", "bandages in a sink"),
        ("ghost", '"Ghost" written on a wall', "a wall"),
        ("ghost", 'a door with the word "ghost" painted on it', "a door"),
        ("Batman", "kids in Batman costumes running down the street", "kids in costumes running down the street"),
        ("Mickey Mouse", "a Mickey Mouse t-shirt hanging on a line", "a t-shirt hanging on a line"),
        ("tattoo", "a tattoo artist at work", "an artist at work"),
    ],
)
def test_a_name_within_another_word_or_a_quotation_leaves_a_caption(concept: str, prompt: str, neutral: str) -> None:
    assert neutral_form(concept, prompt) == neutral


@pytest.mark.parametrize(
    ("concept", "prompt", "neutral"),
    [
        ("car", "a toy car on the carpet", "the carpet"),
        ("dog", "a dog eats a hot dog", "a hot dog"),
        ("car", "inside a car, a couple argues", "a couple argues"),
        ("ghost", "Every night the ghost of a sailor walks along the pier, singing", "Every night along the pier"),
        ("ghost", "Three ghosts and a black cat sit on the stairs", "A black cat sits on the stairs"),
        ("Elsa", "Elsa and Anna skate on a frozen lake", "Anna skates on a frozen lake"),
        ("snake", "Snakes in a basket rise", "animals in a basket rise"),
        ("car", "A police car with flashing lights stops at a bank", "A vehicle with flashing lights stops at a bank"),
        ("clown", "a clown stands on a stage holding a balloon", "a stage"),
        ("cat", "The black cat jumped over the fence and disappeared into the night.", "The fence."),
        ("dog", "POV: a dog runs towards me and licks the lens", "POV: an empty scene"),
        ("Batman", "Batman stands on a rooftop, his cape flapping in the wind", "a rooftop"),
        ("fire", "The building is on fire, people run away", "The building, people run away"),
        ("ghost", "The colors of the ghost stand out clearly", "The colors of a figure stand out clearly"),
        ("dragon", "A knight faces a dragon that breathes fire", "A knight faces an animal that breathes fire"),
        ("teddy bear", "A teddy bear is skateboarding in Times Square", "Times Square"),
        ("rain", "a rainy day in London", "a day in London"),
        ("clown", "One night, a clown walks out of the woods", "One night, the woods"),
        ("cat", "black and white cat on a red carpet", "a red carpet"),
        ("cat", "A cat, with one paw raised, watches a goldfish", "An animal, with one paw raised, watches a goldfish"),
        ("car", "a racing car overtakes another car", "an empty scene"),
        ("blood", "a zombie covered in blood walks down a street", "a zombie walks down a street"),
        ("horse", "horses, cows and sheep in a pasture", "cows and sheep in a pasture"),
    ],
)  # fmt: skip
def test_what_stays_of_a_scene_is_the_place_and_no_verb_without_its_subject(concept: str, prompt: str, neutral: str) -> None:
    assert neutral_form(concept, prompt) == neutral


@pytest.mark.parametrize(
    ("concept", "prompt", "neutral"),
    [
        ("smoking", "He smoked in silence while she read", "He was calm in silence while she read"),
        ("kissing", "She kisses him goodbye", "She is calm"),
        ("kissing", "They kiss under the Eiffel Tower", "They are calm under the Eiffel Tower"),
        ("kissing", "a passionate kiss between a man and a woman", "a calm moment between a man and a woman"),
        ("crying", "she cries silently, tears rolling down her cheeks", "she is calm"),
        ("smoking", "Smoking is forbidden here", "something is forbidden here"),
        ("nudity", "The painting shows nudity", "The painting shows fully dressed people"),
        ("eating", "children eating ice cream on a bench", "children on a bench"),
        ("drinking", "A man drinking whiskey in a bar", "A man in a bar"),
        ("fighting", "A fight breaks out in a bar", "People are calm in a bar"),
        ("smoking", "two men smoke in a bar", "two men in a bar"),
        ("smoking", "the women smoke and talk", "the women are calm and talk"),
        ("faces", "a close-up of a woman's face", "a close-up of a woman turned away from the camera"),
        ("faces", "Her face is lit by a candle", "A person turned away from the camera is lit by a candle"),
        ("faces", "people with painted faces dance", "people turned away from the camera dance"),
        ("death", "the death of a king", "a king lying asleep"),
        ("racism", "a racist man shouts in the street", "a calm man shouts in the street"),
        ("suicide", "A man commits suicide", "A man is calm"),
        ("kissing", "A mother kisses her baby's forehead and smiles", "A mother is calm and smiles"),
    ],
)
def test_an_act_leaves_a_sentence_with_its_verb(concept: str, prompt: str, neutral: str) -> None:
    assert neutral_form(concept, prompt) == neutral


@pytest.mark.parametrize(
    ("concept", "prompt", "neutral"),
    [
        ("anime", "a boy in the style of 90s anime", "a boy"),
        ("anime", "A samurai draws his sword, 90s anime aesthetic, cel shaded", "A samurai draws his sword, cel shaded"),
        ("anime", "He loves anime", "He loves something"),
        ("anime", "anime", "a picture"),
        ("anime", "an anime about a samurai", "a picture about a samurai"),
        ("Studio Ghibli", "A cat in the style of Studio Ghibli and Makoto Shinkai", "A cat in the style of Makoto Shinkai"),
        ("red hair", "red hair blowing in the wind", "hair blowing in the wind"),
        ("tattoo", "a dragon tattoo covers his back", "something covers his back"),
        ("tattoo", "He has tattoos on his arms and neck", "A person"),
        ("tattoo", "A tattooed man lifts weights", "A man lifts weights"),
        ("tattoo", "Her back is covered with tattoos", "Her back"),
        ("tattoo", "A man shows off a tattoo of a snake on his forearm", "A man shows off something on his forearm"),
        ("beard", "the wizard's beard is long and white", "the wizard"),
        ("bikini", "a bikini on a clothesline", "a clothesline"),
        ("pixel art", "pixel art of a castle, sunset", "a picture of a castle, sunset"),
        ("Disney", "Pixar or Disney style 3D animation of a robot", "Pixar style 3D animation of a robot"),
    ],
)  # fmt: skip
def test_a_style_or_attribute_leaves_no_loose_end(concept: str, prompt: str, neutral: str) -> None:
    assert neutral_form(concept, prompt) == neutral
