"""Rounds of PROBE while an eraser is trained: tokens that bring the concept back past it are learned, and then erased too.

After STEREO (arXiv 2408.16807), which searches for such prompts and erases them in turn, here with PROBE (arXiv 2603.21547).
Tokens that the text encoder reads change what it makes of the whole prompt; `soft_tokens` change the concept's own embeddings
behind it, which hardens less.
"""

from __future__ import annotations

import torch
from torch import Tensor

from t2vu_core.recipes import VelocityRecipe
from t2vu_core.training.progress import TrainProgress
from t2vu_core.training.pseudo_tokens import ClipsToDenoise, TokenLearner, drawn_tokens, table_of
from t2vu_core.training.run import Run
from t2vu_core.training.velocity.gapped_prompts import TOKENS, LearnedPrompts
from t2vu_core.training.velocity.points import TrainingPoints, with_concept

FIRST, SPREAD = 0.25, 0.5
"""The first round is after this share of the steps, and all rounds are spread evenly over this share of them."""
STATE = "learned_tokens."
"""Before the number of a round, in the state of a run."""
SEED = 500_000
"""Of the first round's draws, counted from the run's; no attack that measures draws from it."""


def starts_of_rounds(recipe: VelocityRecipe) -> list[int]:
    """The step before which each round is."""
    rounds = recipe.probe_rounds
    return [round(recipe.steps * (FIRST + SPREAD * number / rounds)) for number in range(rounds)]


class ProbeRounds:
    """Learns tokens against the erasers that are attached meanwhile.

    The clips to bring back are those of the frozen model, whichever trajectories the run samples later.
    """

    def __init__(self, run: Run[VelocityRecipe], points: TrainingPoints) -> None:
        self._run, self._points = run, points
        self._starts = starts_of_rounds(run.recipe)
        self._learned: list[LearnedPrompts] = []

    def until(self, step: int) -> tuple[LearnedPrompts, ...]:
        """What all rounds up to a step have learned; a round that a resumed run has in its state is not made again."""
        while len(self._learned) < sum(start <= step for start in self._starts):
            self._learned.append(self._round(len(self._learned), step))
        return tuple(self._learned)

    def _round(self, number: int, step: int) -> LearnedPrompts:
        run, gapped = self._run, self._points.prompts.gapped
        assert gapped is not None
        own = with_concept(self._points.prompts, run.recipe)
        shown = sorted({gapped.concepts[row] for row in own})
        concept, name = shown[number % len(shown)], f"{STATE}{number}"
        with run.family.encoder_here():
            if name not in run.state.extra:
                vectors = self._learn(number, step, [row for row in own if gapped.concepts[row] == concept])
                run.state.extra = {**run.state.extra, name: vectors.cpu()}
            return gapped.learned(run.family, concept, run.state.extra[name].to(run.family.device))

    def _learn(self, number: int, step: int, rows: list[int]) -> Tensor:
        run, family, points = self._run, self._run.family, self._points
        assert points.prompts.gapped is not None
        gapped, steps = points.prompts.gapped, run.recipe.probe_steps
        generator = torch.Generator().manual_seed((run.recipe.seed + SEED + number) % 2**63)
        clean = points.concept.ends[torch.tensor(rows)].to(family.device, torch.float32)
        clips = ClipsToDenoise([gapped.texts[row] for row in rows], clean, points.size)
        start = drawn_tokens(table_of(family), TOKENS, generator)
        batch = run.recipe.concept_batch
        learner = TokenLearner(family, gapped.placeholder, clips, start, generator, batch_size=batch)

        def on_step() -> None:
            note = f"round {number + 1} of {len(self._starts)}: step {len(learner.losses)} of {steps} of learned tokens"
            # A stop must reach all processes at the same step.
            if run.workers.count == 1:
                run.report(TrainProgress("training", step, run.recipe.steps, note=note))

        return learner.learn(steps, on_step)
