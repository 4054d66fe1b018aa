"""What a training step costs, ours against the public port of T2VUnlearning: `python -m benchmarks.velocity_step`.

Same model, batch and clip size, every measurement in a process of its own. Ours is `erase_velocity` with its erasing loss
alone, since that is all that the port's step learns from; our presets preserve too, and their cost is the second row.
The port's step is what its code does, not what its paper says: three passes of the frozen model (concept, nothing,
preserve prompt), two with gradients of a second copy of it (concept, preserve prompt), and a backward pass through
both, although the preserve loss has the weight 0; text encoder and VAE stay where they are. `with preservation` is our
step with as many rows of preserve prompts as rows of the concept, in the same single pass.

Memory is the peak of a step: on a GPU what its allocator counts; on a CPU the model's weights, the erasers with their
gradients and moments, our cached trajectories, and every allocation that the profiler sees in a step.

With a GPU, also our step at the sizes of released models with random weights (see step_shapes.py), where `:fp8` behind a
shape stores the frozen denoiser in 8 bits, and whether the erasers' gradients survive that (see fp8_gradients.py). These
come first, in the order given; with a budget of seconds, what is last may be left out.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from benchmarks.fp8_gradients import measure_gradients
from benchmarks.fresh_processes import Failed, FreshProcesses
from benchmarks.step_measures import BEFORE_KINDS, MEASURED, PORT, RECIPES, WARM_UP, Job, keep, measure
from benchmarks.step_shapes import SHAPES
from t2vu_core.families.text_attention import mask_bytes
from t2vu_core.recipes import VelocityRecipe

GIB = 2**30
FP8 = ":fp8"
STORED = [*SHAPES, *(f"{name}{FP8}" for name in SHAPES)]
GRADIENTS = "gradients"
"""The recipe of a job that compares gradients."""
Result = dict[str, Any]


def main(arguments: list[str] | None = None) -> int:
    """Measure; print the table, or everything as JSON."""
    options = parser().parse_args(arguments)
    if options.job:
        job = Job(**json.loads(sys.stdin.readline()))
        print(json.dumps(measure_gradients(job) if job.recipe == GRADIENTS else measure(job)))
        return 0
    with FreshProcesses(
        "benchmarks.velocity_step",
        ahead=options.device == "cuda",
        budget=options.budget_seconds,
        timeout=options.timeout_seconds,
    ) as processes:
        result = run(options, processes, lambda result: keep(options, result, "velocity_step"), lambda: processes.spent)
    print(json.dumps(result, indent=1) if options.json else table(result))
    return 1 if result["failed"] else 0


def run(
    options: argparse.Namespace,
    measure_one: Callable[[Job], Result],
    keep: Callable[[Result], None] = lambda result: None,
    spent: Callable[[], bool] = lambda: False,
) -> Result:
    """Everything that the JSON holds; `keep` gets it after every measurement, none starts once the time is `spent`."""
    result: Result = {
        "device": None, "threads": None, "model": options.model, "clip": None, "batch": options.batch, "kind": options.kind,
        "rank": options.rank,
        "rows": {}, "mask_bytes_2b_49f": mask_bytes_2b_49f(), "shapes": {}, GRADIENTS: {}, "failed": {}, "left_out": [],
    }  # fmt: skip
    for group, name, job in jobs(options):
        if spent():
            result["left_out"].append(f"{group}: {name}")
            continue
        _measure(result, group, name, job, measure_one)
        keep(result)
    if result["left_out"]:
        keep(result)
    return result


def _measure(result: Result, group: str, name: str, job: Job, measure_one: Callable[[Job], Result]) -> None:
    """One measurement more in the result."""
    try:
        row = result[group][name] = measure_one(job)
    except Failed as failure:
        result["failed"][f"{group}: {name}"] = str(failure)
    else:
        if group == "rows":
            result["clip"] = row["clip"]
            _compare(result)
        result.update({fact: row[fact] for fact in ("device", "threads") if fact in row})
    print(f"{time.strftime('%H:%M:%S')} {group}: {name}", file=sys.stderr)


def jobs(options: argparse.Namespace) -> Iterator[tuple[str, str, Job]]:
    """What is measured: its group in the result, its name there, and how."""
    on_gpu = options.device == "cuda"
    for name in options.shapes if options.shapes is not None else (list(SHAPES) if on_gpu else []):
        yield "shapes", name, _shape("ours_with_preservation", name, options)
    for name in options.gradients:
        yield GRADIENTS, name, _shape(GRADIENTS, name, options)
    common = (options.model, options.device, options.batch, options.rank, options.steps, options.dtype)
    for recipe in options.rows:
        yield "rows", recipe, Job(recipe, *common, tiny=options.tiny, kind=options.kind)


def _shape(recipe: str, name: str, options: argparse.Namespace) -> Job:
    shape, fp8 = f"shape:{name.removesuffix(FP8)}", name.endswith(FP8)
    return Job(
        recipe, shape, options.device, 1, options.rank, options.steps, "bf16", checkpointing=True, fp8=fp8, tiny=options.tiny,
        kind=options.kind,
    )  # fmt: skip


def _compare(result: Result) -> None:
    """Our rows as shares of the port's, once they are there."""
    rows = result["rows"]
    for recipe, ending in (("ours", ""), ("ours_with_preservation", "_with_preservation")):
        if recipe in rows and PORT in rows:
            for key, measured in (("ratio_time", "seconds_per_step"), ("ratio_memory", "peak_bytes")):
                result[key + ending] = round(rows[recipe][measured] / rows[PORT][measured], 3)


def mask_bytes_2b_49f() -> int:
    """The most that reading one clip's mask takes at CogVideoX-2B's 49 x 480 x 720, in bf16."""
    return mask_bytes(num_video=13 * 30 * 45, num_text=226, heads=30, head_dim=64, bytes_per_value=2)


def table(result: Result) -> str:
    """For a terminal or a document."""
    parts = [_rows(result), _shapes(result), _gradients(result), _missing(result)]
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def _rows(result: Result) -> list[str]:
    """Ours against the port."""
    if not result["rows"]:
        return []
    frames, height, width = result["clip"]
    lines = [
        f"{_model(result['model'])}, {frames} x {height} x {width}, batch {result['batch']}, {_erasers(result)}, "
        f"{result['device']}, {result['threads']} threads",
        "",
        "| step | seconds | of the port's | peak GiB | of the port's |",
        "|---|---|---|---|---|",
    ]
    port = result["rows"].get(PORT)
    for name, row in result["rows"].items():
        seconds, peak = row["seconds_per_step"], row["peak_bytes"]
        of_time, of_memory = (f"{row[key] / port[key]:.2f}" if port else "-" for key in ("seconds_per_step", "peak_bytes"))
        lines.append(f"| {RECIPES[name]} | {seconds:.4f} | {of_time} | {peak / GIB:.3f} | {of_memory} |")
    any_row = next(iter(result["rows"].values()))
    lines += ["", "The port learns from the concept alone, its preserve loss has the weight 0; so does the first row."]
    lines.append(f"Memory: {any_row['memory_measure']}.")
    lines.append(f"Reading a mask at CogVideoX-2B's 49 frames: {result['mask_bytes_2b_49f'] / GIB:.2f} GiB at the most.")
    return lines


def _erasers(result: Result) -> str:
    return f"{result.get('kind', BEFORE_KINDS)} of rank {result['rank']}"


def _model(name: str) -> str:
    return f"{name.removeprefix('shape:')} with random weights" if name.startswith("shape:") else name


def _shapes(result: Result) -> list[str]:
    """Our step at the sizes of released models."""
    if not result["shapes"]:
        return []
    lines = [
        f"Our step with preservation at released sizes, random weights, batch 1, {_erasers(result)}, gradient checkpointing, "
        f"computed in bf16, {result['device']}:",
        "",
        "| model | clip | frozen base in | seconds a step | peak GiB | weights GiB | of the peak FLOPs |",
        "|---|---|---|---|---|---|---|",
    ]
    for name, row in result["shapes"].items():
        share = "-" if row["mfu"] is None else f"{100 * row['mfu']:.0f} %"
        clip, stored = " x ".join(map(str, row["clip"])), "fp8" if row["fp8"] else "bf16"
        lines.append(
            f"| {name.removesuffix(FP8)} | {clip} | {stored} | {row['seconds_per_step']:.3f} "
            f"| {row['peak_bytes'] / GIB:.1f} | {row['weight_bytes'] / GIB:.1f} | {share} |"
        )
    return lines


def _gradients(result: Result) -> list[str]:
    """What fp8 does to the erasers' gradients."""
    return [
        f"{name}, gradients of the erasers with the frozen base in fp8: {'finite' if row['finite'] else 'NOT finite'}; they "
        f"differ by {100 * row['difference_to_rounded_weights']:.2f} % from those of the same rounded weights in bf16 and by "
        f"{100 * row['difference_to_bf16']:.2f} % from those of the unrounded weights (cosine {row['cosine_to_bf16']:.4f})."
        for name, row in result.get(GRADIENTS, {}).items()
    ]


def _missing(result: Result) -> list[str]:
    failed = [f"Failed: {name}: {error}" for name, error in result.get("failed", {}).items()]
    return failed + [f"Left out, the budget was spent: {name}." for name in result.get("left_out", [])]


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="velocity_step", description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--model", default="miniature", help="a bundled name, a diffusers folder or shape:S")
    add("--batch", type=int, default=4, help="clips with the concept in a step")
    add("--kind", choices=VelocityRecipe.choices("kind"), default=VelocityRecipe.kind, help="of our erasers")
    add("--rank", type=int, default=VelocityRecipe.rank, help="of the erasers, the same for both")
    add("--steps", type=_steps, default=12, help=f"steps; the first {WARM_UP} and the last {MEASURED} are not timed")
    add("--dtype", choices=("fp32", "bf16"), help="weights; fp32 on a CPU, bf16 on a GPU")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--rows", nargs="*", choices=RECIPES, default=list(RECIPES), metavar="R", help=f"of {', '.join(RECIPES)}")
    add("--shapes", nargs="*", choices=STORED, metavar="S", help=f"with a GPU all of {', '.join(SHAPES)}; or S{FP8}")
    add("--gradients", nargs="*", choices=SHAPES, default=[], metavar="S", help="compare gradients with fp8 at these shapes")
    add("--budget-seconds", type=float, metavar="N", help="start no measurement later than this")
    add("--timeout-seconds", type=float, metavar="N", help="give up a measurement that takes longer")
    add("--out", type=Path, metavar="FILE", help="write the result there, after every measurement")
    add("--save", action="store_true", help="write the result into benchmarks/results, after every measurement")
    add("--json", action="store_true", help="print everything as JSON")
    add("--tiny", action="store_true", help=argparse.SUPPRESS)
    add("--job", action="store_true", help=argparse.SUPPRESS)
    return parser


def _steps(text: str) -> int:
    steps, least = int(text), WARM_UP + MEASURED + 1
    if steps < least:
        raise argparse.ArgumentTypeError(f"{steps} steps are too few to time one: at least {least} are needed")
    return steps


if __name__ == "__main__":
    sys.exit(main())
