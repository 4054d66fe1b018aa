"""What an evaluation keeps: clips and judgements survive an interruption, and nothing is kept that would not be read again."""

from __future__ import annotations

import shutil
from collections import namedtuple
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor

from t2vu_core.errors import UserError
from t2vu_core.evaluation.cases import Case, parse_prompt_set
from t2vu_core.evaluation.clip_store import ClipStore, generate
from t2vu_core.evaluation.detectors import Accuracy, Judgement
from t2vu_core.evaluation.judgements import JudgementStore

CASE = Case("a ghost", "terse", "ghost", 1)
CLIPS = torch.zeros(1, 2, 3, 4, 4)


class Counting:
    """A detector of any words that sees everything and counts the clips it judged."""

    name = "counting 1"
    clean_prompts = None

    def __init__(self) -> None:
        self.judged = 0

    def resolve(self, concept: str) -> str | None:
        return concept or None

    def known(self) -> tuple[str, ...]:
        return ()

    def accuracy(self, concept: str) -> Accuracy | None:
        return None

    def judge(self, clips: Tensor, concepts: Sequence[str]) -> list[Judgement]:
        self.judged += len(clips)
        return [Judgement(dict.fromkeys(concepts, True), {name: [True] * 2 for name in concepts}, 1.0) for _ in clips]


def test_a_half_written_judgement_spoils_no_later_one(tmp_path: Path) -> None:
    path, detector = tmp_path / "verdicts.jsonl", Counting()
    JudgementStore(path, detector, "ghost").judge(["a"], CLIPS, [CASE])
    whole = path.read_bytes()
    path.write_bytes(whole + whole[:20])
    JudgementStore(path, detector, "ghost").judge(["b"], CLIPS, [CASE])
    assert detector.judged == 2
    again = JudgementStore(path, detector, "ghost")
    again.judge(["a"], CLIPS, [CASE])
    again.judge(["b"], CLIPS, [CASE])
    assert detector.judged == 2, "both are known"


def test_a_clip_is_judged_again_for_a_concept_that_it_was_not_judged_for(tmp_path: Path) -> None:
    detector = Counting()
    JudgementStore(tmp_path / "verdicts.jsonl", detector, "ghost").judge(["a"], CLIPS, [CASE])
    other = JudgementStore(tmp_path / "verdicts.jsonl", detector, "robot").judge(["a"], CLIPS, [CASE])
    assert detector.judged == 2
    assert other[0].shown["robot"]


def test_a_batch_of_which_a_clip_is_missing_is_sampled_as_a_whole(tmp_path: Path) -> None:
    store, calls = ClipStore(tmp_path), []
    store.put("there", CLIPS[0])

    def sample() -> Tensor:
        calls.append(1)
        return torch.ones(2, 2, 3, 4, 4)

    assert generate(store, ["there", "missing"], sample).min() == 1
    assert generate(store, ["there", "missing"], sample).min() == 1
    assert len(calls) == 1


def test_clips_must_fit_into_the_free_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda folder: usage(0, 0, 10 * (1000 + 512)))
    ClipStore(tmp_path).check_space(10, 1000)
    with pytest.raises(UserError, match="11 clips need"):
        ClipStore(tmp_path).check_space(11, 1000)
    ClipStore(None).check_space(11, 1000)


@pytest.mark.parametrize("seed", ["true", "-1", "1.5", '"7"'])
def test_a_seed_that_is_not_a_whole_number_is_refused(seed: str) -> None:
    with pytest.raises(UserError, match='line 1: "seed" must be a whole number'):
        parse_prompt_set(f'{{"prompt": "a ghost", "seed": {seed}}}'.encode(), "mine", "ghost")
