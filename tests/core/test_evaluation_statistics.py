"""The numbers that decide: intervals, differences, measures of clips."""

from __future__ import annotations

import pytest
import torch

from t2vu_core.evaluation import measures
from t2vu_core.evaluation.statistics import (
    compare,
    mcnemar_p,
    newcombe_interval,
    paired_ratio,
    rate_ratio_interval,
    trend,
    wilson_interval,
)
from t2vu_core.scores import Relative


def test_wilson_interval_gives_the_published_values() -> None:
    # Newcombe 1998, Statistics in Medicine 17, 857-872, table I: 81/263, 15/148, 0/20, 1/29.
    assert wilson_interval(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson_interval(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson_interval(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson_interval(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_newcombe_interval_gives_the_published_value() -> None:
    # Newcombe 1998, Statistics in Medicine 17, 873-890, table II, method 10: 56/70 against 48/80.
    low, high = newcombe_interval((48, 56), (80, 70))
    assert (low, high) == pytest.approx((0.0524, 0.3339), abs=5e-5)


def test_few_clips_make_no_difference_and_many_do() -> None:
    assert not compare([True] * 3 + [False] * 3, [True] * 5 + [False]).is_one
    many = compare([True] * 60 + [False] * 60, [True] * 100 + [False] * 20)
    assert many.is_one
    assert many.difference == pytest.approx(1 / 3)
    fewer = compare([True] * 40, [True] * 10 + [False] * 30)
    assert fewer.is_one
    assert fewer.difference == pytest.approx(-0.75)


def test_change_of_the_same_clips_is_tested_in_pairs() -> None:
    assert mcnemar_p([True, False] * 20, [True, False] * 20) == 1.0
    assert mcnemar_p([True] * 6, [False] * 6) == pytest.approx(2 / 2**6)
    assert mcnemar_p([True] * 3 + [False] * 3, [False] * 3 + [True] * 3) == 1.0


def test_ratio_to_base_is_reproducible_and_none_without_a_base() -> None:
    before, after = [1.0, 1.0, 0.0, 1.0] * 10, [1.0, 0.0, 0.0, 1.0] * 10
    first = paired_ratio(before, after)
    assert first == paired_ratio(before, after)
    low, high = first.interval
    assert first.ratio == pytest.approx(2 / 3)
    assert 0.4 < low < 2 / 3 < high < 0.9
    assert paired_ratio([0.0, 0.0], [1.0, 1.0]).ratio is None


def test_ratio_of_two_rates_of_the_same_clips_has_the_published_interval() -> None:
    # Cavo et al. 2012 in Fagerland, Lydersen & Laake 2017, Statistical Analysis of Contingency Tables, chapter 8:
    # 59 both, 16 before only, 6 after only, 80 neither.
    before = [True] * 75 + [False] * 86
    after = [True] * 59 + [False] * 16 + [True] * 6 + [False] * 80
    assert rate_ratio_interval(before, after) == pytest.approx((0.7579, 0.9910), abs=5e-5)
    assert paired_ratio(before, after) == Relative(ratio=65 / 75, interval=rate_ratio_interval(before, after))


def test_few_clips_that_all_stayed_do_not_prove_that_all_is_kept() -> None:
    few, many = (paired_ratio([True] * count, [True] * count) for count in (10, 1000))
    assert few.ratio == many.ratio == 1.0
    assert few.interval[0] < 0.9 < 0.99 < many.interval[0] < 1.0 < many.interval[1] < few.interval[1]
    gone = paired_ratio([True] * 60, [False] * 60)
    assert gone.ratio == gone.interval[0] == 0.0
    assert 0.0 < gone.interval[1] < 0.1


def test_a_concept_that_comes_back_late_has_a_positive_trend() -> None:
    assert trend([0.0, 0.0, 0.0, 0.5, 1.0]) > 0.5
    assert trend([0.4] * 9) == 0.0
    assert trend([1.0]) == 0.0


def test_frozen_video_has_no_motion_and_blurred_video_less_sharpness() -> None:
    clips = torch.rand(2, 5, 3, 24, 24, generator=torch.Generator().manual_seed(0))
    assert measures.motion(clips[:, :1].expand(-1, 5, -1, -1, -1)).tolist() == [0.0, 0.0]
    assert (measures.motion(clips) > 0.2).all()
    blurred = torch.nn.functional.avg_pool2d(clips.flatten(0, 1), 3, 1, 1).view_as(clips)
    assert (measures.sharpness(blurred) < 0.5 * measures.sharpness(clips)).all()


def test_drift_is_nothing_for_the_same_clip_and_grows_with_noise() -> None:
    generator = torch.Generator().manual_seed(0)
    clips = torch.rand(2, 3, 3, 24, 24, generator=generator)
    little = (clips + 0.02 * torch.randn(clips.shape, generator=generator)).clamp(0, 1)
    other = torch.rand(clips.shape, generator=generator)
    assert measures.ssim(clips, clips) == pytest.approx(torch.ones(2).numpy())
    assert measures.l1_distance(clips, clips).tolist() == [0.0, 0.0]
    assert (measures.ssim(clips, clips) > measures.ssim(clips, little)).all()
    assert (measures.ssim(clips, little) > 0.9).all()
    assert (measures.ssim(clips, other).abs() < 0.2).all()
    assert (measures.l1_distance(clips, other) > measures.l1_distance(clips, little)).all()


def test_a_trend_is_the_change_from_the_first_frame_to_the_last() -> None:
    assert trend([0.0, 0.25, 0.5, 0.75]) == 0.75
    assert trend([0.5, 0.5, 0.5]) == 0.0
    assert trend([1.0, 0.0]) == -1.0
    assert trend([1.0]) == trend([]) == 0.0
