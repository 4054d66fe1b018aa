"""Rows of few-shot encoder unlearning: training runs that stop at given steps, each evaluated once."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.methods import Erased, Method, base, trained_on
from benchmarks.scoreboard_row import finished, measure
from benchmarks.scoreboard_time import RowTimes
from t2vu_core.erasure import Erasure
from t2vu_core.evaluation import Detector, EvaluationSettings, PromptSet, WorldDetector
from t2vu_core.evaluation.clip_store import weights_hash
from t2vu_core.formatting import duration, parse_options
from t2vu_core.image_model import ImageModel, load_image_model
from t2vu_core.miniature.bundled import image_model_of
from t2vu_core.model import T2VModel, load_model
from t2vu_core.recipes import FewShotRecipe
from t2vu_core.training.checkpoint import fingerprint_of
from t2vu_core.training.few_shot.train import unlearn_encoder
from t2vu_core.training.loop import StopEarly, TrainingDiverged
from t2vu_core.training.progress import TrainProgress

NEVER = -100.0
"""A remaining effect that no encoder reaches: the run then makes all its steps."""
Cell = tuple[FewShotRecipe | None, str, int | None]
"""A row: the recipe (None for the unmodified model), the concept, and the evaluated step (None for the last)."""


def measuring_prompts(detector: Detector, concept: str) -> PromptSet | None:
    """None: the evaluation takes the prompts that ship for the concept, which measure."""
    return None


@dataclass(frozen=True)
class Bench:
    """Shared by all rows: models, detector, evaluation settings, and the folder of finished results."""

    model: T2VModel
    image_model: ImageModel | None
    detector: WorldDetector
    settings: EvaluationSettings
    out: Path
    prompts_for: Callable[[Detector, str], PromptSet | None]
    """The prompts of a concept; `measuring_prompts` or those of `benchmarks.development`."""

    @classmethod
    def of(cls, options: argparse.Namespace, prompts_for: Callable[[Detector, str], PromptSet | None]) -> Bench:
        """From the command line's `--model`, `--evaluation`, `--clips` and `--out`."""
        fewer = {} if options.clips is None else {"per_register": options.clips, "kept": options.clips}
        model = load_model(options.model)
        partner = image_model_of(model.name)
        image_model = load_image_model(partner, device=model.family.device) if partner else None
        settings = EvaluationSettings.of(options.evaluation, **fewer)
        return cls(model, image_model, WorldDetector.for_model(model), settings, Path(options.out), prompts_for)

    def tell(self, cells: Iterable[Cell]) -> None:
        """Print the expected duration of missing rows on this machine, from a few measured steps of the model."""
        missing = [cell for cell in cells if not self._path(*cell).is_file()]
        if missing:
            row = "encoder", missing[0][1], 0
            seconds = len(missing) * RowTimes(self.model, self.settings, probe=False).without_training(row)
            text = f"Rows to evaluate: {len(missing)}, about {duration(seconds)} here, plus training and base's clips."
            tqdm.write(text, file=sys.stderr)

    def base_row(self, concept: str) -> dict[str, Any]:
        """The unmodified model: the first point of each curve."""
        return self._finished(None, concept, 0, Method("base", base))

    def row(self, concept: str, recipe: FewShotRecipe, step: int | None = None) -> dict[str, Any]:
        """An encoder after `step` training steps, or after the last; `diverged` is the reason if there is none.

        Its seconds cover training; after the last step, the whole run including the shots.
        """

        def apply(model: T2VModel, concept: str, seed: int) -> Erased:
            erasure = self.encoder_at(concept, recipe, step)
            if erasure.training["diverged"]:
                raise TrainingDiverged(erasure.training["diverged"])
            seconds = erasure.training["seconds"] - (0 if step is None else erasure.training["shot_seconds"])
            return Erased(model.with_erasure(erasure), train_seconds=seconds)

        return self._finished(recipe, concept, step, Method("few-shot encoder", apply, trained=True))

    def describe(self) -> dict[str, Any]:
        """The models and settings of the measurement, as JSON values."""
        return {
            "model": self.model.name,
            "base_hash": self.model.base.hash,
            "through": self.model.name if self.image_model is None else self.image_model.name,
            "meter": self.settings.preset,
            "clips_a_register": self.settings.per_register,
            "kept_clips": self.settings.kept,
        }

    def encoder_at(self, concept: str, recipe: FewShotRecipe, step: int | None) -> Erasure:
        """The encoder after `step` steps, or after the last.

        Training resumes from an earlier stop, and starts over if it is already past this one.
        """
        log = self.out / "trainings" / self.digest(recipe, concept)

        def stop(done: TrainProgress) -> None:
            if step is not None and done.stage == "training" and done.step >= step:
                raise StopEarly

        train = partial(
            unlearn_encoder, self.model, concept, recipe, image_model=self.image_model, log_folder=log, on_progress=stop
        )
        erasure = train()
        if step is not None and erasure.training["steps"] > step:
            (log / "state.safetensors").unlink()
            erasure = train()
        return erasure

    def digest(self, recipe: FewShotRecipe | None, concept: str, *more: Any) -> str:
        """A name for results of this recipe, these models and these evaluation settings."""
        own = None if recipe is None else recipe.describe()
        meter = [self.settings.sampling(), self.settings.per_register, self.settings.kept, self.settings.rounds]
        through = None if self.image_model is None else self.image_model.encoder_hash
        prompts = self.prompts_for(self.detector, concept)
        judged = [trained_on(self.model), *([] if prompts is None else [prompts.sha256])]
        return fingerprint_of(own, concept, weights_hash(self.model.family), through, meter, *more, *judged)[:16]

    def _path(self, recipe: FewShotRecipe | None, concept: str, step: int | None) -> Path:
        return self.out / "rows" / f"{self.digest(recipe, concept, step)}.json"

    def _finished(self, recipe: FewShotRecipe | None, concept: str, step: int | None, method: Method) -> dict[str, Any]:
        path = self._path(recipe, concept, step)
        cell = method.title, concept, 0 if recipe is None else recipe.seed
        judged: dict[str, Any] = {"probe": False, "out": self.out, "prompts": self.prompts_for(self.detector, concept)}
        make = partial(measure, method, self.model, self.detector, cell, self.settings, **judged)

        def row() -> dict[str, Any]:
            try:
                return {**make(), "diverged": None}
            except TrainingDiverged as error:
                return {"concept": concept, "seed": cell[2], "diverged": str(error)}

        return {**finished(path, row), "step": step}


def add_bench(parser: argparse.ArgumentParser, out: str, concept: str = "ghost") -> None:
    """The options that `Bench.of` and `recipe_of` read; `concept` is the default one."""
    parser.add_argument("--model", default="miniature", help="a bundled model; its image model, if any, provides the gradient")
    parser.add_argument("--concepts", nargs="+", default=[concept], metavar="C")
    parser.add_argument("--preset", choices=FewShotRecipe.presets(), default="balanced", help="the preset of the recipe")
    parser.add_argument(
        "--method-option", action="append", default=[], metavar="KEY=VALUE", help="change the recipe for all rows"
    )
    parser.add_argument("--evaluation", choices=("quick", "full"), default="quick", help="the preset of the evaluation")
    parser.add_argument(
        "--clips", type=int, metavar="N", help="clips per register and of other concepts, instead of the preset's"
    )
    parser.add_argument("--out", default=out, help="the output folder for training states, rows, clips and results")
    parser.add_argument("--save", action="store_true", help="also write the results into benchmarks/results")
    parser.add_argument("--json", action="store_true", help="print all results as JSON")


def recipe_of(options: argparse.Namespace, changes: Mapping[str, Any]) -> FewShotRecipe:
    """The preset with the command line's options, then the changes of a row."""
    return FewShotRecipe.preset(options.preset, **{**parse_options(options.method_option), **changes})
