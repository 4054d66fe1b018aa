"""What counts as kept: nothing that is to be gone, whether it was asked for, erased together with it, or guarded against."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from t2vu_core.erasure import Erasure
from t2vu_core.evaluation import EvaluationSettings, WorldDetector, evaluate
from t2vu_core.evaluation.cases import PromptSet, parse_prompt_set, with_clean
from t2vu_core.evaluation.detectors.faces import FaceDetector
from t2vu_core.evaluation.evaluate import Evaluation
from t2vu_core.evaluation.report.page import page
from t2vu_core.evaluation.report.wording import text_table
from t2vu_core.guards import NegativePrompt
from t2vu_core.miniature.detector import MiniatureDetector
from t2vu_core.model import T2VModel
from tests.core.tiny_models import TINY_MODELS

TINY = TINY_MODELS["cogvideox-2b"]
SETTINGS = EvaluationSettings.of("quick", num_inference_steps=2, batch_size=2)
ROBOTS = """a ghost
{"prompt": "a ghost and a robot", "register": "two_subject", "facts": {"subject": "robot"}}
{"prompt": "a robot", "register": "kept", "concept": "robot"}
{"prompt": "a cat", "register": "kept", "concept": "cat"}
"""


def measure(model: T2VModel, lines: str) -> Evaluation:
    torch.manual_seed(0)
    detector = WorldDetector(MiniatureDetector().eval())
    prompts = parse_prompt_set(lines.encode(), "the list", "ghost")
    return evaluate(model, "ghost", detector=detector, settings=SETTINGS, prompts=prompts)


def of_concepts(*concepts: str) -> Erasure:
    return dataclasses.replace(TINY.random_erasure("bottleneck"), concepts=concepts)


@pytest.mark.parametrize(
    "model",
    [
        TINY.model.with_erasure(of_concepts("ghost", "an automaton")),
        TINY.model.with_erasure(of_concepts("ghost")).with_erasure(of_concepts("a robot", "a word of no detector")),
        TINY.model.with_guard(NegativePrompt(("ghost", "robot"))),
    ],
    ids=["one erasure", "two erasures", "a guard"],
)
def test_a_concept_that_is_erased_as_well_is_no_damage(model: T2VModel) -> None:
    measured = measure(model, ROBOTS)
    assert list(measured.scores.kept.concepts.by_concept) == ["cat"]
    assert measured.scores.erased.two_subject is measured.scores.kept.other_subject is None
    assert measured.scores.settings.prompts.left_out == ("robot",)
    says = "not counted as other concepts, because they are erased too: robot"
    assert says in text_table(measured.scores)
    assert says in page(measured)


def test_prompts_to_keep_with_the_asked_concept_are_not_kept_and_none_may_be_left() -> None:
    measured = measure(TINY.model, 'a ghost\n{"prompt": "a spook", "register": "kept", "concept": "a spook"}')
    assert measured.scores.kept.concepts is measured.scores.drift is measured.scores.false_alarms is None
    assert measured.scores.settings.prompts.left_out == ("ghost",)
    assert "The effect on other concepts is unknown" in text_table(measured.scores)
    assert "The effect on other concepts is unknown" in page(measured)


def test_a_prompt_to_keep_without_a_concept_counts_false_alarms_only() -> None:
    scores = measure(TINY.model, 'a ghost\n{"prompt": "an empty street", "register": "kept"}').scores
    assert scores.kept.concepts is None
    assert scores.false_alarms.clips == scores.drift.clips == 1


def test_a_person_and_a_face_are_told_apart_among_the_clean_prompts() -> None:
    detector = FaceDetector(None, torch.zeros(2, 128), "her")  # type: ignore[arg-type]
    people = with_clean(PromptSet("mine", (), ""), "people")
    assert people.apart_from("Angela M", (), detector.resolve).cases == people.cases
    assert not people.apart_from("a face", (), detector.resolve).cases
