"""The claims of an erasure's scores, and whether clips that were made again support them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from t2vu_core.evaluation.statistics import wilson_interval
from t2vu_core.scores import Interval, Rate, Scores

SIGNIFICANCE = 0.05
"""For all claims together (Holm 1979): the chance that scores which are right are said not to hold."""
POWER = 0.8
"""With this chance clips contradict a claim at the rate that `Checked.finds` names."""
Direction = Literal["at most", "at least"]


@dataclass(frozen=True)
class Claim:
    """A rate that the scores claim: at most the upper end of its interval, or at least the lower end."""

    name: str
    direction: Direction
    share: float
    interval: Interval
    clips: int

    def bound(self) -> float:
        """The end of the interval that a repetition must not be significantly beyond."""
        return self.interval[1] if self.direction == "at most" else self.interval[0]

    def p(self, found: int, clips: int) -> float:
        """One-sided binomial test: the chance of a result as bad as `found` of `clips`, if the true rate is the bound."""
        return self.chance(found, clips, self.bound())

    def chance(self, found: int, clips: int, rate: float) -> float:
        """The chance of a result as bad as `found` of `clips` at a true rate."""
        worse = range(found, clips + 1) if self.direction == "at most" else range(found + 1)
        return min(1.0, math.fsum(math.comb(clips, k) * rate**k * (1 - rate) ** (clips - k) for k in worse))

    def finds(self, fails_from: int, clips: int) -> float:
        """The true rate, in whole percent, from which `clips` reach the count that contradicts the claim with `POWER`."""
        percents = range(101) if self.direction == "at most" else range(100, -1, -1)
        return next(rate / 100 for rate in percents if self.chance(fails_from, clips, rate / 100) >= POWER)

    def fails_from(self, clips: int, level: float) -> int | None:
        """The count of `clips` nearest to the claim that contradicts it at this level; None if no count does."""
        counts = range(clips + 1) if self.direction == "at most" else range(clips, -1, -1)
        return next((found for found in counts if self.p(found, clips) <= level), None)


@dataclass(frozen=True)
class Checked:
    """A claim and what the clips that were made again show."""

    claim: Claim
    found: int
    clips: int
    p: float
    holds: bool
    fails_from: int | None
    """The count of these clips nearest to the claim that contradicts it, whatever the other claims' results; None if there
    is no such count: these clips are too few to test the claim."""

    @property
    def could_fail(self) -> bool:
        """Whether these clips can contradict the claim by themselves."""
        return self.fails_from is not None

    @property
    def finds(self) -> float | None:
        """The true rate that these clips would contradict with `POWER`, by themselves: rates nearer to the claim often pass."""
        return None if self.fails_from is None else self.claim.finds(self.fails_from, self.clips)


def claims_of(scores: Scores) -> Iterator[Claim]:
    """The claims of the scores: the concept is gone, was there before, and other concepts are still shown.

    Their intervals are computed from the rates, whatever intervals the scores name.
    """
    erased, kept = scores.erased.all, scores.kept.concepts
    if erased is not None:
        yield _claim("erased", "at most", erased.after, erased.clips)
        yield _claim("shown before", "at least", erased.before, erased.clips)
    if kept is not None:
        yield _claim("kept", "at least", kept.after, kept.clips)


def _claim(name: str, direction: Direction, share: float, clips: int) -> Claim:
    return Claim(name, direction, share, wilson_interval(round(share * clips), clips), clips)


def check_claims(claimed: Scores, found: Scores) -> list[Checked]:
    """Compare the claims with the scores of clips that were made again; claims without such clips are left out."""
    counts = dict(_counts(found))
    rows = [(claim, *counts[claim.name]) for claim in claims_of(claimed) if claim.name in counts]
    ps = [claim.p(shown, clips) for claim, shown, clips in rows]
    refused = _holm(ps)
    return [
        Checked(claim, shown, clips, p, index not in refused, claim.fails_from(clips, SIGNIFICANCE / len(rows)))
        for index, ((claim, shown, clips), p) in enumerate(zip(rows, ps, strict=True))
    ]


def _counts(scores: Scores) -> Iterator[tuple[str, tuple[int, int]]]:
    erased, kept = scores.erased.all, scores.kept.concepts
    if erased is not None:
        yield "erased", _count(erased, erased.after)
        yield "shown before", _count(erased, erased.before)
    if kept is not None:
        yield "kept", _count(kept, kept.after)


def _count(rate: Rate, share: float) -> tuple[int, int]:
    return round(share * rate.clips), rate.clips


def _holm(ps: Sequence[float]) -> set[int]:
    """The indices of the hypotheses that Holm's step-down procedure rejects."""
    rejected: set[int] = set()
    for rank, index in enumerate(sorted(range(len(ps)), key=lambda i: ps[i])):
        if ps[index] > SIGNIFICANCE / (len(ps) - rank):
            break
        rejected.add(index)
    return rejected
