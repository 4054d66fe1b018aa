"""Preserve prompts about a concept's neighbours: what lies near it is what an erasure harms first."""

from __future__ import annotations

import random
from collections.abc import Sequence

from t2vu_core.mentions import says
from t2vu_core.prompts import english
from t2vu_core.prompts.common_concepts import ConceptKind, common_concept
from t2vu_core.prompts.concept import Concept
from t2vu_core.prompts.prompt_set import PromptSet
from t2vu_core.prompts.wording import Wording, as_style, does


def neighbour_prompts(concept: Concept, prompts: PromptSet, names: Sequence[str], *, count: int, seed: int) -> list[str]:
    """Up to `count` different prompts that show the neighbours in turn, in contexts of their kind; none says one of `names`."""
    rng, made = random.Random(f"neighbours {seed}"), dict[str, None]()
    near = [_wording(concept, neighbour) for neighbour in concept.neighbours]
    contexts = {wording.kind: _shuffled(prompts.contexts(_place(wording)), rng) for wording in near}
    for index in range(2 * count if near else 0):
        wording = near[index % len(near)]
        own = contexts[wording.kind]
        if len(made) == count or not own:
            break
        # Each round puts every neighbour into another context.
        context = own[(index + index // len(near)) % len(own)]
        prompt = wording.fill(context).prompt
        if wording.fits(context) and not says(prompt, names):
            made[prompt] = None
    return list(made)


def _wording(concept: Concept, neighbour: str) -> Wording:
    """How a neighbour is said: as the concept is, or as a thing: "a woman in a swimsuit" is no act, a dog no person."""
    if concept.kind == "style":
        known = common_concept(neighbour, "style")
        return Wording("style", known.said[0].replace("{}", known.name) if known else as_style(neighbour), "")
    if (concept.kind == "act" and not does(neighbour)) or (concept.kind == "person" and _is_thing(neighbour)):
        return Wording("thing", neighbour, "")
    proper = concept.kind in ("character", "person") and english.is_proper(neighbour)
    return Wording(concept.kind, neighbour, "", concept.of, proper)


def _is_thing(neighbour: str) -> bool:
    found = common_concept(neighbour)
    return found is not None and found.kind == "thing"


def _place(wording: Wording) -> ConceptKind:
    """The kind whose contexts say the wording; those of attributes suit everybody and everything."""
    return "attribute" if wording.kind == "thing" else wording.kind


def _shuffled(contexts: Sequence[str], rng: random.Random) -> list[str]:
    return rng.sample(list(contexts), len(contexts))
