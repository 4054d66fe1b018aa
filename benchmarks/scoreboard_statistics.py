"""Intervals over concepts and training runs, and paired tests with a correction for many comparisons."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from t2vu_core.scores import Interval

Runs = Mapping[str, Sequence[float]]
"""By concept, a value for each training run."""
MOST_EXACT = 14
"""Concepts up to which all signs are tried; beyond, a fixed sample of them."""
SAMPLED = 2**MOST_EXACT


def runs_of(rows: Sequence[Mapping[str, Any]], key: str) -> Runs:
    """The values of a number by concept; rows that lack it are left out."""
    found: dict[str, list[float]] = {}
    for row in rows:
        if row.get(key) is not None:
            found.setdefault(row["concept"], []).append(float(row[key]))
    return found


def mean_over_concepts(runs: Runs) -> float | None:
    """The mean over concepts of the mean over their training runs; None without any."""
    return float(np.mean([np.mean(values) for values in runs.values()])) if runs else None


def bootstrap_interval(runs: Runs, *, resamples: int = 4000) -> Interval | None:
    """95 % interval of that mean: concepts are drawn with replacement, then runs of each drawn concept (Efron 1979).

    Drawing with replacement from few concepts varies too little, so the interval is widened to that of Student's t around the
    mean (Hesterberg, arXiv 1411.5279). None for a single concept, of which nothing can be said about others.
    """
    if len(runs) < 2:
        return None
    draws, each = np.random.default_rng(0), [np.asarray(values, dtype=np.float64) for values in runs.values()]
    chosen = draws.integers(0, len(each), (resamples, len(each)))
    # A drawn concept's mean: of as many runs as it has, drawn with replacement.
    by_concept = np.stack([values[draws.integers(0, len(values), (resamples, len(values)))].mean(1) for values in each])
    means = np.take_along_axis(by_concept.T, chosen, axis=1).mean(1)
    low, high = np.quantile(means, (0.025, 0.975))
    count, mean = len(each), float(np.mean([values.mean() for values in each]))
    wider = math.sqrt(count / (count - 1)) * float(stats.t.ppf(0.975, count - 1) / stats.norm.ppf(0.975))
    return mean - wider * (mean - float(low)), mean + wider * (float(high) - mean)


def sign_flip_p(first: Runs, second: Runs) -> float | None:
    """Exact two-sided permutation test of paired differences, concept by concept; None if they share no two concepts.

    If the methods did not differ, each concept's difference could as well have the other sign (Fisher 1935).
    """
    shared = sorted(set(first) & set(second))
    if len(shared) < 2:
        return None
    differences = np.array([np.mean(second[name]) - np.mean(first[name]) for name in shared])
    if len(shared) <= MOST_EXACT:
        signs = np.array(list(itertools.product((1, -1), repeat=len(shared))))
    else:
        signs = np.random.default_rng(0).choice((1, -1), (SAMPLED, len(shared)))
        signs[0] = 1
    sums = np.abs(signs @ differences)
    return float((sums >= abs(differences.sum()) - 1e-12).mean())


def holm(p_values: Mapping[Any, float]) -> dict[Any, float]:
    """The p-values adjusted for their number (Holm 1979)."""
    adjusted, largest, count = {}, 0.0, len(p_values)
    for place, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        largest = max(largest, min(1.0, (count - place) * p))
        adjusted[name] = largest
    return adjusted
