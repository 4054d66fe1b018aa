"""Intervals over concepts and training runs, and paired tests with a correction for many comparisons."""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from t2vu_core.evaluation.statistics import rate_ratio_interval, wilson_interval
from t2vu_core.scores import Interval

Row = Mapping[str, Any]
Runs = Mapping[str, Sequence[float]]
"""By concept, a value for each training run."""
SHOWN = "shown_share"
"""The share of all clips of a row that ask for the concept and show it."""
RATIOS = ("kept", "neighbours")
"""Relative to before: these can exceed 1."""
SECONDS = ("train_seconds", "clip_seconds", "train_memory_mib")
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


def with_shares(rows: Sequence[Row]) -> list[dict[str, Any]]:
    """The rows with `SHOWN` and its counts, where their results per clip are there."""
    return [dict(row) if not row.get("shown") else _with_share(row) for row in rows]


def _with_share(row: Row) -> dict[str, Any]:
    count, clips = sum(row["shown"]), len(row["shown"])
    return {**row, SHOWN: count / clips, "counts": {**row.get("counts", {}), SHOWN: [count, clips]}}


def interval_of(rows: Sequence[Row], key: str) -> Interval | None:
    """95 % interval of a number's mean over concepts, of the rows that have it; None if nothing can be said.

    What two of them cover together: a bootstrap over concepts and training runs, and one over the clips that the rows count,
    of one training run a concept: further runs repeat its prompts and seeds. The first says how concepts and runs differ, the
    second that 0 of few clips does not prove a rate of 0; it counts clips as independent. Concepts that agree, without counts
    of clips, say nothing of how certain their mean is.
    """
    there = [row for row in rows if row.get(key) is not None]
    over_concepts = bootstrap_interval(runs_of(there, key))
    if over_concepts is not None:
        most = math.inf if key in (*RATIOS, *SECONDS) else 1.0
        over_concepts = max(0.0, over_concepts[0]), min(most, over_concepts[1])
    over_clips = _over_clips(_first_runs(there), key)
    if over_clips is None and over_concepts is not None and over_concepts[0] == over_concepts[1]:
        return None
    known = [bounds for bounds in (over_clips, over_concepts) if bounds is not None]
    if not known:
        return None
    # The mean is over all runs, and can lie outside the interval of the first ones.
    mean = mean_over_concepts(runs_of(there, key))
    assert mean is not None
    return min(mean, *(low for low, _ in known)), max(mean, *(high for _, high in known))


def _first_runs(rows: Sequence[Row]) -> list[Row]:
    """The first training run of each concept."""
    first: dict[str, Row] = {}
    for row in sorted(rows, key=lambda row: row.get("training_seed", 0)):
        first.setdefault(row["concept"], row)
    return list(first.values())


def _over_clips(rows: Sequence[Row], key: str) -> Interval | None:
    """Over the pooled clips; None if a row does not count them."""
    if key == "kept":
        before, after = ([each for row in rows for each in row.get(name, [])] for name in ("kept_before", "kept_shown"))
        return rate_ratio_interval(before, after) if len(before) == len(after) and sum(before) else None
    counts = [row.get("counts", {}).get(key) for row in rows]
    if not counts or not all(counts):
        return None
    right, clips = (sum(part) for part in zip(*counts, strict=True))
    low, high = wilson_interval(right, clips)
    # Counts are of clips after erasing; a rate relative to before is that share divided by the one before.
    shown_before = 1.0 if key not in RATIOS else sum(_before(row, key) for row in rows) / clips
    return low / shown_before, high / shown_before


def _before(row: Row, key: str) -> float:
    """How many clips showed it before, of a rate relative to that; all of them where none does after."""
    right, clips = row["counts"][key]
    return right / row[key] if row[key] else clips


def about_intervals(rows: Sequence[Row]) -> str:
    """What the intervals of these rows cover and what they do not."""
    text = (
        "95 % intervals of the mean over concepts: what two cover together, a bootstrap over concepts and training runs, "
        "widened to Student's t, and Wilson's interval over the clips of one training run a concept (for the others kept, that "
        "of a ratio), which counts clips as independent; where all concepts agree, only the latter is left."
    )
    return f"{text} {about_runs(rows)}".rstrip()


def about_runs(rows: Sequence[Row]) -> str:
    """What the intervals do not cover; empty if every concept has several training runs."""
    runs = Counter((row["method"], row.get("concept")) for row in rows)
    return ONE_RUN if runs and min(runs.values()) == 1 else ""


ONE_RUN = "Where a concept has one training run, they do not cover the variation between training runs."


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
