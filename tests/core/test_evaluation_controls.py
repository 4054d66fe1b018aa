"""The meter's own error: what it says where the truth is known."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from t2vu_core.evaluation import EvaluationSettings, WorldDetector, built_in, evaluate
from t2vu_core.evaluation.build_prompt_sets import CONCEPTS
from t2vu_core.evaluation.cases import Case
from t2vu_core.evaluation.detectors.count_miniature_errors import count_errors
from t2vu_core.evaluation.measures import l1_distance, ssim
from t2vu_core.evaluation.records import Record, look
from t2vu_core.evaluation.report.wording import sentences, text_table
from t2vu_core.evaluation.scoring import score
from t2vu_core.miniature.detector import MiniatureDetector
from t2vu_core.miniature.world import BACKGROUNDS, MOTIONS, NOBODY, STYLES, SUBJECTS, render
from t2vu_core.model import load_model
from t2vu_core.scores import Scores, Summary
from tests.core.example_scores import MEASURED_WITH

CONCEPT = "ghost"


@pytest.fixture(scope="module")
def detector() -> WorldDetector:
    return WorldDetector.bundled()


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    prompts = built_in(CONCEPT)
    assert prompts is not None
    return list(prompts.first(16, 60).cases)


def draw(cases: Sequence[Case], *, without: str | None = None) -> Tensor:
    """Renders of what the cases ask for, in [0, 1]; a subject in `without` is left out."""
    rows = []
    for case in cases:
        asked = case.concept if case.concept in SUBJECTS else None
        subjects = [name for name in (asked, case.facts.get("subject")) if name and name != without]
        first, second = [*(SUBJECTS.index(name) for name in subjects), NOBODY, NOBODY][:2]
        style = case.concept if case.concept in STYLES else case.facts["style"]
        background = BACKGROUNDS.index(case.facts.get("background", "sky"))
        rows.append([first, second, STYLES.index(style), MOTIONS.index(case.facts["motion"]), background])
    return render(torch.tensor(rows), torch.Generator().manual_seed(0)) / 2 + 0.5


def measure(detector: WorldDetector, cases: Sequence[Case], before: Tensor, after: Tensor) -> Scores:
    """Scores of two sets of clips for the same cases, as `evaluate` counts them."""
    names = (*SUBJECTS, *STYLES[1:])
    looks = [look(clips, detector.judge(clips, names)) for clips in (before, after)]
    rows = zip(cases, *looks, ssim(before, after).tolist(), l1_distance(before, after).tolist(), strict=True)
    records = [Record(case, case.concept, *rest) for case, *rest in rows]
    return score(records, CONCEPT, MEASURED_WITH, comes_back={}, seconds=0.0)


def test_the_detectors_own_errors_on_renders_are_small(detector: WorldDetector) -> None:
    errors = count_errors(detector.network, renders=800, seed=1)
    assert set(errors) == set(CONCEPTS)
    assert min(accuracy.with_concept for accuracy in errors.values()) > 50
    alarms = sum(accuracy.false_alarms for accuracy in errors.values())
    assert alarms / sum(accuracy.without for accuracy in errors.values()) <= 0.01
    misses = sum(accuracy.misses for accuracy in errors.values())
    assert misses / sum(accuracy.with_concept for accuracy in errors.values()) <= 0.02


def test_an_untrained_detectors_errors_are_not_small() -> None:
    torch.manual_seed(0)
    errors = count_errors(MiniatureDetector().eval(), renders=100, seed=1)
    wrong = sum(accuracy.false_alarms + accuracy.misses for accuracy in errors.values())
    assert wrong > 100


def test_the_detector_says_its_own_errors_and_other_weights_do_not_borrow_them(detector: WorldDetector) -> None:
    for concept in CONCEPTS:
        accuracy = detector.accuracy(concept)
        assert accuracy is not None
        assert accuracy.false_alarms / accuracy.without <= 0.01
        assert accuracy.misses / accuracy.with_concept <= 0.02
    assert WorldDetector(MiniatureDetector().eval()).accuracy(CONCEPT) is None


def test_an_erasure_that_does_nothing_scores_as_nothing(detector: WorldDetector, cases: list[Case]) -> None:
    clips = draw(cases)
    scores = measure(detector, cases, clips, clips)
    assert scores.erased.all.before > 0.97
    assert scores.summary == Summary(gone=0.0, kept=1.0, gone_and_kept=0.0)
    assert scores.drift.ssim == pytest.approx(1.0)
    assert scores.motion.ratio == pytest.approx(1.0)
    assert sentences(scores).startswith("Not erased")


def test_an_erasure_that_takes_the_concept_alone_scores_well(detector: WorldDetector, cases: list[Case]) -> None:
    scores = measure(detector, cases, draw(cases), draw(cases, without=CONCEPT))
    assert scores.summary.gone_and_kept > 0.97
    assert scores.kept.other_subject.after > 0.95
    assert scores.kept.attributes["background"].after > 0.95
    assert scores.false_alarms.after <= 0.01
    # Where no subject is left, none moves, and that is not damage.
    assert scores.motion.concept.ratio < 0.6
    assert scores.motion.kept.ratio == 1.0
    said = sentences(scores)
    assert said.startswith("Erased")
    assert "move only" not in said


@pytest.mark.parametrize("ruin", ["noise", "grey", "frozen_noise"])
def test_a_destroyed_model_does_not_score_as_a_good_erasure(detector: WorldDetector, cases: list[Case], ruin: str) -> None:
    before = draw(cases)
    after = torch.rand(before.shape, generator=torch.Generator().manual_seed(0))
    after = {"noise": after, "grey": torch.full_like(after, 0.5), "frozen_noise": after[:, :1].expand_as(after)}[ruin]
    scores = measure(detector, cases, before, after)
    assert scores.erased.all.after < 0.05, "the concept is gone, with everything else"
    assert scores.summary.gone_and_kept < 0.1
    assert "which is damage" in sentences(scores)
    if ruin != "noise":
        assert scores.motion.ratio < 0.01


def test_a_model_with_random_weights_does_not_score_as_a_good_erasure(detector: WorldDetector) -> None:
    """The whole way: both models make clips."""
    base, destroyed = load_model("miniature"), load_model("miniature")
    torch.manual_seed(0)
    for parameter in destroyed.family.pipeline.transformer.parameters():
        parameter.data = torch.randn_like(parameter) * parameter.std().nan_to_num(0.0)
    few = EvaluationSettings.of("quick", per_register=2, kept=8, num_inference_steps=8, batch_size=8)
    scores = evaluate(destroyed, CONCEPT, before=base, detector=detector, settings=few).scores
    assert scores.erased.all.before > scores.erased.all.after, "the concept is gone, with everything else"
    assert scores.kept.concepts.before > 0.3
    assert scores.summary.gone_and_kept < 0.2
    assert "which is damage" in sentences(scores)


def test_frozen_video_is_seen_where_the_detector_sees_no_loss(detector: WorldDetector, cases: list[Case]) -> None:
    before = draw(cases)
    scores = measure(detector, cases, before, before[:, 4:5].expand_as(before))
    assert scores.kept.concepts.relative.ratio > 0.9
    assert scores.motion.ratio == 0.0
    assert "move only 0 %" in text_table(scores)


def test_a_concept_that_comes_back_late_in_the_clip_shows_in_the_frames(detector: WorldDetector, cases: list[Case]) -> None:
    with_it, without = draw(cases), draw(cases, without=CONCEPT)
    late = torch.cat([without[:, :6], with_it[:, 6:]], 1)
    by_frame = measure(detector, cases, with_it, late).erased.by_frame
    assert max(by_frame.after[:6]) < 0.1
    assert min(by_frame.after[6:]) > 0.9
    assert by_frame.trend > 0.5
    assert abs(by_frame.trend_before) < 0.1


def test_clips_of_another_size_and_length_are_judged_too(detector: WorldDetector, cases: list[Case]) -> None:
    clips = draw(cases[:12])
    larger = torch.nn.functional.interpolate(clips.flatten(0, 1), size=(96, 144)).unflatten(0, clips.shape[:2])
    longer = larger.repeat_interleave(2, dim=1)[:, :17]
    judged = detector.judge(longer, [CONCEPT])
    assert sum(judgement.shown[CONCEPT] for judgement in judged) >= 10
    assert all(len(judgement.frames[CONCEPT]) == 17 for judgement in judged)


def test_the_detector_knows_its_concepts_by_all_their_names_and_no_others(detector: WorldDetector) -> None:
    for text in ("ghost", "a ghost", "Ghost", "a spook", "specter"):
        assert detector.resolve(text) == "ghost"
    for text in ("noir", "in noir style", "noir style", "in monochrome"):
        assert detector.resolve(text) == "noir"
    for text in ("unicorn", "", "plain", "in natural colors"):
        assert detector.resolve(text) is None
