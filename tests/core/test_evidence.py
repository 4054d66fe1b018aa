"""The evidence sheet and the schema of the scores: what another party reads of an evaluation."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest

from t2vu_core.evaluation.build_schema import PATH, schema_text
from t2vu_core.evaluation.report.evidence import LIMITS, NOT_TESTED, NOTE, evidence
from t2vu_core.evaluation.report.wording import agreement, stands_there
from t2vu_core.scores import AttackPart, Instead, JudgedBy, Scores, SecondJudgement
from tests.core.example_scores import NEVER_TRIED, attack, scores
from tests.core.test_scores import full
from tests.core.tiny_models import TINY_MODELS

SCHEMA = json.loads(PATH.read_text(encoding="utf-8"))
KINDS: dict[str, tuple[type, ...]] = {
    "string": (str,), "boolean": (bool,), "integer": (int,), "number": (int, float), "null": (type(None),), "array": (list,),
    "object": (dict,),
}  # fmt: skip


def fits(value: Any, schema: dict[str, Any]) -> bool:
    """Whether a value is valid, as far as the shipped schema's keywords go."""
    if "$ref" in schema:
        return fits(value, SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[1]])
    if "anyOf" in schema:
        return any(fits(value, each) for each in schema["anyOf"])
    if "enum" in schema:
        return value in schema["enum"]
    kind = schema.get("type")
    if kind and (not isinstance(value, KINDS[kind]) or (isinstance(value, bool) and kind != "boolean")):
        return False
    if "minimum" in schema and not schema["minimum"] <= value <= schema["maximum"]:
        return False
    if isinstance(value, dict):
        named = schema.get("properties", {})
        rest = schema.get("additionalProperties", {})
        there = all(name in value for name in schema.get("required", ()))
        return there and all(fits(part, named.get(name, rest)) for name, part in value.items())
    if isinstance(value, list) and "prefixItems" in schema:
        return len(value) == schema["minItems"] and all(map(fits, value, schema["prefixItems"]))
    return not isinstance(value, list) or all(fits(part, schema.get("items", {})) for part in value)


def test_the_shipped_schema_is_that_of_the_scores() -> None:
    assert PATH.read_text(encoding="utf-8") == schema_text(), "run python -m t2vu_core.evaluation.build_schema"


def test_scores_are_valid_and_damaged_ones_are_not() -> None:
    whole = json.loads(json.dumps(full().to_json()))
    assert fits(whole, SCHEMA)
    assert fits(json.loads(json.dumps(scores([True], [True]).to_json())), SCHEMA)
    for change in ({"seconds": "long"}, {"concept": None}, {"kept": []}, {"false_alarms": {"before": 0.5}}):
        assert not fits({**whole, **change}, SCHEMA)
    without = {name: value for name, value in whole.items() if name != "settings"}
    assert not fits(without, SCHEMA)
    beyond = json.loads(json.dumps(whole))
    beyond["erased"]["all"]["after"] = 1.5
    assert not fits(beyond, SCHEMA)


def test_the_sheet_says_what_was_found_and_what_was_not_tested() -> None:
    found: Scores = scores(
        [False] * 9 + [True], [True] * 10, comes_back={**NEVER_TRIED, "probe": attack([True] * 3 + [False] * 7)}
    )
    erasure = TINY_MODELS["cogvideox-2b"].random_erasure("bottleneck")
    page = evidence(found, [erasure])
    for words in (NOTE, found.settings.base_hash, found.settings.prompts.sha256, "Learned tokens", *LIMITS, *NOT_TESTED):
        assert words in page
    assert "attack: the model is fine-tuned on clips of other things" in page
    assert "attack: the attacker trains a few new words" not in page, "it was tried"
    assert "size: A4" in page


def test_the_sheet_has_both_judges_what_stands_there_and_the_parts_of_an_attack() -> None:
    parts = {"24 x 24 pixels": AttackPart(shown=1, clips=16, control=0)}
    tried = dataclasses.replace(attack([True] + [False] * 15), parts=parts)
    shows = full().erased.all
    second = SecondJudgement(judge=JudgedBy(name="another", accuracy="unknown"), erased=shows, kept=None, differ=0.2, clips=20)
    instead = Instead(
        natural=0.75, debris=0.25, empty=0.75, subjects={}, natural_before=1.0, debris_before=0.0, debris_interval=(0.1, 0.5),
        clips=20, realism=None,
    )  # fmt: skip
    whole = dataclasses.replace(full(), second_judge=second, instead=instead, comes_back={**NEVER_TRIED, "other_size": tried})
    page = evidence(whole)
    assert "<td>Second judge</td><td>another</td>" in page
    assert agreement(second) in page
    assert "they differ by more than 5 %" in page
    assert stands_there(instead) in page
    assert "24 x 24 pixels: 1 of 16; unerased 0 of 16" in page
    assert "Second judge" not in evidence(full())


def test_the_sheet_has_all_that_the_verdict_is_made_from() -> None:
    page = evidence(full())
    assert "motion relative to base" in page
    assert "a model that never knew it shows it in" in page


@pytest.mark.parametrize("word", ["guaranteed", "certified", "compliant", "safe"])
def test_the_sheet_promises_nothing(word: str) -> None:
    assert word not in evidence(full()).replace("not a guarantee", "")
