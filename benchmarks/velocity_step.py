"""What a training step costs, ours against the public port of T2VUnlearning: `python -m benchmarks.velocity_step`.

Same model, batch and clip size, every measurement in a process of its own. Ours is `erase_velocity` with its erasing loss
alone, since that is all that the port's step learns from; our presets preserve too, and their cost is the second row.
The port's step is what its code does, not what its paper says: three passes of the frozen model (concept, nothing,
preserve prompt), two with gradients of a second copy of it (concept, preserve prompt), and a backward pass through
both, although the preserve loss has the weight 0; text encoder and VAE stay where they are. `with preservation` is our
step with as many rows of preserve prompts beside those of the concept, in the same single pass.

Memory is the peak of a step: on a GPU what its allocator counts; on a CPU the model's weights, the erasers with their
gradients and moments, our cached trajectories, and every allocation that the profiler sees in a step.

With a GPU, also our step at the sizes of released models with random weights (see step_shapes.py).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from benchmarks.step_measures import PORT, RECIPES, Job, measure
from benchmarks.step_shapes import SHAPES
from t2vu_core.erasure import atomic_path

RESULTS = Path(__file__).parent / "results"
GIB = 2**30
PAPERS_RANK = 128


def main(arguments: list[str] | None = None) -> int:
    """Measure; print the table, or everything as JSON."""
    options = parser().parse_args(arguments)
    if options.job:
        print(json.dumps(measure(Job(**json.loads(options.job)))))
        return 0
    result = run(options, in_fresh_process)
    text = json.dumps(result, indent=1)
    if options.save:
        name = "".join(letter if letter.isalnum() else "_" for letter in result["device"]).strip("_").lower()
        with atomic_path(RESULTS / f"velocity_step-{name}.json") as temporary:
            temporary.write_text(text + "\n", encoding="utf-8")
    print(text if options.json else table(result))
    return 0


def run(options: argparse.Namespace, measure_one: Callable[[Job], dict[str, Any]]) -> dict[str, Any]:
    """Everything that the JSON holds."""
    common = (options.model, options.device, options.batch, options.rank, options.steps, options.dtype)
    rows = {recipe: measure_one(Job(recipe, *common)) for recipe in RECIPES}
    shapes = options.shapes if options.shapes is not None else (list(SHAPES) if options.device == "cuda" else [])
    port = rows[PORT]
    result = {
        "device": port["device"],
        "threads": port["threads"],
        "model": options.model,
        "clip": port["clip"],
        "batch": options.batch,
        "rank": options.rank,
        "rows": rows,
        "mask_bytes_2b_49f": mask_bytes_2b_49f(),
        "shapes": {name: measure_one(_shape(name, options)) for name in shapes},
    }
    for recipe, ending in (("ours", ""), ("ours_with_preservation", "_with_preservation")):
        for key, measured in (("ratio_time", "seconds_per_step"), ("ratio_memory", "peak_bytes")):
            result[key + ending] = round(rows[recipe][measured] / port[measured], 3)
    return result


def _shape(name: str, options: argparse.Namespace) -> Job:
    shape = f"shape:{name}"
    return Job("ours_with_preservation", shape, options.device, 1, PAPERS_RANK, options.steps, "bf16", checkpointing=True)


def in_fresh_process(job: Job) -> dict[str, Any]:
    """One measurement, undisturbed by what others have allocated."""
    command = [sys.executable, "-m", "benchmarks.velocity_step", "--job", json.dumps(job.__dict__)]
    folder = Path(__file__).resolve().parents[1]
    answer = subprocess.run(command, cwd=folder, env=os.environ, capture_output=True, text=True)
    if answer.returncode:
        raise RuntimeError(f"{job} failed:\n{answer.stderr[-3000:]}")
    return json.loads(answer.stdout.splitlines()[-1])


def mask_bytes_2b_49f() -> int:
    """The most that reading one clip's mask takes at CogVideoX-2B's 49 x 480 x 720, in bf16."""
    from t2vu_core.families.text_attention import mask_bytes

    return mask_bytes(num_video=13 * 30 * 45, num_text=226, heads=30, head_dim=64, bytes_per_value=2)


def table(result: dict[str, Any]) -> str:
    """For a terminal."""
    frames, height, width = result["clip"]
    lines = [
        f"{result['model']}, {frames} x {height} x {width}, batch {result['batch']}, rank {result['rank']}, "
        f"{result['device']}, {result['threads']} threads",
        "",
        "| step | seconds | of the port's | peak GiB | of the port's |",
        "|---|---|---|---|---|",
    ]
    port = result["rows"][PORT]
    for name, row in result["rows"].items():
        seconds, peak = row["seconds_per_step"], row["peak_bytes"]
        lines.append(
            f"| {RECIPES[name]} | {seconds:.4f} | {seconds / port['seconds_per_step']:.2f} "
            f"| {peak / GIB:.3f} | {peak / port['peak_bytes']:.2f} |"
        )
    lines += ["", "The port learns from the concept alone, its preserve loss has the weight 0; so does the first row."]
    lines.append(f"Memory: {port['memory_measure']}.")
    lines.append(f"Reading a mask at CogVideoX-2B's 49 frames: {result['mask_bytes_2b_49f'] / GIB:.2f} GiB at the most.")
    for name, row in result["shapes"].items():
        share = "" if row["mfu"] is None else f", {100 * row['mfu']:.0f} % of the peak FLOPs"
        clip = " x ".join(map(str, row["clip"]))
        lines.append(
            f"{name}, {clip}, bf16: peak {row['peak_bytes'] / GIB:.1f} GiB, {1 / row['seconds_per_step']:.2f} steps/s{share}."
        )
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="velocity_step", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="miniature", help="a bundled name or a diffusers folder")
    parser.add_argument("--batch", type=int, default=4, help="clips with the concept in a step")
    parser.add_argument("--rank", type=int, default=32, help="width of the erasers, the same for both")
    parser.add_argument("--steps", type=int, default=12, help="steps; the first two and the last two are not timed")
    parser.add_argument("--dtype", choices=("fp32", "bf16"), help="weights; fp32 on a CPU, bf16 on a GPU")
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--shapes", nargs="*", choices=SHAPES, metavar="S", help=f"with a GPU all of {', '.join(SHAPES)}")
    parser.add_argument("--save", action="store_true", help="write the result into benchmarks/results")
    parser.add_argument("--json", action="store_true", help="print everything as JSON")
    parser.add_argument("--job", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
