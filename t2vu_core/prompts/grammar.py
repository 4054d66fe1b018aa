"""Paraphrases of any concept without a language model, from three words to a paragraph.

A generative grammar: sentence forms with slots for the concept, a setting, light, camera and mood, each drawn from a list
in `grammar.json`. Every form is also grammatical with what stands in the concept's place, and with "it" for later mentions,
so that the neutral sentence is correct whatever the concept's number or kind.
"""

from __future__ import annotations

import json
import random
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import resources

from t2vu_core.mentions import says
from t2vu_core.prompts.concept import Concept
from t2vu_core.prompts.pairs import PromptPair, tidy
from t2vu_core.prompts.wording import SUBJECT_KINDS, Wording, as_style

Pieces = Mapping[str, Sequence[str]]
TERSE, SENTENCE = 0.25, 0.5
"""Cumulative shares: a quarter of the pairs is terse, a quarter one sentence, the other half two to five sentences."""
MENTIONED_AGAIN = 0.6
"""Probability that a long prompt mentions the concept a second time."""
AROUND = ("surroundings", "light", "camera", "mood")
TRIES = 20
"""Draws per pair at most; many are rejected if the lists themselves contain the concept."""


def grammar_pairs(concept: Concept, *, count: int, seed: int) -> list[PromptPair]:
    """`count` different pairs, half of them with the first name; the same seed gives the same pairs.

    Fewer if the concept is so common in the lists that hardly any sentence is neutral without it.
    """
    rng, names = random.Random(seed), concept.names
    pairs: dict[PromptPair, None] = {}
    for _ in range(TRIES * count):
        if len(pairs) == count:
            break
        wording = concept.wording(names[0] if len(pairs) % 2 == 0 else rng.choice(names))
        pair = _style(wording, rng) if concept.kind == "style" else _subject(wording, rng)
        if not says(pair.neutral, (*names, *concept.shown_by)):
            pairs[pair] = None
    return list(pairs)


def elaborate(prompt: str, names: Sequence[str], *, seed: int) -> str:
    """The prompt followed by sentences about its surroundings, as language models expand one; never with the names."""
    start = prompt[:1].upper() + prompt[1:].rstrip(". ") + "."
    return " ".join([start, *_surroundings(random.Random(f"{seed} {prompt}"), names)])


def short_prompt(wording: Wording, rng: random.Random) -> str:
    """A prompt of a few words with the concept, to be expanded."""
    pieces = _pieces()
    if wording.kind != "style":
        return f"{wording.spoken} {rng.choice(pieces['places'])}"
    return f"{rng.choice(pieces['actors'])} {rng.choice(pieces['places'])}, {as_style(wording.name)}"


def _subject(wording: Wording, rng: random.Random) -> PromptPair:
    text = _thing_form(rng)
    if wording.kind not in SUBJECT_KINDS:
        # Somebody does the act or has the attribute, and is not mentioned again by it.
        text = text.replace("{the}", "the scene")
    return wording.fill(text.replace("{}", "{a person}") if wording.kind == "act" else text)


def _thing_form(rng: random.Random) -> str:
    """A text with `{}` once, and `{the}` where the concept is mentioned again."""
    pieces, register = _pieces(), rng.random()
    if register < TERSE:
        return rng.choice(pieces["terse"])
    place, detail = rng.choice(pieces["places"]), rng.choice(pieces["details"])
    if register < SENTENCE:
        return f"{rng.choice(pieces['shots'])} {{}} {place}, {detail}"
    opening = rng.choice(pieces["openings"]).replace("{place}", place).replace("{detail}", detail)
    again = [rng.choice(pieces["subject"])] if rng.random() < MENTIONED_AGAIN else []
    return " ".join([opening, *again, *_surroundings(rng)])


def _style(wording: Wording, rng: random.Random) -> PromptPair:
    """The neutral form of a long prompt leaves out the sentence that only states the manner."""
    pieces, spoken, register = _pieces(), as_style(wording.name), rng.random()
    scene, detail = f"{rng.choice(pieces['actors'])} {rng.choice(pieces['places'])}", rng.choice(pieces["details"])
    if register < SENTENCE:
        form = (
            rng.choice(pieces["manner_terse"])
            if register < TERSE
            else f"{rng.choice(pieces['shots'])} {{scene}} {{}}, {detail}"
        )
        form = form.replace("{scene}", scene)
        if wording.replacement:
            return wording.fill(form)
        return PromptPair(form.replace("{}", spoken), tidy(form.replace("shown {}", "").replace("{}", "")))
    opening = rng.choice([form for form in pieces["openings"] if "{} {place}" in form])
    opening = opening.replace("{} {place}", scene).replace("{detail}", detail)
    manner, rest = rng.choice(pieces["manner_sentences"]), _surroundings(rng)
    place = rng.randint(0, len(rest))
    instead = [manner.replace("{}", as_style(wording.replacement))] if wording.replacement else []
    sentences = [manner.replace("{}", spoken)], instead
    said, neutral = (" ".join([opening, *rest[:place], *own, *rest[place:]]) for own in sentences)
    return PromptPair(said, neutral)


def _surroundings(rng: random.Random, names: Sequence[str] = ()) -> list[str]:
    """One to three sentences about the surroundings, without the names."""
    pieces, kinds = _pieces(), sorted(rng.sample(range(len(AROUND)), rng.choice((1, 2, 2, 3))))
    free = ([text for text in pieces[AROUND[kind]] if not says(text, names)] for kind in kinds)
    return [rng.choice(texts) for texts in free if texts]


@cache
def _pieces() -> Pieces:
    text = resources.files("t2vu_core.prompts").joinpath("grammar.json").read_text(encoding="utf-8")
    return json.loads(text)
