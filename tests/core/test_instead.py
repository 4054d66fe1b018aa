"""What stands there instead: empty scenes, subjects and debris are told apart, and debris is not called erased."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from t2vu_core.evaluation.detectors import WorldDetector
from t2vu_core.evaluation.instead import Observer, Standing
from t2vu_core.evaluation.instead_scores import instead
from t2vu_core.evaluation.report import sections
from t2vu_core.evaluation.report.wording import sentences, text_table
from t2vu_core.evaluation.verdict import Verdict
from t2vu_core.miniature.detector import ruin
from t2vu_core.miniature.world import WORLD_32, WORLD_64, World, render, sample_labels
from t2vu_core.scores import Instead, Scores
from tests.core.example_scores import scores
from tests.core.test_evaluation_scoring import look, record


@pytest.mark.parametrize("world", [WORLD_32, WORLD_64])
def test_renders_are_natural_and_ruined_ones_are_debris(world: World) -> None:
    generator = torch.Generator().manual_seed(8)
    observer = dataclasses.replace(Observer.of(WorldDetector.bundled(world)), probe=None)  # type: ignore[type-var]

    def kinds(ruined: bool = False, **content: float) -> list[str]:
        clips = render(sample_labels(16, generator, world=world, **content), generator, world=world)
        return [each.kind for each in observer.look((ruin(clips, generator) if ruined else clips) / 2 + 0.5)]

    assert kinds(empty=1.0, two_subjects=0.0).count("empty") == 16
    assert kinds(empty=0.0).count("subject") >= 15
    assert kinds(empty=0.0, ruined=True).count("debris") >= 13


def case(before: Standing, after: Standing) -> object:
    seen = [dataclasses.replace(look(), standing=each) for each in (before, after)]
    return record("terse", "ghost", *seen)


def test_every_clip_after_erasing_is_counted_once() -> None:
    ghost, cat = Standing("subject", ("ghost",), 1.0), Standing("subject", ("cat",), 3.0)
    found = instead([case(ghost, each) for each in (cat, cat, Standing("empty", (), 2.0), Standing("debris", (), 6.0))])  # type: ignore[misc]
    assert found is not None
    assert (found.natural, found.debris, found.empty, found.subjects) == (0.75, 0.25, 0.25, {"cat": 0.5})
    assert (found.natural_before, found.debris_before) == (1.0, 0.0)
    assert found.realism is not None
    assert (found.realism.before, found.realism.after) == (1.0, 3.5)
    assert instead([record("terse", "ghost", look("ghost"), look())]) is None


def with_debris(share: float, before: float) -> Scores:
    found = Instead(
        natural=1 - share, debris=share, empty=1 - share, subjects={}, natural_before=1 - before, debris_before=before,
        debris_interval=(0.0, 1.0), clips=60, realism=None,
    )  # fmt: skip
    return scores([False] * 60, [True] * 60, instead=found)


def test_debris_is_erased_and_damaged_unless_the_model_drew_it_before() -> None:
    assert Verdict.of(with_debris(0.3, 0.02)) == Verdict.ERASED_AND_DAMAGED
    assert sentences(with_debris(0.3, 0.02)).startswith("Erased, and damaged: ")
    assert "30 % of these clips show debris" in sentences(with_debris(0.3, 0.02))
    assert Verdict.of(with_debris(0.05, 0.0)) == Verdict.ERASED
    assert Verdict.of(with_debris(0.3, 0.35)) == Verdict.ERASED


def test_the_report_and_the_table_say_what_stands_there() -> None:
    measured = with_debris(0.3, 0.02)
    assert "an empty scene in 70 %, debris in 30 %" in text_table(measured)
    assert "Debris: nothing that a person would name" in sections.instead(measured)
    assert Scores.from_json(measured.to_json()) == measured
    older = {name: value for name, value in measured.to_json().items() if name not in ("instead", "second_judge")}
    assert Scores.from_json(older).instead is None
