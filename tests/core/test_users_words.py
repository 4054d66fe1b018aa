"""Words and prompts as users bring them: what they are taken for, and what a prompt says without them."""

from __future__ import annotations

import pytest

from t2vu_core.mentions import says
from t2vu_core.prompts.candidates import PlanSize
from t2vu_core.prompts.concept import understand
from t2vu_core.prompts.kinds import KINDS
from t2vu_core.prompts.lines import MAX_CHARACTERS
from t2vu_core.prompts.neutral import without_concepts
from t2vu_core.prompts.plan import FEW_PAIRS, PromptPlan, plan_request
from t2vu_core.prompts.prompt_set import prompt_set_for
from t2vu_core.prompts.request import ConceptRequest

GENERAL = prompt_set_for(None)


def plan(concept: str) -> PromptPlan:
    return plan_request(ConceptRequest(concept), GENERAL, PlanSize(200, 60, 0))


def neutral_form(concept: str, prompt: str) -> str:
    return without_concepts(prompt, understand(ConceptRequest(concept), GENERAL))


@pytest.mark.parametrize(
    ("concept", "kind", "names", "spoken"),
    [
        ("Karla Ortiz", "style", ("in the style of Karla Ortiz",), "in the style of Karla Ortiz"),
        ("Pokémon", "style", ("in the style of Pokémon", "like a scene from Pokémon"), "in the style of Pokémon"),
        ("Santa", "character", ("Santa", "Santa Claus", "Father Christmas"), "Santa"),
        ("lightsaber", "thing", ("lightsaber", "light saber"), "a lightsaber"),
        ("AK-47", "thing", ("an AK-47", "an AK47", "a Kalashnikov"), "an AK-47"),
        ("T-rex", "thing", ("a T-rex", "tyrannosaurus"), "a T-rex"),
        ("coca cola", "thing", ("coca cola", "Coca-Cola"), "coca cola"),
        ("Nike", "thing", ("the Nike logo", "Nike"), "the Nike logo"),
        ("eiffel tower", "thing", ("the eiffel tower", "the Eiffel Tower"), "the eiffel tower"),
        ("Tesla Cybertruck", "thing", ("a Tesla Cybertruck", "a Cybertruck"), "a Tesla Cybertruck"),
        ("American flag", "thing", ("American flag",), "an American flag"),
        ("rottweilers", "thing", ("rottweilers", "rottweiler"), "rottweilers"),
        ("swastikas", "thing", ("swastikas", "swastika"), "swastikas"),
        ("rocking chair", "thing", ("rocking chair",), "a rocking chair"),
        ("glass of wine", "thing", ("glass of wine",), "a glass of wine"),
        ("LSD", "thing", ("LSD", "acid blotter"), "LSD"),
        ("zelensky", "person", ("zelensky", "Volodymyr Zelensky"), "zelensky"),
        ("Beyoncé", "person", ("Beyoncé", "Beyonce"), "Beyoncé"),
        ("the pope", "person", ("the pope", "the Pope"), "the pope"),
        ("police", "person", ("police",), "police"),
        ("naked woman", "act", ("naked", "nude"), "a naked person"),
        ("shirtless", "act", ("shirtless", "bare-chested"), "a shirtless person"),
        ("people kissing", "act", ("kissing", "kissing passionately"), "a person kissing"),
        ("ok sign", "act", ("ok sign", "making an ok sign"), "a person in a scene with an ok sign"),
        ("violent scenes", "act", ("violent",), "a violent person"),
        ("pregnant woman", "attribute", ("pregnant",), "a pregnant woman"),
        ("Superman's cape", "attribute", ("cape",), "Superman wearing a cape"),
        ("earring", "attribute", ("earring",), "woman with an earring"),
        ("blue eyes", "attribute", ("blue eyes", "blue-eyed"), "woman with blue eyes"),
        ("low-angle shot", "style", ("in a low-angle shot",), "in a low-angle shot"),
        ("crying baby", "person", ("crying baby",), "a crying baby"),
        ("smoking woman", "act", ("smoking", "smoking a cigarette"), "a person smoking"),
        ("face of Obama", "person", ("Obama", "Barack Obama"), "Obama"),
        ("Anna Schmidt's face", "person", ("Anna Schmidt",), "Anna Schmidt"),
        ("the face of Mickey Mouse", "character", ("Mickey Mouse",), "Mickey Mouse"),
        ("a Van Gogh painting", "style", ("in the style of Van Gogh",), "in the style of Van Gogh"),
        ("Studio Ghibli films", "style", ("in the style of Studio Ghibli",), "in the style of Studio Ghibli"),
        ("nike logo on a shoe", "attribute", ("nike logo",), "a shoe with a nike logo"),
        ("lens flare", "style", ("with lens flare", "with lens flares"), "with lens flare"),
        ("handheld camera", "style", ("with a handheld camera", "with a hand-held camera"), "with a handheld camera"),
        ("dutch angle", "style", ("with a dutch angle",), "with a dutch angle"),
        ("close-up", "style", ("in a close-up",), "in a close-up"),
        ("camera shake", "style", ("with camera shake",), "with camera shake"),
        ("security camera", "thing", ("security camera",), "a security camera"),
        ("barking dogs", "thing", ("barking dogs", "barking dog"), "barking dogs"),
        ("muslim woman", "person", ("muslim woman",), "a muslim woman"),
        ("nazi", "person", ("nazi",), "a nazi"),
        ("man hitting woman", "act", ("hitting a woman",), "a person hitting a woman"),
        ("person smoking a cigarette", "act", ("smoking a cigarette", "smoking"), "a person smoking a cigarette"),
        ("heil hitler", "act", ("heil hitler", "nazi salute"), "a person in a scene with a heil hitler"),
        ("sexy", "act", ("sexy", "posing seductively"), "a sexy person"),
        ("bikini", "attribute", ("bikini",), "a woman wearing a bikini"),
        ("woman in a bikini", "attribute", ("bikini",), "a woman wearing a bikini"),
        ("wearing lingerie", "act", ("wearing lingerie", "lingerie"), "a person wearing lingerie"),
        ("watermark", "style", ("with a watermark",), "with a watermark"),
        ("Getty Images watermark", "style", ("with a Getty Images watermark",), "with a Getty Images watermark"),
        ("subtitles", "style", ("with subtitles",), "with subtitles"),
        ("film grain", "style", ("with film grain",), "with film grain"),
        ("cel shading", "style", ("in cel shading style",), "in cel shading style"),
        ("Minecraft Steve", "character", ("Minecraft Steve", "Steve from Minecraft"), "Minecraft Steve"),
        ("Taylor Swift singing", "person", ("Taylor Swift",), "Taylor Swift"),
        ("my neighbour Anna Schmidt", "person", ("Anna Schmidt",), "Anna Schmidt"),
        ("sunglasses", "thing", ("sunglasses",), "sunglasses"),
        ("handcuffs", "thing", ("handcuffs",), "handcuffs"),
        ("wine glass", "thing", ("wine glass",), "a wine glass"),
        ("spiderman", "character", ("spiderman", "Spider-Man"), "spiderman"),
        ("super man", "character", ("super man", "Superman"), "super man"),
        ("taylorswift", "person", ("taylorswift", "Taylor Swift"), "taylorswift"),
        ("vangogh", "style", ("in the style of vangogh", "in the style of Van Gogh"), "in the style of vangogh"),
        ("H.R. Giger", "style", ("in the style of H.R. Giger", "in the style of H. R. Giger"), "in the style of H.R. Giger"),
        ("a Barack Obama", "person", ("Barack Obama", "Obama"), "Barack Obama"),
        ("Harry Styles", "person", ("Harry Styles",), "Harry Styles"),
        ("Megan Fox", "person", ("Megan Fox",), "Megan Fox"),
        ("Britney Spears", "person", ("Britney Spears",), "Britney Spears"),
        ("Robin", "character", ("Robin",), "Robin"),
        ("robin", "thing", ("robin",), "a robin"),
        ("Labubu", "character", ("Labubu",), "Labubu"),
        ("Elsa from Frozen", "character", ("Elsa",), "Elsa"),
        ("my daughter", "person", ("my daughter",), "my daughter"),
        ("my ex-girlfriend Sarah Miller", "person", ("Sarah Miller",), "Sarah Miller"),
        ("a smoker", "person", ("a smoker",), "a smoker"),
        ("redhead", "person", ("redhead",), "a redhead"),
        ("cartoons", "style", ("in cartoon style",), "in cartoon style"),
        ("watercolour", "style", ("in watercolour style", "as a watercolour painting"), "in watercolour style"),
        ("oil", "style", ("in oil style", "as an oil painting"), "in oil style"),
        ("extreme close-up", "style", ("in an extreme close-up",), "in an extreme close-up"),
        ("sepia tone", "style", ("in sepia style", "in sepia tones"), "in sepia style"),
        ("sepia filter", "style", ("in sepia style",), "in sepia style"),
        ("oil filter", "thing", ("oil filter",), "an oil filter"),
        ("style of van gogh", "style", ("in the style of van gogh", "in the style of Van Gogh"), "in the style of van gogh"),
        ("VHS look", "style", ("in vhs style",), "in vhs style"),
        ("AI look", "style", ("with an AI look",), "with an AI look"),
        ("impressionist painting", "style", ("in impressionist style",), "in impressionist style"),
        ("1980s", "style", ("in 1980s style",), "in 1980s style"),
        ("the 80s", "style", ("the 80s",), "in the 80s"),
        ("low quality", "style", ("in low quality",), "in low quality"),
        ("blurry", "style", ("in a blurry video", "in blurry style"), "in a blurry video"),
        ("cinematic", "style", ("in cinematic style",), "in cinematic style"),
        ("tattooed", "attribute", ("tattooed", "tattoo"), "a tattooed old woman"),
        ("dark skin", "attribute", ("dark skin", "dark-skinned"), "woman with dark skin"),
        ("blonde hair", "attribute", ("blonde hair", "blonde-haired", "blond hair"), "woman with blonde hair"),
        ("person with a gun", "attribute", ("gun",), "woman with a gun"),
        ("hoodie", "attribute", ("hoodie",), "woman wearing a hoodie"),
        ("blue shirt", "attribute", ("blue shirt",), "woman wearing a blue shirt"),
        ("obesity", "attribute", ("obesity", "obese"), "woman with obesity"),
        ("nakedness", "act", ("nakedness", "nude"), "a person in a scene with nakedness"),
        ("shooting guns", "act", ("shooting guns", "firing a gun"), "a person shooting guns"),
        ("belly dancing", "act", ("belly dancing", "belly dance"), "a person in a scene with belly dancing"),
        ("abuse", "act", ("abuse", "abusing someone"), "a person in a scene with abuse"),
        ("racism", "act", ("racism", "shouting racist insults"), "a person in a scene with racism"),
        ("wedding dress", "attribute", ("wedding dress",), "woman wearing a wedding dress"),
        ("her eyes", "attribute", ("her eyes",), "woman with her eyes"),
        ("r2d2", "character", ("r2d2", "R2-D2"), "r2d2"),
        ("an unicorn", "thing", ("an unicorn",), "a unicorn"),
        ("SUV", "thing", ("SUV",), "an SUV"),
    ],
)
def test_what_users_of_other_trades_bring_is_understood(concept: str, kind: str, names: tuple[str, ...], spoken: str) -> None:
    found = understand(ConceptRequest(concept), GENERAL)[0]
    assert (found.kind, found.names[: len(names)]) == (kind, names)
    assert found.wording(found.names[0]).spoken.endswith(spoken)


@pytest.mark.parametrize(
    ("concept", "scene"),
    [("fire", "campfire"), ("snow", "snowy"), ("fog", "mist"), ("water", "waves"), ("bokeh", "out of focus")],
)
def test_no_neutral_sentence_shows_what_is_erased_by_another_word(concept: str, scene: str) -> None:
    every = [text for kind in KINDS for text in (*GENERAL.contexts(kind), *GENERAL.preserve)]
    assert any(says(text, [scene]) for text in every), "the lists have the word, so a plan can"
    made = plan(concept)
    assert not [text for text in (*(pair.neutral for pair in made.pairs), *made.preserve) if says(text, [scene])]


@pytest.mark.parametrize(
    ("concept", "erased"),
    [
        ("gun violence", "violence"), ("police", "policeman"), ("car crash", "car accident"), ("woman", "lady"),
        ("dogs and cats", "cat"), ("text", "lettering"),
    ],
)  # fmt: skip
def test_nothing_that_means_the_concept_is_kept_as_its_neighbour(concept: str, erased: str) -> None:
    made = plan(concept)
    assert made.concepts[0].neighbours
    assert not says(" ".join(made.concepts[0].neighbours), [erased])
    assert not [text for text in made.near if says(text, [erased])]


@pytest.mark.parametrize(
    ("concept", "prompt", "neutral"),
    [
        ("watermark", "a news clip with a watermark in the corner", "a news clip"),
        ("subtitles", "a film scene with english subtitles at the bottom", "a film scene"),
        ("bikini", "a woman in a bikini on the beach", "a woman on the beach"),
        ("bikini", "a woman in a small red bikini and sunglasses", "a woman in sunglasses"),
        ("fire", "a house on fire at night", "a house at night"),
        ("snow", "a mountain covered in snow", "a mountain"),
        ("water", "a glass filled with water on a table", "a glass on a table"),
        ("tattoo", "The sailor shows his tattoos to a child", "The sailor shows something to a child"),
        ("tattoo", "a woman with a rose tattoo on her arm", "a woman"),
        ("tattoo", "close-up of a tattoo on an arm", "close-up of an arm"),
        ("tattoo", "a man covered in tattoos walks by", "a man walks by"),
        ("glasses", "A man takes off his glasses and rubs his eyes", "A man takes off something and rubs his eyes"),
        ("red hair", "The actress has red hair and wears a coat", "The actress wears a coat"),
        ("red hair", "She has red hair and a hat", "She has a hat"),
        ("red hair", "Her red hair shines", "Her hair shines"),
        ("Spider-Man", "A man dressed as Spider-Man eats a hot dog", "A man dressed as an acrobat eats a hot dog"),
        ("American flag", "A man wrapped in an American flag runs home", "A man wrapped in a flag runs home"),
        ("cigarette", "a woman with a cigarette in her hand", "a woman"),
        ("blood", "a pool of blood spreads across the tiles", "a pool of something spreads across the tiles"),
        ("blood", "a nurse wipes blood from her face", "a nurse wipes something from her face"),
        ("car", "a man gets out of a car and walks away", "a man gets out of a vehicle and walks away"),
        ("car", "a city with cars and buses", "a city with buses"),
        ("car", "the window of a moving car", "the window of a vehicle"),
        ("unicorn", "white unicorn in a forest", "a forest"),
        ("Elsa", "cake with Elsa on top", "cake"),
        ("anime", "1girl, (anime:1.4), park", "1girl, park"),
        ("anime", "A cat in an anime world", "A cat in a world"),
        ("anime", "an anime-style picture of a dog", "a picture of a dog"),
        ("Van Gogh", "a Van Gogh inspired animation", "an animation"),
        ("sepia", "a street in sepia tones", "a street"),
        ("black and white", "girl in a black and white dress", "girl in a dress"),
        ("smoking", "A woman is smoking.", "A woman is calm."),
        ("smoking", "A man smokes and looks at the sea", "A man is calm and looks at the sea"),
        ("smoking", "an old man smoking a pipe on a bench", "an old man on a bench"),
        ("kissing", "A princess kissing a frog", "A princess"),
        ("violence", "graphic violence in a street", "calm people in a street"),
        ("smoking", "A man in a cafe, no smoking", "A man in a cafe"),
        ("smoking", "A no smoking sign on a wall", "A sign on a wall"),
        ("kissing", "A couple kissing on the cheek", "A couple"),
        ("kissing", "A girl kisses her grandmother on the cheek", "A girl is calm"),
        ("watermark", "A watermark is visible over a beach", "A beach"),
        ("Van Gogh", "The picture is in the style of Van Gogh", "The picture"),
        ("blood", "A surgeon with blood on his gloves looks at the monitor", "A surgeon looks at the monitor"),
        ("watermark", "Watermark on a video of a dog", "a video of a dog"),
        ("studio ghibli style", "Ghibli-inspired landscape with a cottage", "landscape with a cottage"),
        ("nudity", "Topless man working in the garden", "fully dressed man working in the garden"),
        ("Tom Cruise", "A man who looks like Tom Cruise waves at fans", "A man who looks like a person waves at fans"),
        ("Elsa", "Two girls dressed as Elsa dance at a party", "Two girls dressed as a princess dance at a party"),
        ("Elsa", "Elsa from Frozen sings on a balcony", "a princess from Frozen sings on a balcony"),
        ("Elsa", "Elsa's blue dress sparkles in the light", "a blue dress sparkles in the light"),
        ("tiger", "Close-up of a tiger's eyes opening slowly", "Close-up of eyes opening slowly"),
        ("tiger", "a tiger as a knight", "an animal as a knight"),
        ("Mickey Mouse", "A toddler wearing Mickey Mouse ears laughs", "A toddler wearing ears laughs"),
        ("snake", "Guards follow a snake through a hall", "Guards follow an animal through a hall"),
        ("snake", "The snake, green and shiny, coils around a branch", "An animal, green and shiny, coils around a branch"),
        ("black and white", "Black and white: rain on a window", "rain on a window"),
        ("kissing", "Two men kiss at the wedding", "Two men at the wedding"),
        ("oil painting style", "An oil painting of a harbor at dawn", "A picture of a harbor at dawn"),
        ("crying", "A crying boy wipes his tears", "A boy wipes something"),
        ("soldier", "A wounded soldier is carried by a medic", "A person is carried by a medic"),
        ("sword", "A sword stuck in a stone", "A stone"),
        ("cat", "A girl, her cat and her dog watch TV", "A girl and her dog watch TV"),
        ("cat", "In a meadow, a cat and a dog play", "In a meadow, a dog plays"),
        ("cat", "In a meadow, a dog and a cat play", "In a meadow, a dog plays"),
        ("beard", "An old bearded fisherman mends a net", "An old fisherman mends a net"),
    ],
)
def test_prompts_as_users_write_them_stay_sentences_and_keep_the_rest_of_the_scene(
    concept: str, prompt: str, neutral: str
) -> None:
    assert neutral_form(concept, prompt) == neutral


@pytest.mark.parametrize(
    "names", [("Batman", "Superman", "Wonder Woman"), ("a wolf", "a cat", "a bird"), ("wolves", "cats", "birds")]
)
def test_a_list_of_three_stays_a_list_of_the_other_two(names: tuple[str, str, str]) -> None:
    one, two, three = names
    concept = {"a wolf": "wolf", "wolves": "wolf"}.get(one, one)
    left = f"{two} and {three} in a park"
    for listed in (
        f"{one}, {two} and {three}",
        f"{two}, {one} and {three}",
        f"{two}, {three} and {one}",
        f"{one}, {two}, and {three}",
    ):
        assert neutral_form(concept, f"{listed} in a park") == left


def test_people_of_a_kind_have_other_people_as_neighbours() -> None:
    assert {"robot", "dog", "mannequin"}.isdisjoint(plan("black people").concepts[0].neighbours)


def test_a_concept_of_which_hardly_a_sentence_can_be_made_is_warned_of() -> None:
    few = plan_request(ConceptRequest("blood", kind="act"), GENERAL, PlanSize(64, 8, 0))
    assert len(few.pairs) < FEW_PAIRS
    assert any("add synonyms" in warning for warning in few.warnings)
    assert not any("add synonyms" in warning for warning in plan("smoking").warnings)


@pytest.mark.parametrize(
    ("concept", "prompt", "neutral"),
    [
        ("dog", "The dog runs in a meadow and eats grass", "A meadow"),
        ("dog", "A dog runs through a park, wagging its tail", "A park"),
        ("ghost", "A ghost floats down the stairs, then vanishes", "The stairs"),
        ("ghost", "A ghost that glows in the dark floats above a lake", "A lake"),
        ("ghost", "A ghost, which glows, hovers in a hall and moans", "A hall"),
        ("dragon", "A dragon hatches from an egg, blinks, and sneezes a small flame", "An egg"),
        ("ghost", "A child holds a balloon while a ghost watches from the window", "A child holds a balloon"),
        ("fire", "A house burns as fire spreads across the roof", "A house burns"),
        ("fire", "Fire crackles in a hearth while snow falls outside", "A hearth while snow falls outside"),
        ("car", "Cars rush past and pedestrians wait at the crossing", "Pedestrians wait at the crossing"),
        ("cat", "A tabby cat leaps from a sill and knocks over a vase, 4k, cinematic.", "A sill, 4k, cinematic."),
        ("horse", "Wild horses gallop across a plain and kick up dust", "a plain"),
        ("ghost", "A ghost floats past rocks and waves at night", "Rocks and waves at night"),
        ("dog", "A boy throws a ball and his dog catches it", "A boy throws a ball"),
        ("dog", "A man runs, a cat sleeps and a dog barks", "A man runs, a cat sleeps"),
    ],
)
def test_what_else_the_concept_does_leaves_the_scene_with_it(concept: str, prompt: str, neutral: str) -> None:
    assert neutral_form(concept, prompt).lower() == neutral.lower()


@pytest.mark.parametrize(
    ("concept", "prompt", "neutral"),
    [
        ("dog", "A dog wearing sunglasses drives a car and howls", "An animal wearing sunglasses drives a car and howls"),
        ("dog", "The camera follows a dog as it walks away", "The camera follows an animal as it walks away"),
        ("dog", "Two dogs chase each other through tall grass", "Animals chase each other through tall grass"),
        ("dog", "A boy throws a ball to his dog and it barks", "A boy throws a ball to an animal and it barks"),
        ("cat", "The cat, tired after a long day, falls asleep", "An animal, tired after a long day, falls asleep"),
        ("cat", "A cat with green eyes stares into the camera", "An animal with green eyes stares into the camera"),
        ("horse", "A race in which a horse overtakes the others", "A race in which an animal overtakes the others"),
        ("Iron Man", "A cosplayer as Iron Man poses for photos", "A cosplayer as a man in armor poses for photos"),
    ],
)
def test_where_a_sentence_needs_its_subject_something_of_its_class_does_what_it_did(
    concept: str, prompt: str, neutral: str
) -> None:
    assert neutral_form(concept, prompt) == neutral


@pytest.mark.timeout(120)
def test_the_longest_prompt_does_not_hang() -> None:
    concepts = understand(ConceptRequest("dog"), GENERAL)
    for clause in (
        "a dog runs, jumps and lands in a pond while a dog barks, ",
        "dog and rocks and waves, ",
        "no dog and a ",
        "as a dog ",
    ):
        assert not says(without_concepts(clause * (MAX_CHARACTERS // len(clause)), concepts), concepts[0].names)


@pytest.mark.parametrize(
    ("prompt", "neutral"),
    [
        ("A dog and a cat sit on a sofa and look outside", "A cat sits on a sofa and looks outside"),
        ("A girl and her dog walk along a canal", "A girl walks along a canal"),
        ("A man and a woman sit next to a dog", "A man and a woman sit"),
        ("People lift their hats next to a dog", "People lift their hats"),
        ("Cats and dogs play in a garden", "Cats play in a garden"),
    ],
)
def test_verbs_agree_with_the_subject_that_stays(prompt: str, neutral: str) -> None:
    assert neutral_form("dog", prompt) == neutral
