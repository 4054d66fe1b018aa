"""From records to scores, on records whose content is known."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import pytest

from t2vu_core.evaluation.cases import Case
from t2vu_core.evaluation.detectors import Judgement
from t2vu_core.evaluation.instead import Standing
from t2vu_core.evaluation.records import Look, Record
from t2vu_core.evaluation.scoring import attributes, drift, erased, motion, other_subject, score, summary
from t2vu_core.evaluation.settings import EVALUATION_VERSION
from tests.core.example_scores import MEASURED_WITH


def look(*shown: str, style: str = "plain", motion: float = 0.1) -> Look:
    """A clip of two frames that shows these subjects in both."""
    found = {name: name in shown for name in ("ghost", "robot", "noir")}
    return Look(Judgement(found, {name: [there] * 2 for name, there in found.items()}, 0.9, {"style": style}), motion, 0.5)


def record(register: str, concept: str, before: Look, after: Look, **facts: str) -> Record:
    return Record(Case("a prompt", register, concept, 1, facts), concept, before, after, ssim=0.5, l1=0.25)


def test_a_concept_that_comes_up_more_often_counts_as_nothing_gone_and_gains_do_not_make_up_for_it() -> None:
    about = [
        record("terse", "ghost", look("ghost"), look("ghost")),
        record("terse", "ghost", look(), look("ghost")),
    ]
    others = [
        record("kept", "robot", look("robot"), look("robot")),
        record("kept", "robot", look(), look("robot")),
    ]
    found = summary(about, others)
    assert (found.gone, found.kept, found.gone_and_kept) == (0.0, 1.0, 0.0)
    gone = summary([record("terse", "ghost", look("ghost"), look())], others)
    assert (gone.gone, gone.kept, gone.gone_and_kept) == (1.0, 1.0, 1.0)
    assert summary(about, []).gone_and_kept is None


def test_the_erased_style_is_no_attribute_to_keep() -> None:
    asked = record("terse", "noir", look("noir", style="noir"), look(style="plain"), style="noir")
    assert attributes([asked])["style"] is None
    other = record("terse", "ghost", look("ghost", style="noir"), look(style="plain"), style="noir")
    style = attributes([asked, other])["style"]
    assert style is not None
    assert (style.before, style.after, style.clips) == (1.0, 0.0, 1)


def test_an_empty_scene_has_no_motion_to_keep_and_debris_has() -> None:
    facts = {"motion": "left", "style": "plain"}

    def seen(kind: Literal["subject", "empty", "debris"], motion: str) -> Look:
        clip = look()
        judgement = dataclasses.replace(clip.judgement, attributes={"style": "plain", "motion": motion})
        return dataclasses.replace(clip, judgement=judgement, standing=Standing(kind))

    kinds: tuple[Literal["empty", "debris"], ...] = ("empty", "debris")
    asked = [record("terse", "ghost", seen("subject", "left"), seen(kind, "still"), **facts) for kind in kinds]
    found = attributes(asked)
    assert found["motion"] is not None
    assert (found["motion"].after, found["motion"].clips) == (0.0, 1)
    assert found["style"] is not None
    assert (found["style"].after, found["style"].clips) == (1.0, 2)


def test_registers_are_counted_apart_and_together() -> None:
    rates = erased(
        [
            record("terse", "ghost", look("ghost"), look()),
            record("synonym", "ghost", look("ghost"), look("ghost")),
            record("two_subject", "ghost", look("ghost", "robot"), look("robot"), subject="robot"),
        ]
    )
    assert rates.terse is not None
    assert rates.synonym is not None
    assert rates.all is not None
    assert (rates.terse.after, rates.synonym.after, rates.all.after, rates.all.clips) == (0.0, 1.0, 1 / 3, 3)
    assert rates.refined is None
    assert rates.by_frame is not None
    assert (rates.by_frame.before, rates.by_frame.after) == ((1.0, 1.0), (1 / 3, 1 / 3))


def test_the_other_of_two_subjects_is_counted_on_prompts_with_two_only() -> None:
    kept = other_subject(
        [
            record("two_subject", "ghost", look("ghost", "robot"), look(), subject="robot"),
            record("terse", "ghost", look("ghost", "robot"), look("robot"), subject="robot"),
        ]
    )
    assert kept is not None
    assert (kept.before, kept.after, kept.clips) == (1.0, 0.0, 1)


def test_motion_and_drift_are_means_over_the_clips_they_name() -> None:
    about = [record("terse", "ghost", look("ghost", motion=0.4), look(motion=0.1))]
    others = [record("kept", "robot", look("robot", motion=0.2), look("robot", motion=0.2))]
    moved = motion(about, others)
    assert (moved.concept.ratio, moved.kept.ratio) == (0.25, 1.0)
    assert moved.before is not None
    assert abs(moved.before - 0.3) < 1e-9
    far = drift(others)
    assert far is not None
    assert (far.ssim, far.l1, far.clips) == (0.5, 0.25, 1)
    assert drift([]) is None


def clips_of_every_kind() -> list[Record]:
    """Prompts of two registers and prompts to keep; some clips change, some do not."""
    stands = {"subject": Standing("subject"), "empty": Standing("empty"), "debris": Standing("debris")}
    ghosts = [dataclasses.replace(look("ghost", motion=0.2), standing=stands["subject"]) for _ in range(12)]
    after = [look(), look(style="noir", motion=0.1), look("robot", motion=0.3), look("ghost", motion=0.2)] * 3
    kinds = ["empty", "debris", "subject", "subject"] * 3
    gone = [dataclasses.replace(clip, standing=stands[kind]) for clip, kind in zip(after, kinds, strict=True)]
    registers = ["terse"] * 8 + ["refined"] * 4
    about = [record(register, "ghost", *pair, style="plain") for register, *pair in zip(registers, ghosts, gone, strict=True)]
    kept = [look("robot", motion=0.2)] * 9 + [look("ghost", motion=0.1)]
    return [*about, *(record("kept", "robot", look("robot", motion=0.2), clip) for clip in kept)]


COUNTED: dict[int, dict[str, Any]] = {
    1: {
        "erased.terse.after": 0.25,
        "erased.all.before": 1.0,
        "erased.all.after": 0.25,
        "erased.all.interval": [0.0889417, 0.5323053],
        "erased.all.p_of_no_change": 2 / 2**9,
        "erased.by_frame.after": [0.25, 0.25],
        "kept.concepts.after": 0.9,
        "kept.concepts.relative.ratio": 0.9,
        "kept.concepts.relative.interval": [0.6788907, 1.1931229],
        "kept.attributes.style.after": 0.75,
        "false_alarms.after": 0.1,
        "motion.kept.ratio": 0.95,
        "motion.concept.ratio": 0.875,
        "summary.gone_and_kept": 0.675,
        "instead.debris": 0.25,
        "instead.empty": 0.25,
    },
}
COUNTED[2] = COUNTED[1]
"""By version of the evaluation: what these clips are counted as."""


def test_who_counts_the_same_clips_differently_raises_the_version() -> None:
    found = score(clips_of_every_kind(), "ghost", MEASURED_WITH, comes_back={}, seconds=0.0).to_json()
    for path, value in COUNTED[EVALUATION_VERSION].items():
        place: Any = found
        for name in path.split("."):
            place = place[name]
        assert place == pytest.approx(value, abs=1e-6), f"{path}: raise EVALUATION_VERSION and add what is counted now"
