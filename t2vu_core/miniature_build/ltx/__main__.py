"""`python -m t2vu_core.miniature_build.ltx --work FOLDER`: builds `miniature-ltx`; `--smoke SECONDS` only tries every stage."""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from t2vu_core.miniature_build.ltx.build import Builder, copy_results, go_on_from_bundled
from t2vu_core.miniature_build.ltx.plan import LtxPlan

PLAN_OPTIONS = {
    "vae_seconds": float,
    "text_encoder_seconds": float,
    "detector_seconds": float,
    "denoiser_seconds": float,
    "total_seconds": float,
    "num_clips": int,
    "denoiser_batch": int,
    "vae_batch": int,
    "caption_dropout": float,
    "seed": int,
}
CAPTION_OPTIONS = ("unreliable", "imagined", "vague", "bare", "drop", "two_subjects", "empty")


def parse() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True, help="folder for states and results")
    parser.add_argument("--out", type=Path, help="folder that receives a copy of the results as they are finished")
    parser.add_argument("--smoke", type=float, help="try every stage in about so many seconds of a CPU")
    parser.add_argument("--further", action="store_true", help="train the bundled model's denoiser further, in a fresh --work")
    parser.add_argument("--bank-only", action="store_true", help="write the captions and stop")
    for name, kind in PLAN_OPTIONS.items():
        parser.add_argument(f"--{name.replace('_', '-')}", type=kind)
    for name in CAPTION_OPTIONS:
        parser.add_argument(f"--{name.replace('_', '-')}", type=float)
    return parser.parse_args()


def main() -> None:
    """Build, with the captions written by a second process meanwhile."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", datefmt="%H:%M:%S")
    arguments = parse()
    plan = LtxPlan() if arguments.smoke is None else LtxPlan.smoke(arguments.smoke)
    given = {name: value for name, value in vars(arguments).items() if value is not None}
    captions = replace(plan.captions, **{name: given[name] for name in CAPTION_OPTIONS if name in given})
    plan = replace(plan, captions=captions, **{name: given[name] for name in PLAN_OPTIONS if name in given})

    def deliver() -> None:
        if arguments.out is not None:
            copy_results(arguments.work, arguments.out)

    builder = Builder(arguments.work, plan, on_result=deliver)
    if arguments.bank_only:
        builder.bank()
        return
    if arguments.further:
        go_on_from_bundled(arguments.work)
        builder = Builder(arguments.work, plan, on_result=deliver)
    environment = os.environ | {"TOKENIZERS_PARALLELISM": "false", "CUDA_VISIBLE_DEVICES": ""}
    bank = subprocess.Popen(
        [sys.executable, "-m", "t2vu_core.miniature_build.ltx", *sys.argv[1:], "--bank-only"], env=environment
    )
    builder.run(bank.wait)
    deliver()


if __name__ == "__main__":
    main()
