"""`t2vu evaluate`: what is erased, what is kept, what comes back."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from t2vu_core.commands.options import add_erasures, add_guard, add_model, apply_erasures, apply_guard, open_model
from t2vu_core.erasure import atomic_path, check_writable
from t2vu_core.evaluation.attacks import ATTACKS
from t2vu_core.evaluation.cases import load_prompt_set
from t2vu_core.evaluation.detectors import DETECTORS, open_detector
from t2vu_core.evaluation.evaluate import evaluate
from t2vu_core.evaluation.progress_bar import evaluation_bar
from t2vu_core.evaluation.report.page import write_report
from t2vu_core.evaluation.report.wording import text_table
from t2vu_core.evaluation.settings import PRESETS, EvaluationSettings

HELP = "measure what is erased, what is kept, and what comes back"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Model, erasures, guard, concept, detector, prompts and output."""
    add_model(parser)
    add_erasures(parser)
    parser.add_argument("--concept", required=True, metavar="C", help='what shall be gone, in words: "ghost"')
    parser.add_argument("--out", required=True, metavar="DIR", help="a folder for the report, the scores and the clips")
    parser.add_argument("--preset", choices=PRESETS, default="quick", help="how much is measured (default: %(default)s)")
    add_guard(parser)
    parser.add_argument(
        "--detector", default="miniature", metavar="D", help=f"who judges: {', '.join(DETECTORS)} (default: %(default)s)"
    )
    parser.add_argument("--prompts", metavar="FILE", help="your own prompts: JSON Lines, or one prompt a line")
    parser.add_argument(
        "--attack", action="append", default=[], choices=[*ATTACKS, "all"], help="try to bring it back; may be given again"
    )
    parser.add_argument(
        "--never-knew", metavar="M", help="a model that never knew the concept, measured beside it: as if never learned"
    )
    parser.add_argument("--attack-steps", type=int, metavar="N", help="steps of an attack; the default is the preset's")
    parser.add_argument("--steps", type=int, help="denoising steps; the default is the preset's")
    parser.add_argument("--guidance-scale", type=float, help="classifier-free guidance; the default is the model's own")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure; write the page and the scores, and put the scores into the erasure file."""
    out = Path(options.out)
    check_writable(out / "report.html")
    asked = {
        "num_inference_steps": options.steps,
        "guidance_scale": options.guidance_scale,
        "attack_steps": options.attack_steps,
    }
    settings = EvaluationSettings.of(options.preset, **{name: value for name, value in asked.items() if value is not None})
    detector = open_detector(options.detector)
    prompts = None if options.prompts is None else load_prompt_set(Path(options.prompts), options.concept)
    base = open_model(options)
    model = apply_guard(apply_erasures(base, options), options, [options.concept])
    with evaluation_bar() as on_progress:
        evaluation = evaluate(
            model,
            options.concept,
            before=base,
            detector=detector,
            settings=settings,
            prompts=prompts,
            attacks=ATTACKS if "all" in options.attack else tuple(dict.fromkeys(options.attack)),
            never_knew=open_model(options, options.never_knew) if options.never_knew else None,
            out=out,
            on_progress=on_progress,
        )
    erasures = [applied.erasure for applied in model.erasures]
    report = write_report(evaluation, out / "report.html", erasures=erasures, fps=model.family.defaults.fps)
    with atomic_path(out / "scores.json") as temporary:
        temporary.write_text(json.dumps(evaluation.scores, indent=1), encoding="utf-8")
    written = None
    if model.sole_erasure is not None:
        written = str(model.sole_erasure.with_scores(evaluation.scores).save(options.erasure[0]))
    return {**evaluation.scores, "report": str(report), "scores_written_to": written}


def show(result: dict[str, Any]) -> str:
    """The verdict, the table, and where the page is."""
    return f"{text_table(result)}\n\n{result['report']}"
