"""Whether a preset leaves a style in the exact words of a short sentence: `python -m benchmarks.exact_words --save`.

Version 0.1's `quick` left sepia in "is there a robot in sepia style?" and "three cats in sepia style". This trains the preset
on a style that measures, one training run for each of `--seeds`, and samples exactly these two sentences from the model before
and after, with seeds that no training run draws. Settings are not chosen by it.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.command_line import print_board
from t2vu_core import T2VModel, VelocityRecipe, __version__, erase_velocity, load_model
from t2vu_core.evaluation import WorldDetector
from t2vu_core.evaluation.checks import resolve
from t2vu_core.evaluation.statistics import wilson_interval
from t2vu_core.formatting import percent
from t2vu_core.recipes import PRESETS

RESULTS = Path(__file__).parent / "results"
SENTENCES = ("is there a robot in {} style?", "three cats in {} style")
FIRST_SEED = 8_500_000
"""Training with seed s draws from 1,000,000 (s + 1) upwards and stays in the lower half of the million."""


def main(arguments: list[str] | None = None) -> int:
    """Train, sample, print the table; returns 2 for a user's mistake."""
    return print_board("exact_words", _parser().parse_args(arguments), measured, document, RESULTS / "exact_words.json")


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Counts of clips that show the style: of the base, and after each training run."""
    model = load_model(options.model)
    detector = WorldDetector.for_model(model)
    rows = []
    for style in [resolve(detector, name) for name in options.styles]:
        before = _shown(model, detector, style, options.clips)
        for seed in range(options.seeds):
            start = time.monotonic()
            erasure = erase_velocity(model, f"in {style} style", VelocityRecipe.preset(options.preset, seed=seed))
            seconds = round(time.monotonic() - start)
            after = _shown(model.with_erasure(erasure), detector, style, options.clips)
            rows.append({"style": style, "seed": seed, "before": before, "after": after, "train_seconds": seconds})
    asked = {"model": options.model, "base": model.base.hash, "preset": options.preset, "clips": options.clips}
    return {**asked, "recipe": dict(PRESETS[options.preset].velocity), "version": __version__, "rows": rows}


def _shown(model: T2VModel, detector: WorldDetector, style: str, clips: int) -> dict[str, int]:
    """How many of the clips of each sentence show the style."""
    seeds, counts = [FIRST_SEED + place for place in range(clips)], {}
    for sentence in SENTENCES:
        prompt = sentence.format(style)
        sampled = model.sample([prompt] * clips, seeds=seeds)
        counts[prompt] = sum(judged.shown[style] for judged in detector.judge(sampled, [style]))
    return counts


def document(result: Mapping[str, Any]) -> str:
    """The table and its sum in words."""
    clips, rows = result["clips"], result["rows"]
    lines = ["| style | training run | sentence | before | after |", "|---|---|---|---|---|"]
    lines += [
        f"| {row['style']} | {row['seed']} | {prompt} | {shown} of {clips} | {row['after'][prompt]} of {clips} |"
        for row in rows
        for prompt, shown in row["before"].items()
    ]
    left, total = _sum(rows, "after"), clips * sum(len(row["before"]) for row in rows)
    low, high = wilson_interval(left, total)
    sums = f"{left} of {total} clips show the style after `{result['preset']}`: {percent(left / total)} (95 % interval "
    return "\n".join([*lines, "", f"{sums}{percent(low)} to {percent(high)})."])


def _sum(rows: Sequence[Mapping[str, Any]], when: str) -> int:
    return sum(sum(row[when].values()) for row in rows)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="exact_words", description=__doc__)
    parser.add_argument("--model", default="miniature", help="a bundled miniature")
    parser.add_argument("--styles", nargs="+", default=["sepia"], help="styles of its world (default: sepia)")
    parser.add_argument("--preset", default="quick", choices=PRESETS, help="of the training")
    parser.add_argument("--seeds", type=int, default=3, help="training runs of each style (default: %(default)s)")
    parser.add_argument("--clips", type=int, default=24, help="clips of each sentence (default: %(default)s)")
    parser.add_argument("--save", action="store_true", help="write the counts into benchmarks/results")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
