"""`t2vu sample`: sample one clip from a prompt."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

from t2vu_core.commands.options import (
    add_erasures,
    add_guard,
    add_model,
    apply_erasures,
    apply_guard,
    open_model,
)
from t2vu_core.commands.progress_bars import sampling_bar
from t2vu_core.erasure import check_writable
from t2vu_core.errors import UserError
from t2vu_core.video import VIDEO_SUFFIXES, enlarge, save_video

HELP = "sample a clip, with or without erasures and a guard"
MAX_FPS = 240


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Model, prompt, size, seed, erasures, guard and output."""
    add_model(parser)
    add_erasures(parser)
    add_guard(parser)
    parser.add_argument("--concept", action="append", default=[], metavar="C", help="what the guard keeps out; repeatable")
    parser.add_argument("--prompt", required=True, help="what the clip shows")
    parser.add_argument("--negative-prompt", default="", help="what the clip should not show")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same clip (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="denoising steps (default: the model's own number)")
    parser.add_argument("--guidance-scale", type=float, help="guidance scale; 1 is no guidance (default: the model's own)")
    parser.add_argument("--num-frames", type=int, help="number of frames (default: the model's own)")
    parser.add_argument("--height", type=int, help="height in pixels (default: the model's own)")
    parser.add_argument("--width", type=int, help="width in pixels (default: the model's own)")
    parser.add_argument("--fps", type=int, help="frames per second of the file (default: the model's own)")
    parser.add_argument(
        "--enlarge", type=int, default=1, metavar="N", help="write every pixel N x N times (default: %(default)s)"
    )
    parser.add_argument("--out", required=True, metavar="FILE", help="the file to write, which ends in .mp4, .webp or .gif")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Sample and write the clip."""
    _check(options)
    check_writable(Path(options.out))
    model = apply_guard(apply_erasures(open_model(options), options), options, options.concept)
    start = time.monotonic()
    with sampling_bar() as on_step:
        clip = model.sample(
            options.prompt,
            seeds=options.seed,
            negative_prompt=options.negative_prompt,
            num_frames=options.num_frames,
            height=options.height,
            width=options.width,
            num_inference_steps=options.steps,
            guidance_scale=options.guidance_scale,
            on_step=on_step,
        )[0]
    path = save_video(enlarge(clip, options.enlarge), options.out, fps=options.fps or model.family.defaults.fps)
    return {
        "out": str(path),
        "model": model.name,
        "prompt": options.prompt,
        "seed": options.seed,
        "erased": [concept for applied in model.erasures for concept in applied.erasure.concepts],
        "strength": options.strength,
        "guard": None if model.guard is None else model.guard.describe(),
        "num_frames": clip.shape[0],
        "height": clip.shape[2],
        "width": clip.shape[3],
        "seconds": round(time.monotonic() - start, 2),
    }


def _check(options: argparse.Namespace) -> None:
    """Raise UserError for a file name, size, frame rate or guard that cannot be used."""
    if not str(options.out).lower().endswith(VIDEO_SUFFIXES):
        raise UserError(f"{options.out!r} is not the name of a video file: end it in {', '.join(VIDEO_SUFFIXES)}.")
    if not 1 <= options.enlarge <= 64:
        raise UserError(f"--enlarge must be between 1 and 64, not {options.enlarge}.")
    if options.fps is not None and not 1 <= options.fps <= MAX_FPS:
        raise UserError(f"--fps must be between 1 and {MAX_FPS}, not {options.fps}.")
    _check_guard(options)


def _check_guard(options: argparse.Namespace) -> None:
    """Raise UserError for options that the guard would ignore."""
    if options.concept and not options.guard:
        raise UserError("--concept is what a guard keeps out: choose one with --guard, or remove --concept.")
    if options.negative_prompt and options.guard == "negative_prompt":
        raise UserError("--guard negative_prompt replaces --negative-prompt: use only one of them.")


def show(result: dict[str, Any]) -> str:
    """Where the clip is."""
    size = f"{result['num_frames']} frames of {result['width']} x {result['height']}"
    return f"{result['out']}: {size}, {result['seconds']} s"
