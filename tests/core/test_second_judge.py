"""The second judge: its weights are checked before and after conversion, and it judges independently of the first."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from t2vu_core import UserError
from t2vu_core.cli import main
from t2vu_core.evaluation.detectors import Judgement, TwoJudges, WorldDetector, counted, open_detector
from t2vu_core.evaluation.instead_scores import second_judgement
from t2vu_core.evaluation.report.wording import agreement
from t2vu_core.evaluation.second_judge import weights
from t2vu_core.evaluation.second_judge.detector import SecondJudge
from t2vu_core.evaluation.second_judge.features import frame_features
from t2vu_core.miniature.world import WORLD_32, render, sample_labels, shows
from t2vu_core.scores import JudgedBy
from tests.core.safe_torch import opens_released
from tests.core.test_evaluation_scoring import look, record

needs_package = pytest.mark.skipif(
    importlib.util.find_spec(weights.MODULE) is None, reason=f"needs the package {weights.PACKAGE}"
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache folder of this test alone."""
    monkeypatch.setenv(weights.CACHE, str(tmp_path))
    weights.load_network.cache_clear()
    yield tmp_path
    weights.load_network.cache_clear()


def test_without_its_weights_the_message_says_how_to_install_them(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(UserError, match="t2vu judge install"):
        open_detector("two judges")
    assert main(["judge", "status"]) == 0
    assert "not installed" in capsys.readouterr().out


def test_a_file_with_another_hash_is_not_opened(cache: Path, capsys: pytest.CaptureFixture[str]) -> None:
    foreign = cache / "efficientnet.pth"
    foreign.write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    assert main(["judge", "install", "--file", str(foreign)]) == 2
    assert "SHA-256" in capsys.readouterr().err
    assert not (cache / weights.FILE).exists()


@needs_package
@opens_released
def test_it_is_installed_once_computes_as_the_original_and_refuses_a_changed_file(cache: Path) -> None:
    path = weights.install()
    frame = torch.linspace(0, 1, 3 * 128 * 128).view(1, 3, 128, 128)
    features = frame_features(frame)[0]
    # Of the package efficientnet-lite-pytorch 0.1.0 with the same weights.
    assert features.mean().item() == pytest.approx(0.0402455, rel=1e-3)
    assert features.max().item() == pytest.approx(4.33359, rel=1e-3)
    content = bytearray(path.read_bytes())
    content[-2] ^= 1
    path.write_bytes(content)
    weights.load_network.cache_clear()
    with pytest.raises(UserError, match="is not what `t2vu judge install` writes"):
        SecondJudge.of(WORLD_32)


@needs_package
@opens_released
def test_it_finds_what_renders_show_and_stands_next_to_the_first(cache: Path) -> None:
    weights.install()
    generator = torch.Generator().manual_seed(3)
    labels = sample_labels(24, generator, two_subjects=0.0, empty=0.0)
    clips = render(labels, generator) / 2 + 0.5
    judges = open_detector("two judges")
    assert isinstance(judges, TwoJudges)
    assert isinstance(counted(judges), WorldDetector)
    asked = judges.known()
    found = judges.judge(clips, asked)
    there = torch.stack([shows(labels, concept) for concept in asked], 1)
    second = torch.tensor([[each.second[concept] for concept in asked] for each in found])
    assert (second == there).float().mean() > 0.93
    assert second[there].float().mean() > 0.85
    accuracy = judges.second.accuracy("cat")
    assert accuracy is not None
    assert accuracy.with_concept > 50


def test_the_report_says_where_the_two_differ() -> None:
    def both(*shown: str, second: bool) -> Judgement:
        judgement = look(*shown).judgement
        return Judgement(judgement.shown, judgement.frames, 0.9, second={"ghost": second})

    def case(second: bool) -> object:
        before, after = look("ghost"), look()
        object.__setattr__(before, "judgement", both("ghost", second=True))
        object.__setattr__(after, "judgement", both(second=second))
        return record("terse", "ghost", before, after)

    judge = JudgedBy(name="second", accuracy="unknown")
    found = second_judgement([case(number < 2) for number in range(10)], [], judge)  # type: ignore[misc]
    assert found is not None
    assert (found.differ, found.clips) == (0.1, 20)
    assert found.erased is not None
    assert (found.erased.before, found.erased.after) == (1.0, 0.2)
    assert "differ by more than 5 %" in agreement(found)
    same = second_judgement([case(False)], [], judge)  # type: ignore[misc]
    assert same is not None
    assert "differ" not in agreement(same)
