"""`t2vu miniature`: train a bundled model from scratch, or measure it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from tqdm import tqdm

from t2vu_core.errors import UserError
from t2vu_core.miniature.bundled import LTX_NAME, UNET_NAME, WEIGHTS
from t2vu_core.miniature_build.card import write_card

HELP = "train a bundled model from scratch, or measure it"
NAMES = ("miniature", UNET_NAME, LTX_NAME)
FEWEST_CLIPS = 8
"""With fewer, some figure would be of no clip at all."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The action and its options."""
    parser.add_argument("action", choices=("build", "check"), help="build: train and install it; check: measure it")
    parser.add_argument("--name", choices=NAMES, default=NAMES[0], help="the bundled model (default: %(default)s)")
    parser.add_argument("--work", metavar="DIR", help="build: folder for the finished stages (default: build/NAME)")
    parser.add_argument("--minutes", type=float, metavar="M", help="build: minutes to train the denoiser or the image model")
    parser.add_argument("--further", type=float, metavar="M", help="build: train the installed model for M more minutes")
    parser.add_argument(
        "--favour", nargs="+", default=[], metavar="C", help="build: subjects that --further trains on twice as often"
    )
    parser.add_argument("--without", metavar="C", help="build: train a model without the subject or style C, written to --out")
    parser.add_argument("--out", metavar="DIR", help="build: folder for the model of --without")
    parser.add_argument("--clips", type=int, default=150, help="check: clips per prompt register (default: %(default)s)")
    parser.add_argument("--write-card", action="store_true", help="check: write the model card next to the weights")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train and install the weights, or measure the installed ones."""
    return _build(options) if options.action == "build" else _check(options)


def _build(options: argparse.Namespace) -> dict[str, Any]:
    work = Path(options.work or f"build/{options.name}")
    _check_build(options)
    if options.name == UNET_NAME:
        from t2vu_core.miniature_build.unet.build import UNetBuildPlan, build_unet, export_unet

        unet_plan = UNetBuildPlan() if options.minutes is None else UNetBuildPlan(image_minutes=options.minutes)
        build_unet(work, unet_plan)
        return {"installed": str(export_unet(work, unet_plan))}
    if options.name == LTX_NAME:
        return _build_ltx(work, options.minutes)
    from t2vu_core.miniature_build.build import BuildPlan, build, build_without, export, train_further

    plan = BuildPlan() if options.minutes is None else BuildPlan(denoiser_minutes=options.minutes)
    if options.without is not None:
        return {"model": str(build_without(options.without, work, plan, Path(options.out))), "without": options.without}
    if options.further is not None:
        train_further(work, plan, minutes=options.further, favour=options.favour)
        return {"installed": str(WEIGHTS)}
    build(work, plan)
    export(work, plan)
    return {"installed": str(WEIGHTS)}


def _build_ltx(work: Path, minutes: float | None) -> dict[str, Any]:
    from t2vu_core.miniature_build.ltx.install import build_ltx, export_ltx
    from t2vu_core.miniature_build.ltx.plan import LtxPlan

    plan = LtxPlan() if minutes is None else LtxPlan(denoiser_seconds=60 * minutes)
    build_ltx(work, plan)
    return {"installed": str(export_ltx(work))}


def _check_build(options: argparse.Namespace) -> None:
    if (options.without is None) != (options.out is None):
        raise UserError("--without needs --out, the folder for that model, and --out needs --without.")
    if options.without is not None and options.further is not None:
        raise UserError("--without trains a separate model from scratch; leave --further out, or increase --minutes.")
    if options.favour and options.further is None:
        raise UserError("--favour chooses what --further trains on more often; name its minutes with --further.")
    if options.name != NAMES[0] and options.without is not None:
        raise UserError("--without is for --name miniature only.")
    if options.name != NAMES[0] and options.further is not None:
        raise UserError(f"--further is for --name miniature only; build {options.name} again with more --minutes.")


def _check(options: argparse.Namespace) -> dict[str, Any]:
    from t2vu_core.miniature_build.check import check

    if options.clips < FEWEST_CLIPS:
        raise UserError(f"--clips must be at least {FEWEST_CLIPS}, not {options.clips}.")
    with tqdm(desc="clips", unit="clip") as bar:

        def on_clip(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        result = check(options.name, clips_per_register=options.clips, on_clip=on_clip)
    if options.write_card:
        write_card(result, WEIGHTS / options.name)
    return result


def show(result: dict[str, Any]) -> str:
    """The results as JSON."""
    return json.dumps(result, indent=1)
