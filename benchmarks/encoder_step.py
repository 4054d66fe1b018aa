"""Cost of few-shot unlearning at the sizes of released models, with random weights: `python -m benchmarks.encoder_step`.

Without a GPU, it computes memory sizes: the weights of denoiser and text encoder in bf16, and the trained parameters with
gradients and Adam's moments in fp32. With a GPU, it also runs the training that users run (the paper's 4 shots, its 8 and
40 steps) and measures seconds and peak memory.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn

from benchmarks.encoder_shapes import SHAPES, Shaped, shaped
from benchmarks.step_measures import weight_bytes
from t2vu_core.erasure import atomic_path
from t2vu_core.families.eraser_site import EraserSite
from t2vu_core.families.text import Text
from t2vu_core.families.text_condition import TextCondition
from t2vu_core.recipes import FewShotRecipe
from t2vu_core.text_encoders import trained_sites
from t2vu_core.training.few_shot.train import unlearn_encoder

RESULTS = Path(__file__).parent / "results"
GIB = 2**30
STATE_BYTES = 16
"""Bytes per trained parameter: value, gradient and Adam's two moments, in fp32."""
STEPS = (8, 40)
SHOTS = 4


def main(arguments: list[str] | None = None) -> int:
    """Measure; print the table, or all results as JSON."""
    options = _parser().parse_args(arguments)
    result = run(options)
    print(json.dumps(result, indent=1) if options.json else table(result))
    return 0


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Sizes of each shape and, with a GPU, a training run for each number of steps; written after each of them."""
    gpu, start = options.device == "cuda", time.monotonic()
    rows: dict[str, Any] = {}
    result = {"device": torch.cuda.get_device_name() if gpu else "no GPU", "shots": SHOTS, "rows": rows}
    for name in options.shapes:
        rows[name] = {**sizes(shaped(name, torch.device("meta"))), "trainings": []}
        for steps in options.steps if gpu else []:
            if options.budget_seconds is None or time.monotonic() - start < options.budget_seconds:
                rows[name]["trainings"].append(training(name, torch.device("cuda"), steps))
                _keep(options, result)
    _keep(options, result)
    return result


def _keep(options: argparse.Namespace, result: dict[str, Any]) -> None:
    """Write what there is so far to where it is wanted."""
    paths = [options.out] if options.out else []
    if options.save:
        name = "".join(letter if letter.isalnum() else "_" for letter in result["device"]).strip("_").lower()
        paths.append(RESULTS / f"encoder_step-{name}.json")
    for path in paths:
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


def sizes(models: Shaped, trained: str = "auto") -> dict[str, Any]:
    """Bytes of the weights in bf16, the layers that `auto` trains, and the bytes of the training state."""
    pipeline = models.gradient_pipeline
    sites = trained_sites(Text.of(pipeline), trained, lambda: _passing(pipeline))  # type: ignore[arg-type]
    recipe = FewShotRecipe()
    parameters = sum(_trained_parameters(site, recipe.rank) for site in sites)
    denoiser = pipeline.unet if hasattr(pipeline, "unet") else pipeline.transformer
    return {
        "denoiser_bytes": _bf16_bytes(denoiser),
        "encoder_bytes": sum(_bf16_bytes(encoder) for encoder in Text.of(pipeline).encoders.values()),
        "vae_bytes": _bf16_bytes(pipeline.vae),
        "trained": "low-rank factors" if sites[0].kind == "lora" else "feed-forward layers and the last attention",
        "trained_parameters": parameters,
        "state_bytes": STATE_BYTES * parameters,
    }


def training(
    name: str, device: torch.device, steps: int, *, smaller: Mapping[str, Any] | None = None, **settings: Any
) -> dict[str, Any]:
    """Shots and training as users run them, on random weights; `smaller` is as in `shaped`, `settings` are the recipe's."""
    models = shaped(name, device, **(smaller or {}))
    recipe = FewShotRecipe(**{"shots": SHOTS, "steps": steps, "stop_at": -100.0, **settings})
    cuda = device.type == "cuda"
    if cuda:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
    start = time.perf_counter()
    erasure = unlearn_encoder(models.model, "ghost", recipe, image_model=models.image_model)
    seconds = time.perf_counter() - start
    return {
        "steps": steps,
        "seconds": seconds,
        "shot_seconds": erasure.training["shot_seconds"],
        "peak_bytes": torch.cuda.max_memory_allocated() if cuda else None,
        "weight_bytes": weight_bytes(models.modules),
        "trained_parameters": erasure.training["parameters"],
    }


def table(result: dict[str, Any]) -> str:
    """The results as a Markdown table."""
    lines = [
        "| model | denoiser GiB | text encoder GiB | trained | parameters | training state GiB |",
        "|---|---|---|---|---|---|",
    ]
    for name, row in result["rows"].items():
        weights = f"{row['denoiser_bytes'] / GIB:.2f} | {row['encoder_bytes'] / GIB:.2f}"
        state = f"{row['trained_parameters'] / 1e6:.1f} M | {row['state_bytes'] / GIB:.2f}"
        lines.append(f"| {name} | {weights} | {row['trained']} | {state} |")
    lines += ["", "Weights in bf16. Activations come on top; large denoisers and text encoders keep none of their inside."]
    for name, row in result["rows"].items():
        for done in row["trainings"]:
            lines.append(
                f"{name} on {result['device']}, {result['shots']} shots, {done['steps']} steps: {done['seconds']:.1f} s, of "
                f"them {done['shot_seconds']:.1f} s for the shots; peak {done['peak_bytes'] / GIB:.2f} GiB."
            )
    return "\n".join(lines)


def _passing(pipeline: Any) -> TextCondition:
    """A forward pass of each encoder on dummy tokens; the pipeline's own encoding would need real values."""
    ids = torch.zeros(1, 16, dtype=torch.long, device="meta")
    return TextCondition(torch.cat([encoder(ids)[0] for encoder in Text.of(pipeline).encoders.values()]))


def _trained_parameters(site: EraserSite, rank: int) -> int:
    if site.kind == "lora":
        assert isinstance(site.module, nn.Linear)
        return rank * (site.module.in_features + site.module.out_features)
    return sum(parameter.numel() for parameter in site.module.parameters())


def _bf16_bytes(module: nn.Module) -> int:
    return 2 * sum(parameter.numel() for parameter in module.parameters())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="encoder_step", description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "--shapes", nargs="*", choices=SHAPES, default=list(SHAPES), metavar="S", help=f"of {', '.join(SHAPES)}"
    )
    parser.add_argument("--steps", nargs="+", type=int, default=list(STEPS), metavar="N", help="with a GPU, of each training")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda" if torch.cuda.is_available() else "cpu")
    parser.add_argument("--budget-seconds", type=float, metavar="N", help="start no training later than this")
    parser.add_argument("--out", type=Path, metavar="FILE", help="write the result there, after every training")
    parser.add_argument("--save", action="store_true", help="write the result into benchmarks/results, after every training")
    parser.add_argument("--json", action="store_true", help="print all results as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
