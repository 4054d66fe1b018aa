"""Erase "ghost", measure what was erased and kept, and write the report: `python examples/measure.py`."""

from __future__ import annotations

import argparse
from pathlib import Path

from t2vu_core import VelocityRecipe, erase_velocity, evaluate, load_model
from t2vu_core.evaluation import EvaluationSettings
from t2vu_core.evaluation.report.page import write_report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="miniature", help="a bundled model or a diffusers folder")
    parser.add_argument("--out", type=Path, default=Path("measure"), help="folder for the report")
    parser.add_argument("--steps", type=int, default=100, help="training steps")
    parser.add_argument("--clips", type=int, default=8, help="clips for each form of the prompt")
    options = parser.parse_args()

    model = load_model(options.model)
    eraser = erase_velocity(model, "ghost", VelocityRecipe.preset("quick", steps=options.steps))
    settings = EvaluationSettings.of("quick", per_register=options.clips, kept=4 * options.clips)
    evaluation = evaluate(model.with_erasure(eraser), "ghost", settings=settings, out=options.out)
    print(evaluation.scores)
    print(f"{write_report(evaluation, options.out / 'report.html')}: the report")


if __name__ == "__main__":
    main()
