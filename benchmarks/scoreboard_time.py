"""Estimates how long the rows of a scoreboard take on this machine."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping, Sequence
from statistics import mean
from typing import Any

from benchmarks.board_plan import REGROWTH_STEPS, Cell, attacks_on, is_regrown, settings_for
from benchmarks.methods import Method
from t2vu_core.evaluation import EvaluationSettings
from t2vu_core.evaluation.attacks.run import NOTHING, attack_seconds
from t2vu_core.evaluation.cases import ERASED_REGISTERS
from t2vu_core.evaluation.session import attack_budget
from t2vu_core.formatting import duration
from t2vu_core.model import T2VModel

# VideoEraser calls the model three times a step instead of twice.
SLOWER = {"video_eraser": 1.5}


class RowTimes:
    """Seconds of sampling and attacking, from a few steps of the model, and of training, from finished rows."""

    def __init__(self, model: T2VModel, settings: EvaluationSettings, *, probe: bool) -> None:
        self.settings, self.probe = settings, probe
        self.steps = settings.num_inference_steps or model.family.defaults.num_inference_steps
        self.model = model
        self.seconds_a_step = _seconds_a_step(model, settings)

    def say(self, cells: Sequence[Cell], methods: Mapping[str, Method], rows: Sequence[Mapping[str, Any]]) -> str:
        """The estimate for rows of these methods: "about 12 minutes here, and the training of esd"."""
        known = {row["method"] for row in rows}
        unknown = sorted({name for name, *_ in cells if methods[name].trained and name not in known})
        training = f", and the training of {', '.join(unknown)}" if unknown else ""
        return f"about {duration(self.seconds(cells, rows))} here{training}"

    def seconds(self, cells: Sequence[Cell], rows: Sequence[Mapping[str, Any]]) -> float:
        """The estimate as a number; without the training of methods that no finished row has."""
        known: dict[str, list[float]] = {}
        for row in rows:
            known.setdefault(row["method"], []).append(row["train_seconds"])
        seconds = sum(self.without_training(cell) + mean(known.get(cell[0], [0.0])) for cell in cells)
        # Rows of a concept share the attacks on the base.
        return seconds + sum(
            max(self.attacks(cell) for cell in cells if cell[1] == concept) for concept in {cell[1] for cell in cells}
        )

    def without_training(self, cell: Cell) -> float:
        """Seconds of a row without its training; base's clips and attacks are not included: rows of a concept share them."""
        settings, name = self.settings, cell[0]
        clips = (len(ERASED_REGISTERS) * settings.per_register + settings.kept) * settings.rounds + settings.batch_size
        sampled = SLOWER.get(name, 1.0) * self.steps * clips / settings.batch_size
        return self.seconds_a_step * sampled + self.attacks(cell)

    def attacks(self, cell: Cell) -> float:
        """Seconds of the attacks on the row's model, of its clips without one, and of the fine-tuning."""
        if not self.probe or not attacks_on(cell):
            return 0.0
        budget = attack_budget(settings_for(cell, self.settings), self.model)
        seconds = sum(attack_seconds(name, budget, self.seconds_a_step) for name in (NOTHING, *attacks_on(cell)))
        longer = dataclasses.replace(budget, steps=REGROWTH_STEPS)
        return seconds + (attack_seconds("regrowth", longer, self.seconds_a_step) if is_regrown(cell) else 0.0)


def _seconds_a_step(model: T2VModel, settings: EvaluationSettings) -> float:
    """Of a batch, with its share of encoding and decoding; the first call of a process is slower and does not count."""
    usual = settings.sampling()
    model.sample(["a"] * settings.batch_size, **{**usual, "num_inference_steps": 2})
    start = time.monotonic()
    model.sample(["a"] * settings.batch_size, **usual)
    return (time.monotonic() - start) / (usual["num_inference_steps"] or model.family.defaults.num_inference_steps)
