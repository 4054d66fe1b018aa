"""Scores as JSON: what is written is read back as it was, and what a stranger wrote is checked."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from t2vu_core.cli import main
from t2vu_core.erasure import Base, Erasure
from t2vu_core.errors import UserError
from t2vu_core.evaluation.report.wording import measured_by
from t2vu_core.evaluation.scoring import score
from t2vu_core.evaluation.statistics import compare
from t2vu_core.evaluation.verdict import Verdict
from t2vu_core.scores import AppliedTo, ByFrame, DetectorErrors, Drift, JudgedBy, NeverKnew, NeverKnewRate, Scores
from t2vu_core.typed_json import MOST_CHARACTERS, MOST_ENTRIES
from tests.core.example_scores import MEASURED_WITH, NEVER_TRIED, attack, kept_concepts, scores

ERRORS = DetectorErrors(
    false_alarm_rate=0.01, false_alarm_interval=(0.0, 0.02), clips_without=900,
    miss_rate=0.02, miss_interval=(0.0, 0.05), clips_with=100,
)  # fmt: skip


def full() -> Scores:
    """Scores with something in every field."""
    some = scores([False] * 9 + [True], [True] * 10)
    frames = ByFrame(before=(1.0, 1.0), after=(0.0, 0.5), interval=((0.0, 0.3), (0.2, 0.8)), trend_before=0.0, trend=0.5)
    rate = NeverKnewRate(rate=0.5, clips=2, interval=(0.1, 0.9), against=compare([True, False], [False, False]))
    return dataclasses.replace(
        some,
        measured_at="2026-11-27T12:00:00+00:00",
        erased=dataclasses.replace(some.erased, by_frame=frames, terse=some.erased.all),
        kept=dataclasses.replace(some.kept, attributes={"style": some.erased.all, "motion": None}),
        false_alarms=some.erased.all,
        drift=Drift(ssim=0.9, l1=0.1, clips=10),
        never_knew=NeverKnew(model="unknowing", erased={"all": rate, "terse": None}, kept=kept_concepts([True, False])),
        comes_back={**NEVER_TRIED, "probe": attack([True, False], never_knew=[False, False], note="found")},
        settings=dataclasses.replace(
            MEASURED_WITH,
            erasures=(AppliedTo(method="velocity", concepts=("ghost",), strength=1.0),),
            guard={"name": "safree", "alpha": 0.01, "concepts": ["ghost"]},
            detector=JudgedBy(name="miniature", accuracy=ERRORS),
        ),
    )


@pytest.mark.parametrize(
    "some", [full(), scores([True], [False]), score([], "ghost", MEASURED_WITH, comes_back=NEVER_TRIED, seconds=0.0)]
)
def test_scores_are_read_back_as_they_were_written(some: Scores) -> None:
    text = json.dumps(some.to_json(), allow_nan=False)
    assert Scores.from_json(json.loads(text)) == some
    assert Scores.from_json(json.loads(text)).to_json() == json.loads(text)


def test_keys_of_a_later_version_are_ignored() -> None:
    written = full().to_json()
    written["erased"]["all"]["median"] = 0.5
    assert Scores.from_json({**written, "mood": "good"}) == full()


def test_scores_from_before_the_evaluation_had_a_version_are_read() -> None:
    old = {name: value for name, value in full().to_json().items() if name not in ("evaluation_version", "measured_at")}
    read = Scores.from_json(old)
    assert (read.evaluation_version, read.measured_at) == (None, None)
    assert measured_by(read) == "date not recorded, an evaluation before version 1"


def changed(path: str, value: Any) -> dict[str, Any]:
    """Full scores as JSON with another value at a path."""
    written: dict[str, Any] = json.loads(json.dumps(full().to_json()))
    *parents, last = path.split(".")
    place = written
    for name in parents:
        place = place[name]
    place[last] = value
    return written


DEEP: list[Any] = []
for _ in range(100_000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        ("concept", 3, "concept must be a text"),
        ("concept", "x" * (MOST_CHARACTERS + 1), "concept must be a text that is not too long"),
        ("seconds", float("nan"), "seconds must be a finite number, not nan"),
        ("seconds", float("inf"), "seconds must be a finite number"),
        ("seconds", 10**400, "seconds must be a finite number"),
        ("seconds", True, "seconds must be a number, not True"),
        ("erased.all.after", "all", "erased.all.after must be a number, not 'all'"),
        ("erased.all.after", 1.5, "erased.all.after must be from 0 to 1, not 1.5"),
        ("erased.all.after", -0.5, "erased.all.after must be from 0 to 1, not -0.5"),
        ("erased.all.after", None, "erased.all.after must be a number, not None"),
        ("erased.all.clips", 0, "erased.all.clips must be from 1 to"),
        ("erased.all.clips", 2.5, "erased.all.clips must be a whole number, not 2.5"),
        ("erased.all.clips", True, "erased.all.clips must be a whole number, not True"),
        ("erased.all.clips", 10**12, "erased.all.clips must be from 1 to 1e"),
        ("erased.all.interval", [], "erased.all.interval must be a list of 2"),
        ("erased.all.interval", [0, 1, 1], "erased.all.interval must be a list of 2"),
        ("erased.all.interval", "01", "erased.all.interval must be a list of 2"),
        ("erased.all", [], "erased.all must be an object, not []"),
        ("erased.by_frame.after", [0.5] * (MOST_ENTRIES + 1), "erased.by_frame.after must be a list of at most"),
        ("erased.by_frame.interval", [[0, 1], [0, 2]], r"erased.by_frame.interval[1][1] must be from 0 to 1, not 2"),
        ("kept.attributes", {str(n): None for n in range(MOST_ENTRIES + 1)}, "kept.attributes must be an object"),
        ("kept.concepts.by_concept", {"cat": None}, "kept.concepts.by_concept.cat must be an object, not None"),
        ("comes_back.probe.gain.is_one", 1, "comes_back.probe.gain.is_one must be true or false, not 1"),
        ("settings.detector.accuracy", "good", "settings.detector.accuracy must be 'unknown', not 'good'"),
        ("settings.guard", {"alpha": float("nan")}, "settings.guard.alpha must be JSON without NaN"),
        ("settings.guard", {"alpha": DEEP}, "settings.guard.alpha must be JSON without NaN that is not too long"),
        ("format_version", 2, "format version 2 needs a newer version of this program"),
    ],
)  # fmt: skip
def test_values_that_no_evaluation_writes_are_refused_in_one_sentence(path: str, value: Any, says: str) -> None:
    with pytest.raises(UserError) as caught:
        Scores.from_json(changed(path, value), "The scores are broken")
    message = str(caught.value)
    assert message.startswith("The scores are broken: ")
    assert says in message
    assert "\n" not in message
    assert len(message) < 200


@pytest.mark.parametrize(
    "path", ["concept", "erased", "erased.all.before_interval", "kept.concepts.relative", "settings.prompts"]
)
def test_a_missing_key_is_named(path: str) -> None:
    written = changed(path, None)
    *parents, last = path.split(".")
    place = written
    for name in parents:
        place = place[name]
    del place[last]
    with pytest.raises(UserError, match=f"broken: {path.replace('.', '[.]')} is missing"):
        Scores.from_json(written)


@pytest.mark.parametrize("value", [[], "scores", 3])
def test_what_is_not_an_object_is_refused(value: Any) -> None:
    with pytest.raises(UserError, match="must be an object"):
        Scores.from_json(value)


def test_inspecting_a_file_with_broken_scores_is_wrong_input(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tensors = {"block.0.down.weight": torch.randn(4, 8), "block.0.up.weight": torch.zeros(8, 4)}
    erasure = Erasure("eraser", ("ghost",), Base("tiny", "cogvideox", "ab" * 32), tensors, "velocity", scores=full())
    path = erasure.save(tmp_path / "ghost")
    assert main(["inspect", str(path)]) == 0
    assert f"scores   {Verdict.MOSTLY_ERASED.value}: 1 of 10 clips" in capsys.readouterr().out
    description = erasure.describe()
    for damage in (changed("erased.all.after", 7), changed("seconds", float("nan")), {}):
        save_file(tensors, str(path), {"t2vu": json.dumps({**description, "scores": damage})})
        assert main(["inspect", str(path)]) == 2
        err = capsys.readouterr().err
        assert "The scores in ghost.safetensors are broken: " in err
        assert "Traceback" not in err
        assert len(err.strip().splitlines()) == 1
    save_file(tensors, str(path), {"t2vu": "[" * 100_000})
    assert main(["inspect", str(path)]) == 2
    assert "broken description" in capsys.readouterr().err
