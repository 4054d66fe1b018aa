"""A plan for people: as `t2vu plan` prints it and as the training nodes output it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from t2vu_core.prompts.wording import EMPTY_SCENE

SHOWN_PAIRS = 10
SHOWN_AHEAD = 3
_NOTHING = {
    "style": "nothing: the same scene in no particular style",
    "attribute": "nothing: {of} without it",
}


def plan_text(described: Mapping[str, Any]) -> str:
    """What `PromptPlan.describe` or `EncoderPlan.describe` gave, in lines."""
    concepts = described.get("concepts") or [described]
    lines = [
        line for concept in (concepts.values() if isinstance(concepts, Mapping) else concepts) for line in _concept(concept)
    ]
    pairs = described["pairs"]
    lines += ["", f"prompts      {min(SHOWN_PAIRS, len(pairs))} of {len(pairs)}, each with what it becomes"]
    for prompt, neutral in pairs[:SHOWN_PAIRS]:
        lines += [f"  {prompt}", f"    -> {neutral or '(an empty prompt)'}"]
    lines += ["", _preserved(described)]
    lines += [f"erasers      {described['sites']}"] if described.get("sites") else []
    return "\n".join([*lines, *(f"warning      {text}" for text in described.get("warnings", ()))])


def plan_ahead(described: Mapping[str, Any]) -> str:
    """The lines that a person checks before the training: kind, replacement, neighbours, a few pairs, warnings."""
    concepts = described.get("concepts") or [described]
    lines = [
        line
        for concept in (concepts.values() if isinstance(concepts, Mapping) else concepts)
        for line in _concept(concept)
        if line.startswith(("concept", "kind", "instead", "neighbours"))
    ]
    lines += [_preserved(described)]
    lines += [f"{prompt} -> {neutral or '(an empty prompt)'}" for prompt, neutral in described["pairs"][:SHOWN_AHEAD]]
    return "\n".join([*lines, *(f"warning      {text}" for text in described.get("warnings", ()))])


def _preserved(described: Mapping[str, Any]) -> str:
    near = len(described.get("near", ()))
    about = f", {near} of them about neighbours" if near else ""
    return f"preserved    {len(described['preserve'])} prompts{about}"


def _concept(concept: Mapping[str, Any]) -> list[str]:
    kind = concept["concept_kind"]
    lines = [
        f"concept      {concept['concept']}",
        f"kind         {kind}: {concept['kind_reason']}",
        f"names        {', '.join(concept['names'])}",
    ]
    if concept["of"]:
        lines.append(f"of           {concept['of']}")
    first, *others = (text or _nothing(kind, concept["of"]) for text in concept["replacements"])
    otherwise = f" (otherwise: {', '.join(others)})" if others else ""
    place = f"{first}, the place alone" if first == EMPTY_SCENE else first
    return [*lines, f"instead      {place}{otherwise}", f"neighbours   {', '.join(concept['neighbours'][:8]) or 'none'}"]


def _nothing(kind: str, of: str | None) -> str:
    return _NOTHING.get(kind, "nothing").replace("{of}", of or "the same")
