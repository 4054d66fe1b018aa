"""`t2vu sample`: one clip from a prompt."""

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
    sampling_bar,
)
from t2vu_core.erasure import check_writable
from t2vu_core.errors import UserError
from t2vu_core.video import VIDEO_SUFFIXES, enlarge, save_video

HELP = "generate a clip, with erasures on the model and under a guard if you name any"
MAX_FPS = 240


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Model, prompt, size, seed, erasures, guard and output."""
    add_model(parser)
    add_erasures(parser)
    add_guard(parser)
    parser.add_argument(
        "--concept", action="append", default=[], metavar="C", help="what the guard keeps out; may be given again"
    )
    parser.add_argument("--prompt", required=True, help="what the clip shall show")
    parser.add_argument("--negative-prompt", default="", help="what it shall not show")
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same clip (default: %(default)s)")
    parser.add_argument("--steps", type=int, help="denoising steps; the default is the model's own")
    parser.add_argument("--guidance-scale", type=float, help="classifier-free guidance; the default is the model's own")
    parser.add_argument("--num-frames", type=int)
    parser.add_argument("--height", type=int)
    parser.add_argument("--width", type=int)
    parser.add_argument("--fps", type=int, help="frames per second of the file")
    parser.add_argument("--enlarge", type=int, default=1, metavar="N", help="write every pixel N x N times")
    parser.add_argument("--out", required=True, metavar="FILE", help="a name that ends in .mp4, .webp or .gif")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Generate and write the clip."""
    if not str(options.out).lower().endswith(VIDEO_SUFFIXES):
        raise UserError(f"{options.out!r} is no video name: end it in {', '.join(VIDEO_SUFFIXES)}.")
    if not 1 <= options.enlarge <= 64:
        raise UserError(f"--enlarge must be between 1 and 64, not {options.enlarge}.")
    if options.fps is not None and not 1 <= options.fps <= MAX_FPS:
        raise UserError(f"--fps must be between 1 and {MAX_FPS}, not {options.fps}.")
    _check_guard(options)
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


def _check_guard(options: argparse.Namespace) -> None:
    """Raise UserError for words that no guard, or not this one, would listen to."""
    if options.concept and not options.guard:
        raise UserError("--concept says what a guard keeps out: name the guard with --guard, or leave --concept out.")
    if options.negative_prompt and options.guard == "negative_prompt":
        raise UserError("--guard negative_prompt takes the place of --negative-prompt: give all the words to one of them.")


def show(result: dict[str, Any]) -> str:
    """Where the clip is."""
    size = f"{result['num_frames']} frames of {result['width']} x {result['height']}"
    return f"{result['out']}: {size}, {result['seconds']} s"
