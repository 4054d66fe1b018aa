"""Confidence intervals of rates, of their differences and of their ratios.

Rates are fractions in [0, 1]; intervals are 95 % intervals by default.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from t2vu_core.scores import Difference, Interval, Rate, Relative

Z_95 = 1.959963984540054


def rate(outcomes: Sequence[bool]) -> float | None:
    """Share of true outcomes; None if there are no outcomes."""
    return sum(outcomes) / len(outcomes) if outcomes else None


def wilson_interval(successes: int, trials: int, z: float = Z_95) -> Interval:
    """Score interval of a proportion (Wilson 1927); stays inside [0, 1] and is valid at 0 and n successes."""
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"{successes} successes in {trials} trials is not a proportion")
    share, squared = successes / trials, z * z
    centre = (share + squared / (2 * trials)) / (1 + squared / trials)
    half = z / (1 + squared / trials) * math.sqrt(share * (1 - share) / trials + squared / (4 * trials**2))
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == trials else min(1.0, centre + half)
    return low, high


def newcombe_interval(successes: tuple[int, int], trials: tuple[int, int]) -> Interval:
    """Interval of the difference (second minus first) of two independent rates.

    Hybrid score interval without continuity correction (Newcombe 1998, Statistics in Medicine 17, method 10).
    """
    shares = [k / n for k, n in zip(successes, trials, strict=True)]
    (low_1, high_1), (low_2, high_2) = (wilson_interval(k, n) for k, n in zip(successes, trials, strict=True))
    difference = shares[1] - shares[0]
    below = math.hypot(shares[1] - low_2, high_1 - shares[0])
    above = math.hypot(high_2 - shares[1], shares[0] - low_1)
    return difference - below, difference + above


def mcnemar_p(before: Sequence[bool], after: Sequence[bool]) -> float:
    """Exact two-sided McNemar test of paired outcomes: the chance of such a change if nothing changed."""
    pairs = list(zip(before, after, strict=True))
    lost, won = sum(b and not a for b, a in pairs), sum(a and not b for b, a in pairs)
    changed = lost + won
    tail = sum(math.comb(changed, k) for k in range(min(lost, won) + 1)) / 2**changed
    return min(1.0, 2 * tail)


def rate_ratio_interval(before: Sequence[float], after: Sequence[float]) -> Interval:
    """Interval of the ratio (after to before) of two rates of the same clips, some of which were true before.

    Hybrid Wilson score interval (Bonett & Price 2006, Statistics in Medicine 25). Unlike a bootstrap, which has nothing to
    draw from where no clip changed, it says of few unchanged clips that they are few.
    """
    pairs = list(zip(before, after, strict=True))
    first, second, either = sum(before), sum(after), sum(bool(b or a) for b, a in pairs)
    changed = sum(b != a for b, a in pairs)
    joint = math.sqrt((changed + 2) / ((first + 1) * (second + 1)))
    apart = sum(math.sqrt((1 - (shown + 1) / (either + 2)) / (shown + 1)) for shown in (first, second))
    (low_1, high_1), (low_2, high_2) = (wilson_interval(int(k), either, Z_95 * joint / apart) for k in (first, second))
    return low_2 / high_1, high_2 / low_1


def paired_ratio(before: Sequence[float], after: Sequence[float], *, resamples: int = 2000) -> Relative:
    """Mean after divided by mean before. The interval for outcomes (bool) is `rate_ratio_interval`.

    For measures it is a percentile bootstrap over pairs (Efron 1979) with a fixed seed: same data, same interval.
    """
    if not before or not sum(before):
        return Relative(ratio=None, interval=None)
    if all(isinstance(value, bool) for value in (*before, *after)):
        return Relative(ratio=sum(after) / sum(before), interval=rate_ratio_interval(before, after))
    pairs = np.array([before, after], dtype=np.float64)
    draws = np.random.default_rng(0).integers(0, pairs.shape[1], (resamples, pairs.shape[1]))
    first, second = pairs[0][draws].mean(1), pairs[1][draws].mean(1)
    ratios = second[first > 0] / first[first > 0]
    low, high = np.quantile(ratios, (0.025, 0.975))
    return Relative(ratio=float(pairs[1].mean() / pairs[0].mean()), interval=(float(low), float(high)))


def compare(first: Sequence[bool], second: Sequence[bool]) -> Difference:
    """The difference of two rates (second minus first), its interval, and whether it is significant.

    The two samples are treated as independent, which is conservative where they share seeds.
    """
    low, high = newcombe_interval((sum(first), sum(second)), (len(first), len(second)))
    difference = sum(second) / len(second) - sum(first) / len(first)
    return Difference(difference=difference, interval=(low, high), is_one=low > 0 or high < 0)


def before_after(before: Sequence[bool], after: Sequence[bool]) -> Rate | None:
    """Rates of the same clips before and after, with their intervals and a test of the change; None if there are no clips."""
    if not before:
        return None
    count = len(before)
    return Rate(
        before=sum(before) / count,
        after=sum(after) / count,
        clips=count,
        interval=wilson_interval(sum(after), count),
        before_interval=wilson_interval(sum(before), count),
        p_of_no_change=mcnemar_p(before, after),
    )


def trend(rates: Sequence[float]) -> float:
    """Slope of a rate over frame index by least squares, as the change from the first frame to the last."""
    if len(rates) < 2:
        return 0.0
    slope = float(np.polyfit(np.arange(len(rates)), np.asarray(rates, dtype=np.float64), 1)[0])
    return round(slope * (len(rates) - 1), 6) + 0.0
