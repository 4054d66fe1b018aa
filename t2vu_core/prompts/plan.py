"""The plan of a training run: what the concept is, prompts with and without it, and prompts that must keep working.

The neutral prompt of a pair says what the erased model should show instead, so that only the concept goes and not the rest
of the sentence. It is made before anything is computed, can be read (`t2vu plan`), and is what the training uses and the
erasure file keeps.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain, zip_longest
from types import MappingProxyType
from typing import Any

from t2vu_core.errors import UserError
from t2vu_core.mentions import says
from t2vu_core.prompts.braces import alternatives, spelled_out
from t2vu_core.prompts.candidates import ConceptTexts, PlanSize, candidate_pairs
from t2vu_core.prompts.common_concepts import ConceptKind
from t2vu_core.prompts.concept import Concept, understand
from t2vu_core.prompts.denials import teaches
from t2vu_core.prompts.finished import instead_of_all
from t2vu_core.prompts.fitting import check_kept, same_concept
from t2vu_core.prompts.grammar import elaborate
from t2vu_core.prompts.languages import is_english
from t2vu_core.prompts.meanings import kinds_of
from t2vu_core.prompts.minors import check_no_children, words_to_avoid
from t2vu_core.prompts.neighbours import neighbour_prompts
from t2vu_core.prompts.neutral import without_concepts
from t2vu_core.prompts.pairs import PromptPair
from t2vu_core.prompts.prompt_set import PromptSet
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.prompts.wording import SUBJECT_KINDS
from t2vu_core.prompts.written import Written

log = logging.getLogger(__name__)

PLAN_VERSION = 2
"""Part of a run's fingerprint: the prompts of another version are other prompts."""
FEWEST_CONTEXTS = 4
FEW_PAIRS = 16
"""With fewer prompts a plan warns."""
NOT_WRITTEN: Mapping[str, Written] = MappingProxyType({})


@dataclass(frozen=True)
class PromptPlan:
    """The prompts of a training run; they are stored in the erasure file."""

    concepts: tuple[Concept, ...]
    pairs: tuple[PromptPair, ...]
    preserve: tuple[str, ...]
    near: tuple[str, ...]
    """Those of `preserve` that show a neighbour."""
    sources: Mapping[str, int]
    """How many pairs come from each source: `own`, `language_model`, `name`, `templates`, `grammar`."""
    unsaid: tuple[str, ...] = ()
    """The user's prompts that do not name a concept."""
    left_out: tuple[str, ...] = ()
    """The user's prompts that only deny a concept, or name somebody else."""
    are_few: bool = False
    """Whether the contexts gave fewer pairs than were asked for, and hardly any."""
    of_a_kind: tuple[str, ...] = ()
    """The user's preserve prompts and neighbours that say a kind of a concept."""
    language: str = ""
    """What was done about prompts that are not in English."""

    @property
    def title(self) -> str:
        """All concepts in one line."""
        return ", ".join(concept.title for concept in self.concepts)

    @property
    def kind(self) -> ConceptKind:
        """The kind of the first concept."""
        return self.concepts[0].kind

    @property
    def names(self) -> tuple[str, ...]:
        """What the pairs call the concepts; the first one's own name first."""
        return tuple(dict.fromkeys(name for concept in self.concepts for name in concept.names))

    @property
    def avoided(self) -> list[str]:
        """What no context says outside its slots."""
        return _avoided(self.concepts)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What a user should look at before training."""
        doubts = [
            f"{concept.title!r} was taken for {_a(concept.kind)} ({concept.reason}); if that is wrong, choose its kind "
            "(--kind, or concept_kind of the node)."
            for concept in self.concepts
            if not concept.sure
        ]
        doubts += [doubt for concept in self.concepts for doubt in concept.doubts]
        if self.are_few:
            doubts.append(
                f"Only {len(self.pairs)} prompts can be made of {self.title!r}: name it as something that somebody does or "
                "has, add synonyms, or give prompts of your own."
            )
        if emptied := [pair.prompt for pair in self.pairs if not pair.neutral and self._says_subject(pair.prompt)]:
            doubts.append(
                f"{len(emptied)} prompts become an empty prompt ({emptied[0]!r} is the first): remove or change them."
            )
        if self.unsaid:
            doubts.append(
                f"{len(self.unsaid)} of your concept prompts do not name {self.title!r} ({self.unsaid[0]!r} is the first) and "
                f"are trained to become {instead_of_all(self.concepts[0])!r}: add the name that they use as a synonym."
            )
        if self.left_out:
            doubts.append(
                f"{len(self.left_out)} of your concept prompts are left out, since they deny {self.title!r} or name somebody "
                f"else ({self.left_out[0]!r} is the first): remove or change them."
            )
        doubts += [self.language] if self.language else []
        if self.of_a_kind:
            doubts.append(
                f"{len(self.of_a_kind)} of your preserve prompts and neighbours say a kind of {self.title!r} "
                f"({self.of_a_kind[0]!r} is the first): what is kept there works against the erasure."
            )
        return tuple(doubts)

    def _says_subject(self, text: str) -> bool:
        return any(concept.kind in SUBJECT_KINDS and says(text, concept.names) for concept in self.concepts)

    def describe(self) -> dict[str, Any]:
        """The plan as JSON values."""
        first = self.concepts[0].describe()
        return {
            "version": PLAN_VERSION,
            **first,
            "names": list(self.names),
            **({"concepts": [concept.describe() for concept in self.concepts]} if len(self.concepts) > 1 else {}),
            "sources": dict(self.sources),
            "pairs": [[pair.prompt, pair.neutral] for pair in self.pairs],
            "preserve": list(self.preserve),
            "near": list(self.near),
            "warnings": list(self.warnings),
        }


def plan_request(
    request: ConceptRequest, prompts: PromptSet, size: PlanSize, written: Mapping[str, Written] = NOT_WRITTEN
) -> PromptPlan:
    """Choose the prompts for a request; `written` are a language model's prompts and neighbours by concept.

    Several concepts share the pairs in turn. Each gets those of the user's `concept_prompts` that name it, and the first
    one also those that name none. The user's preserve prompts come first; half of the others show neighbours. No context
    and no preserve prompt says any of the concepts. Enough prompts in another language stand alone, without the contexts.

    Raises UserError if a replacement, a neighbour or one of the user's preserve prompts says a concept, if hardly a context
    is left, if a prompt for nudity or sex speaks of a child, or if nothing is given to replace a subject in another language.
    """
    concepts = understand(request, prompts, {title: each.neighbours for title, each in written.items()})
    names = [name for concept in concepts for name in concept.names]
    check_kept(request.preserve_prompts, "preserve prompt", concepts)
    of_a_kind = _kinds_kept(request, concepts)
    own, kept = spelled_out(request.concept_prompts, names), spelled_out(request.preserve_prompts)
    left_out = tuple(text for text in own if not teaches(text, concepts))
    taught = tuple(text for text in own if text not in left_out)
    request = replace(request, concept_prompts=taught, preserve_prompts=tuple(kept))
    check_no_children(concepts, request.concept_prompts)
    foreign = _in_other_languages(request, concepts)
    share = replace(size, num_pairs=-(-size.num_pairs // len(concepts)))
    free = prompts.without(_avoided(concepts))
    texts = [
        ConceptTexts(concept, concepts, _own_prompts(request, concepts, concept), _written(written, concept))
        for concept in concepts
    ]
    for each in texts:
        _check_contexts(each, prompts, free, size)
    found = [candidate_pairs(each, free, share, random.Random(size.seed)) for each in texts]
    alone = len(foreign) >= FEW_PAIRS and 2 * len(foreign) > len(request.concept_prompts)
    chosen = [[pair for pair in each.items() if not alone or pair[1] == "own"][: share.num_pairs] for each in found]
    pairs = dict(pair for pair in chain.from_iterable(zip_longest(*chosen)) if pair is not None)
    taken = dict(list(pairs.items())[: size.num_pairs])
    preserve, near = _preserve(request, concepts, prompts, size)
    unsaid = tuple(text for text in taught if not (says(text, names) or without_concepts(text, concepts)))
    are_few = "templates" in taken.values() and len(taken) < min(FEW_PAIRS, size.num_pairs)
    sources = dict(Counter(taken.values()))
    language = _said_of(foreign, alone)
    return PromptPlan(
        concepts, tuple(taken), preserve, near, sources, unsaid, left_out, are_few, of_a_kind=of_a_kind, language=language
    )


def warn_unused(plan: Any, request: ConceptRequest, settings: tuple[str, str]) -> str | None:
    """Log and return how many of the user's prompts `plan` (with `pairs` and `preserve`) does not use, and its warnings.

    `settings` name what to raise for more concept prompts and for more preserve prompts.
    """
    messages = list(plan.warnings)
    used = {pair.prompt for pair in plan.pairs}, set(plan.preserve)
    for own, chosen, setting in zip((request.concept_prompts, request.preserve_prompts), used, settings, strict=True):
        chosen = chosen | set(getattr(plan, "left_out", ()))
        left = [text for text in dict.fromkeys(own) if chosen.isdisjoint(alternatives(text))]
        if left:
            messages.append(f"{len(left)} of your {len(own)} prompts are not used ({left[0]!r} is the first): raise {setting}.")
    if messages:
        log.warning(" ".join(messages))
    return " ".join(messages) or None


def _avoided(concepts: Sequence[Concept]) -> list[str]:
    """The names, words of scenes that show a concept without them, and children next to nudity or sex."""
    return [*(word for each in concepts for word in (*each.names, *each.shown_by)), *words_to_avoid(concepts)]


def _a(kind: ConceptKind) -> str:
    return f"{'an' if kind.startswith('a') else 'a'} {kind}"


def _kinds_kept(request: ConceptRequest, concepts: Sequence[Concept]) -> tuple[str, ...]:
    """What the user wants kept although it is a kind of a concept: a taxi where cars go."""
    kinds = [kind for concept in concepts for kind in kinds_of(concept.title)]
    return tuple(text for text in (*request.preserve_prompts, *request.neighbours) if kinds and says(text, kinds))


def _in_other_languages(request: ConceptRequest, concepts: Sequence[Concept]) -> list[str]:
    """The user's prompts that are not in English. Raises UserError if what replaces a subject in one of them is not said."""
    names = [name for concept in concepts for name in concept.names]
    foreign = [text for text in request.concept_prompts if not is_english(text, names)]
    subjects = [name for concept in concepts if concept.kind in SUBJECT_KINDS for name in concept.names]
    said = [text for text in foreign if says(text, subjects)]
    if said and request.replacement is None:
        raise UserError(
            f"The prompt {said[0]!r} is not in English, so what shall stand in place of {request.title!r} must be given: name "
            "it in the words of that language (--instead, or replacement of the node)."
        )
    return foreign


def _said_of(foreign: Sequence[str], alone: bool) -> str:
    """What a plan says of prompts in another language."""
    if not foreign:
        return ""
    start = f"{len(foreign)} of your concept prompts are not in English ({foreign[0]!r} is the first)"
    if alone:
        return f"{start}: only your own are trained on, without the English contexts."
    return f"{start} and are mixed with English contexts: give {FEW_PAIRS} or more to train on them alone."


def _check_contexts(texts: ConceptTexts, prompts: PromptSet, free: PromptSet, size: PlanSize) -> None:
    kind = texts.concept.kind
    every, left = len(prompts.contexts(kind)), len(free.contexts(kind))
    if size.augmentation == "templates" and left < min(FEWEST_CONTEXTS, every) and not (texts.own or texts.written):
        raise UserError(
            f"Only {left} of {every} contexts do not say or show {texts.concept.title!r} by themselves, too few to train on: "
            "name the concept more precisely, or give prompts of your own."
        )


def _written(written: Mapping[str, Written], concept: Concept) -> Sequence[str]:
    prompts = written[concept.title].prompts if concept.title in written else ()
    avoided = words_to_avoid([concept])
    return [text for text in prompts if not says(text, avoided) and teaches(text, [concept])]


def _own_prompts(request: ConceptRequest, concepts: Sequence[Concept], concept: Concept) -> list[str]:
    if len(concepts) == 1:
        return list(request.concept_prompts)
    every = [name for each in concepts for name in each.names]
    first = concept is concepts[0]
    return [text for text in request.concept_prompts if says(text, concept.names) or (first and not says(text, every))]


def _preserve(
    request: ConceptRequest, concepts: Sequence[Concept], prompts: PromptSet, size: PlanSize
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """All preserve prompts, and those of them that show neighbours; with `grammar` every second one is long.

    Every prompt of a model's own set shows a neighbour, since its language has no others, so none are made for it unless
    the user names some.
    """
    names = [name for concept in concepts for name in (*concept.names, *concept.shown_by)]
    general = [text for text in prompts.preserve if not says(text, names)]
    random.Random(size.seed).shuffle(general)
    if not prompts.own:
        # The words of a model's own set are its names.
        means = list(dict.fromkeys(word for each in concepts for word in same_concept(each.title)))
        names, general = [*names, *means], [text for text in general if not says(text, means)]
    near: list[str] = []
    if request.neighbours or not prompts.own:
        share = -(-size.num_preserve // len(concepts))
        made = [neighbour_prompts(each, prompts, names, count=share, seed=size.seed) for each in concepts]
        near = [text for texts in zip_longest(*made) for text in texts if text is not None]
    mixed = [text for both in zip_longest(near, general) for text in both if text is not None]
    if size.augmentation == "grammar":
        longer = {
            text: elaborate(text, names, seed=size.seed)
            for index, text in enumerate(mixed)
            if (index // 2 if near else index) % 2
        }
        mixed, near = [longer.get(text, text) for text in mixed], [longer.get(text, text) for text in near]
    kept = tuple(dict.fromkeys([*request.preserve_prompts, *mixed]))[: size.num_preserve]
    return kept, tuple(text for text in kept if text in set(near))
