"""`t2vu evaluate`: measures an erasure."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from t2vu_core.commands.options import add_erasures, add_guard, add_model, apply_erasures, apply_guard, open_model
from t2vu_core.evaluation.attacks import ATTACKS, possible_attacks
from t2vu_core.evaluation.cases import load_prompt_set
from t2vu_core.evaluation.detectors import DETECTORS, open_detector
from t2vu_core.evaluation.evaluate_to import evaluate_to
from t2vu_core.evaluation.keep_scores import keep_scores
from t2vu_core.evaluation.progress_bar import evaluation_bar
from t2vu_core.evaluation.report.wording import text_table
from t2vu_core.evaluation.settings import EVALUATION_PRESETS, EvaluationSettings
from t2vu_core.scores import Scores

HELP = "measure an erasure: what is gone, what is kept, and what attacks bring back"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Model, erasures, guard, concept, detector, prompts and output."""
    add_model(parser)
    add_erasures(parser)
    parser.add_argument("--concept", required=True, metavar="C", help='the erased concept in words: "ghost"')
    parser.add_argument("--out", required=True, metavar="DIR", help="folder for the report, the scores and the clips")
    parser.add_argument(
        "--preset", choices=EVALUATION_PRESETS, default="quick", help="how much is measured (default: %(default)s)"
    )
    add_guard(parser)
    parser.add_argument(
        "--detector",
        default="miniature",
        metavar="D",
        help=f"detector: {', '.join(DETECTORS)} (default: %(default)s); 'miniature', 'two judges' and 'second judge' are for "
        "the bundled models only",
    )
    parser.add_argument("--prompts", metavar="FILE", help="your own prompts: JSON Lines, or one prompt per line")
    parser.add_argument(
        "--attack",
        action="append",
        default=[],
        choices=[*ATTACKS, "all"],
        help="attack that tries to bring the concept back; repeatable. all: those that the model allows",
    )
    parser.add_argument(
        "--never-knew", metavar="M", help="a model that was trained without the concept, measured for comparison"
    )
    parser.add_argument("--attack-steps", type=int, metavar="N", help="training steps of an attack; default: from the preset")
    parser.add_argument(
        "--probe-steps", type=int, metavar="N", help="training steps of the attack probe alone; 600 for a thorough one"
    )
    parser.add_argument(
        "--probe-starts", type=int, metavar="N",
        help="starts of the attack probe, up to 3, of which the best counts: the erased word, random tokens, another subject "
        "(default: 1, the cheap form, a lower bound)",
    )  # fmt: skip
    parser.add_argument("--steps", type=int, help="denoising steps; default: from the preset")
    parser.add_argument("--guidance-scale", type=float, help="classifier-free guidance; default: the model's own")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Evaluate into the folder, and store the scores in the erasure file if they are of that erasure alone."""
    prompts = None if options.prompts is None else load_prompt_set(Path(options.prompts), options.concept)
    settings = _settings(options)
    base = open_model(options)
    detector = open_detector(options.detector, base)
    model = apply_guard(apply_erasures(base, options), options, [options.concept])
    with evaluation_bar() as on_progress:
        evaluated = evaluate_to(
            Path(options.out),
            model,
            options.concept,
            before=base,
            detector=detector,
            settings=settings,
            prompts=prompts,
            attacks=possible_attacks(base) if "all" in options.attack else tuple(dict.fromkeys(options.attack)),
            never_knew=open_model(options, options.never_knew) if options.never_knew else None,
            on_progress=on_progress,
        )
    kept = None if evaluated.erasure is None else keep_scores(evaluated.erasure, Path(options.erasure[0]))
    return {
        **evaluated.evaluation.scores.to_json(),
        "report": str(evaluated.report),
        "evidence": str(evaluated.evidence),
        "scores_written_to": kept and str(kept.path),
        "note": kept and kept.note,
    }


def show(result: dict[str, Any]) -> str:
    """The verdict, the table, the path of the report, and a note if the scores are not in the erasure file."""
    note = f"\n{result['note']}" if result["note"] else ""
    return f"{text_table(Scores.from_json(result))}\n\n{result['report']}\nfor printing: {result['evidence']}{note}"


def _settings(options: argparse.Namespace) -> EvaluationSettings:
    asked = {
        "num_inference_steps": options.steps,
        "guidance_scale": options.guidance_scale,
        "attack_steps": options.attack_steps,
        "probe_steps": options.probe_steps,
        "probe_starts": options.probe_starts,
    }
    return EvaluationSettings.of(options.preset, **{name: value for name, value in asked.items() if value is not None})
