"""Estimates how long the rows of a scoreboard take on this machine."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.methods import GUARD_TITLES, Method
from t2vu_core.evaluation import EvaluationSettings
from t2vu_core.evaluation.attacks.run import NOTHING, attack_seconds
from t2vu_core.evaluation.cases import ERASED_REGISTERS
from t2vu_core.evaluation.maker import Maker
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
        self.budget = attack_budget(settings, model)
        self.seconds_a_step = Maker(model, "", settings).seconds_a_step()

    def say(self, names: Sequence[str], methods: Mapping[str, Method], rows: Sequence[Mapping[str, Any]]) -> str:
        """The estimate for rows of these methods: "about 12 minutes here, and the training of esd"."""
        known = {row["method"]: row["train_seconds"] for row in rows}
        unknown = sorted({name for name in names if methods[name].trained and name not in known})
        seconds = sum(self.without_training(name) + known.get(name, 0.0) for name in names)
        training = f", and the training of {', '.join(unknown)}" if unknown else ""
        return f"about {duration(seconds)} here{training}"

    def without_training(self, name: str) -> float:
        """Seconds of a row without its training; base's clips are not included, since all rows of a concept share them."""
        settings = self.settings
        clips = (len(ERASED_REGISTERS) * settings.per_register + settings.kept) * settings.rounds + settings.batch_size
        sampled = SLOWER.get(name, 1.0) * self.steps * clips / settings.batch_size
        attacked = self._attack() if self.probe and name not in GUARD_TITLES else 0.0
        return self.seconds_a_step * sampled + attacked

    def _attack(self) -> float:
        """Seconds of the attack on the row's model, and of its clips without one; base's attack is shared."""
        return sum(attack_seconds(name, self.budget, self.seconds_a_step) for name in (NOTHING, "probe", "clip_start"))
