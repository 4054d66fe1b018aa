"""What a training step costs on ComfyUI's own models, with ComfyUI's memory management: `python -m benchmarks.native_step`.

Models in the shape of Wan 2.1 with random weights (see native_models.py), loaded by ComfyUI in bf16, fp8 or scaled fp8, and
trained by `erase_velocity` as a graph does it, with preservation, batch 1 and gradient checkpointing. A row is
`SHAPE:PRECISION`, or `SHAPE:PRECISION:GIB` for a card of that size: ComfyUI then keeps on the GPU what fits there, fetches the
rest for every pass, and PyTorch raises an error where more is allocated than such a card has. `diffusers:SHAPE` and
`diffusers:SHAPE:fp8` are the same step on the diffusers family of the same shape.

Each row is measured in a process of its own, by the meter of velocity_step: seconds, peak memory, what of the weights stays on
the GPU, and the erasers' gradients. These must be finite; `difference` is how far they are, relative to their norm, from those
of the first row of the shape: what precision and fetching change. `--plan` prints the planned memory of rows without a card.
COMFYUI_DIR chooses the ComfyUI.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file

from benchmarks.fp8_gradients import difference, gradient_of
from benchmarks.fresh_processes import Failed, FreshProcesses
from benchmarks.native_models import GIB, NAMES, PRECISIONS, denoiser_bytes, limit_card, native_model, start_comfyui
from benchmarks.step_measures import BEFORE_KINDS, MEASURED, WARM_UP, Job, keep, measure
from t2vu_core.memory.explain import plan_of
from t2vu_core.recipes import EraserType, VelocityRecipe

DIFFUSERS = "diffusers"
DEFAULT_ROWS = (
    "wan-1.3b:bf16", "wan-1.3b:fp8_scaled", "wan-1.3b:bf16:6", "wan-1.3b:fp8", "wan-14b:fp8_scaled:24", "diffusers:wan-1.3b",
    "wan-1.3b:bf16:8", "wan-14b:fp8_scaled:16", "wan-14b:fp8_scaled", "diffusers:wan-1.3b:fp8",
)  # fmt: skip
Result = dict[str, Any]


@dataclass(frozen=True)
class Row:
    """One measurement."""

    name: str
    rank: int
    batch: int
    steps: int
    gradients: str
    """The file with the gradients of the first row of this shape; that row writes it."""
    tiny: bool = False
    kind: EraserType = VelocityRecipe.kind

    @property
    def parts(self) -> tuple[str, str, float | None]:
        """Shape, precision, and the card's GiB."""
        shape, precision, card, *_ = [*self.name.removeprefix(f"{DIFFUSERS}:").split(":"), "", ""]
        return shape, precision or "bf16", float(card) if card else None

    @property
    def job(self) -> Job:
        """For the meter of velocity_step."""
        shape, precision, _ = self.parts
        device = "cuda" if torch.cuda.is_available() else "cpu"
        return Job(
            "ours_with_preservation", f"shape:{shape}", device, self.batch, self.rank, self.steps, "bf16", checkpointing=True,
            fp8=precision != "bf16", tiny=self.tiny, kind=self.kind,
        )  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Measure; print the table, or everything as JSON."""
    options = parser().parse_args(arguments)
    if options.job:
        start_comfyui()
        print(json.dumps(measure_row(Row(**json.loads(sys.stdin.readline())))))
        return 0
    if options.plan:
        start_comfyui()
        for name in options.rows:
            row = Row(name, options.rank, options.batch, options.steps, "", options.tiny, options.kind)
            print(f"{name}: {planned_bytes(row) / GIB:.2f} GiB planned")
        return 0
    if options.device == "cpu":
        os.environ["CUDA_VISIBLE_DEVICES"] = ""
    on_gpu = options.device == "cuda"
    limits = {"budget": options.budget_seconds, "timeout": options.timeout_seconds}
    with FreshProcesses("benchmarks.native_step", ahead=on_gpu, **limits) as processes:
        result = run(options, processes, lambda: processes.spent)
    print(json.dumps(result, indent=1) if options.json else table(result))
    return 1 if result["failed"] else 0


def run(options: argparse.Namespace, measure_one: Callable[[Row], Result], spent: Callable[[], bool]) -> Result:
    """Everything that the JSON holds; it is written after every row."""
    asked = {"kind": options.kind, "rank": options.rank, "batch": options.batch}
    result: Result = {"device": None, **asked, "rows": {}, "failed": {}, "left_out": []}
    with tempfile.TemporaryDirectory() as folder:
        for name in options.rows:
            if spent():
                result["left_out"].append(name)
                continue
            shape = name.removeprefix(f"{DIFFUSERS}:").partition(":")[0]
            gradients = str(Path(folder) / f"{shape}.safetensors")
            try:
                own = Row(name, options.rank, options.batch, options.steps, gradients, options.tiny, options.kind)
                row = measure_one(own)
                result["rows"][name], result["device"] = row, row["device"]
            except Failed as failure:
                result["failed"][name] = str(failure)
            print(f"{time.strftime('%H:%M:%S')} {name}", file=sys.stderr)
            keep(options, result, "native_step")
    keep(options, result, "native_step")
    return result


def measure_row(row: Row) -> Result:
    """Run the row in this process, in which ComfyUI is started."""
    if row.name.startswith(DIFFUSERS):
        return measure(row.job)
    shape, precision, card = row.parts
    start = time.perf_counter()
    model = native_model(shape, precision, tiny=row.tiny)
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
        if card is not None:
            limit_card(card)
    loaded = time.perf_counter() - start
    measured = measure(row.job, model)
    return {
        **measured, "precision": precision, "card_gib": card, "load_seconds": loaded, **denoiser_bytes(model),
        **_gradients(row, model.family),
    }  # fmt: skip


def planned_bytes(row: Row) -> int:
    """What the memory plan says of the step: weights, erasers with their moments, and what a step allocates."""
    shape, precision, _ = row.parts
    recipe = VelocityRecipe(
        kind=row.kind, rank=row.rank, concept_batch=row.batch, preserve_batch=row.batch, gradient_checkpointing=True
    )
    plan = plan_of(native_model(shape, precision, tiny=row.tiny).family, recipe)
    assert plan is not None
    return plan.weights + plan.erasers + plan.activations


def _gradients(row: Row, family: Any) -> Result:
    """Whether they are finite, and how far they are from the first row's."""
    found, file = gradient_of(family, row.job).float().cpu(), Path(row.gradients)
    facts = {"finite": bool(found.isfinite().all()), "norm": float(found.norm())}
    if not file.is_file():
        save_file({"gradient": found}, file)
        return {**facts, "difference": None}
    return {**facts, "difference": difference(found, load_file(file)["gradient"])}


def table(result: Result) -> str:
    """For a terminal or a document."""
    lines = []
    if result["rows"]:
        clips = {" x ".join(map(str, row["clip"])) for row in result["rows"].values()}
        lines = [
            f"A step with preservation on ComfyUI's own models, random weights, {', '.join(sorted(clips))}, batch "
            f"{result['batch']}, {result.get('kind', BEFORE_KINDS)} of rank {result['rank']}, gradient checkpointing, "
            f"{result['device']}:",
            "",
            "| model | computes in | card GiB | seconds a step | peak GiB | weights GiB | of them on the GPU | gradients |",
            "|---|---|---|---|---|---|---|---|",
            *(_line(name, row) for name, row in result["rows"].items()),
        ]
    lines += [f"Failed: {name}: {error}" for name, error in result["failed"].items()]
    return "\n".join(lines + [f"Left out, the budget was spent: {name}." for name in result["left_out"]])


def _line(name: str, row: Result) -> str:
    card = "all" if row.get("card_gib") is None else f"{row['card_gib']:g}"
    weights: int = row["denoiser_bytes" if "denoiser_bytes" in row else "weight_bytes"]
    kept: int = row.get("on_gpu_bytes", weights)
    gradients = "not looked at" if "finite" not in row else "finite" if row["finite"] else "NOT finite"
    if row.get("difference") is not None:
        gradients += f", {row['difference']:.2%} off"
    return (
        f"| {name} | {row['dtype']} | {card} | {row['seconds_per_step']:.3f} | {row['peak_bytes'] / GIB:.2f} "
        f"| {weights / GIB:.2f} | {kept / GIB:.2f} | {gradients} |"
    )


def _row_name(text: str) -> str:
    shape, _, rest = text.removeprefix(f"{DIFFUSERS}:").partition(":")
    precision, _, card = rest.partition(":")
    known = ("", "fp8") if text.startswith(DIFFUSERS) else PRECISIONS
    if shape not in NAMES or precision not in known or not (card == "" or card.replace(".", "", 1).isdigit()):
        raise argparse.ArgumentTypeError(f"{text!r} is no row: write SHAPE:PRECISION, SHAPE:PRECISION:GIB or diffusers:SHAPE")
    return text


def _steps(text: str) -> int:
    steps, least = int(text), WARM_UP + MEASURED + 1
    if steps < least:
        raise argparse.ArgumentTypeError(f"{steps} steps are too few to time one: at least {least} are needed")
    return steps


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="native_step", description=(__doc__ or "").splitlines()[0])
    add = parser.add_argument
    add("--rows", nargs="+", type=_row_name, default=list(DEFAULT_ROWS), metavar="ROW", help="what is measured, in this order")
    add("--kind", choices=VelocityRecipe.choices("kind"), default=VelocityRecipe.kind, help="of the erasers")
    add("--rank", type=int, default=VelocityRecipe.rank, help="of the erasers")
    add("--batch", type=int, default=1, help="clips with the concept in a step")
    add("--steps", type=_steps, default=5, help=f"steps; the first {WARM_UP} and the last {MEASURED} are not timed")
    add("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    add("--budget-seconds", type=float, metavar="N", help="start no measurement later than this")
    add("--timeout-seconds", type=float, metavar="N", help="give up a measurement that takes longer")
    add("--out", type=Path, metavar="FILE", help="write the result there, after every row")
    add("--save", action="store_true", help="write the result into benchmarks/results, after every row")
    add("--json", action="store_true", help="print everything as JSON")
    add("--plan", action="store_true", help="print what the memory plan says of the rows; nothing is measured")
    add("--tiny", action="store_true", help=argparse.SUPPRESS)
    add("--job", action="store_true", help=argparse.SUPPRESS)
    return parser


if __name__ == "__main__":
    sys.exit(main())
