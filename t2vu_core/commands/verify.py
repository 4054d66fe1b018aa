"""`t2vu verify`: repeats a share of the evaluation that an erasure file claims."""

from __future__ import annotations

import argparse
import reprlib
from pathlib import Path
from typing import Any

from t2vu_core.commands.options import add_device, add_single_file, open_model
from t2vu_core.erasure import Erasure
from t2vu_core.errors import UserError
from t2vu_core.evaluation.cases import load_prompt_set
from t2vu_core.evaluation.claims import POWER
from t2vu_core.evaluation.detectors import DETECTORS, open_detector
from t2vu_core.evaluation.progress_bar import evaluation_bar
from t2vu_core.evaluation.settings import EVALUATION_VERSION
from t2vu_core.evaluation.verify import SHARE, verify
from t2vu_core.miniature.bundled import bundled_folder, check_built

CONTRADICTED = 3
"""The exit code of `--exit-code` for figures that do not hold; 1 is a fault of t2vu, 2 one of the input."""
HELP = "repeat a share of the evaluation that an erasure file claims, and say whether its figures hold"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The file, the model, and how much is repeated."""
    parser.add_argument("file", metavar="F", help="an erasure file with scores")
    parser.add_argument(
        "--model", metavar="M", help="the model that was measured; default: the bundled one that the scores name"
    )
    add_single_file(parser)
    add_device(parser)
    parser.add_argument(
        "--share", type=float, default=SHARE, help="share of the clips that are made again, of each kind (default: %(default)s)"
    )
    parser.add_argument("--seed", type=int, default=0, help="chooses which clips are made again (default: %(default)s)")
    parser.add_argument(
        "--detector",
        default="miniature",
        metavar="D",
        help=f"the detector that judged: {', '.join(DETECTORS)} (default: %(default)s)",
    )
    parser.add_argument("--prompts", metavar="FILE", help="the prompt file that was measured with, if it was not a shipped set")
    parser.add_argument(
        "--exit-code", action="store_true", help=f"exit with {CONTRADICTED} if a figure does not hold (default: 0 either way)"
    )


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Verify, and return what became of every claim."""
    erasure = Erasure.load(Path(options.file))
    if erasure.scores is None:
        raise UserError(f"{options.file} has no scores, so there is nothing to verify; measure it with `t2vu evaluate`.")
    prompts = None if options.prompts is None else load_prompt_set(Path(options.prompts), erasure.scores.concept)
    options.model = options.model or _bundled(erasure.scores.settings.model)
    base = open_model(options)
    with evaluation_bar() as on_progress:
        verification = verify(
            base,
            erasure,
            detector=open_detector(options.detector, base),
            prompts=prompts,
            share=options.share,
            seed=options.seed,
            on_progress=on_progress,
        )
    return {"file": options.file, **verification.to_json()}


def exit_code(options: argparse.Namespace, result: dict[str, Any]) -> int:
    """0, or 3 with `--exit-code` if a figure does not hold."""
    return CONTRADICTED if options.exit_code and result["holds"] is False else 0


def _bundled(name: str) -> str:
    """The name of a bundled model. Raises UserError for another: scores hold no path, and none would be followed."""
    check_built(name)
    if bundled_folder(name) is None:
        raise UserError(
            f"The scores were measured on {reprlib.repr(name)}, which is not a bundled model; name its folder or file with "
            "--model."
        )
    return name


def show(result: dict[str, Any]) -> str:
    """One line a claim, and what was not repeated."""
    lines = [f"The scores of {result['file']}{_whether(result['holds'])}, base {result['base_hash'][:16]}."]
    lines += [_line(claim) for claim in result["claims"]]
    lines += _other_version(result["evaluation_version"])
    if result["not_checked"]:
        lines.append(f"  not tested: {', '.join(result['not_checked'])}")
    return "\n".join([*lines, "This is evidence of tests on these prompts and seeds, not a guarantee."])


def _whether(holds: bool | None) -> str:
    """Whether the scores hold, as the end of a sentence about them."""
    if holds is None:
        return ": nothing could be tested, because the clips are too few to contradict them; use a larger --share"
    return " hold" if holds else " DO NOT HOLD"


def _other_version(claimed: int | None) -> list[str]:
    """A warning if the scores were counted by another version of the evaluation."""
    if claimed == EVALUATION_VERSION:
        return []
    other = "an evaluation before version 1" if claimed is None else f"evaluation version {claimed}"
    return [f"  measured by {other}; this program has version {EVALUATION_VERSION}, so a difference may come from that"]


def _line(claim: dict[str, Any]) -> str:
    low, high = claim["interval"]
    claimed = f"claimed {claim['claimed']:6.1%} [{low:.1%}, {high:.1%}] of {claim['claimed_clips']} clips"
    measured = f"measured {claim['measured']:6.1%} of {claim['clips']} (p {claim['p']:.2g})"
    return f"  {claim['name']:<13} {claimed}, {measured}: {_verdict(claim)}"


def _verdict(claim: dict[str, Any]) -> str:
    """Whether a claim holds, from which count of the clips that were made again it would not, and which true rate they find."""
    if not claim["holds"]:
        return "does not hold"
    if not claim["could_fail"]:
        return "too few clips to contradict it"
    or_beyond = "more" if claim["direction"] == "at most" else "fewer"
    count = f"{claim['fails_from']} or {or_beyond} of {claim['clips']} would contradict it"
    return f"holds; {count}, which a true rate of {claim['finds']:.0%} does {POWER:.0%} of the time"
