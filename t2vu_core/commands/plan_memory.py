"""`t2vu plan --memory`: what a training run needs in memory, from the model's configuration files alone."""

from __future__ import annotations

import argparse
import dataclasses
import os
from pathlib import Path
from typing import Any

import torch

from t2vu_core.commands.options import DTYPES, add_placement, placement_of
from t2vu_core.commands.training import settings_of
from t2vu_core.errors import UserError
from t2vu_core.memory.plan import GB, MemoryPlan, Planner
from t2vu_core.memory.wording import NOT_MEASURED, sentence
from t2vu_core.miniature.bundled import bundled_folder
from t2vu_core.recipes import LOW_MEMORY, VelocityRecipe

MARK = "peak_gb"
FLAG = "--memory"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """`--memory`, the clip size, and how the model is held."""
    parser.add_argument("--memory", action="store_true", help="plan the memory of a training run; no weights are loaded")
    parser.add_argument("--num-frames", type=int, metavar="N", help="frames of the training clips (default: the model's own)")
    parser.add_argument("--height", type=int, metavar="H", help="height of the training clips (default: the model's own)")
    parser.add_argument("--width", type=int, metavar="W", help="width of the training clips (default: the model's own)")
    parser.add_argument("--dtype", choices=DTYPES, default="bf16", help="precision of the weights (default: %(default)s)")
    parser.add_argument("--device", help="cpu or cuda (default: a GPU if there is one, or if --memory-limit is given)")
    parser.add_argument("--memory-limit", type=float, metavar="GB", help="what to fit in (default: the device's memory)")
    parser.add_argument("--low-memory", action="store_true", help="with the settings of `t2vu erase --low-memory`")
    add_placement(parser)


def asked(options: argparse.Namespace) -> bool:
    """Whether the memory is to be planned."""
    return bool(options.memory)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """The plan in GB, whether it fits, and the frames that do."""
    if options.model is None:
        raise UserError("--memory needs --model: a bundled model or a diffusers folder.")
    folder = bundled_folder(options.model) or Path(options.model)
    if not (folder / "model_index.json").is_file():
        raise UserError(f"There is no model {options.model!r}: --memory needs the configuration files of a diffusers folder.")
    limit, host_only = _limit(options)
    planner = Planner.of(folder, _recipe(options), DTYPES[options.dtype], placement_of(options), host_only=host_only)
    plan = planner.plan()
    most = planner.most_frames(limit)
    return {**figures(plan), "limit_gb": round(limit / GB, 2), "fits": plan.fits(limit), "most_frames": most and most.size.num_frames,
            "text": sentence(plan, most, limit), "measured": False}  # fmt: skip


def figures(plan: MemoryPlan) -> dict[str, Any]:
    """A plan's figures in GB (10^9 bytes)."""
    parts = ("weights", "loading", "erasers", "prompts", "activations", "sampling", "trajectories", "peak", "needed")
    return {
        "model": plan.model,
        **dataclasses.asdict(plan.size),
        "rows": plan.rows,
        "placement": plan.placement.describe() or "all on the device",
        "trajectories_on": plan.trajectories_on,
        **{f"{name}_gb": round(getattr(plan, name) / GB, 4) for name in parts},
    }


def show(result: dict[str, Any]) -> str:
    """A sentence, and where the memory goes."""
    rows = [
        ("frozen weights while training", "weights_gb"),
        ("weights while prompts are encoded", "loading_gb"),
        ("erasers and Adam's moments", "erasers_gb"),
        ("encoded prompts", "prompts_gb"),
        (f"a training step of {result['rows']} points", "activations_gb"),
        ("a pass that samples trajectories", "sampling_gb"),
        (f"trajectories, {'in host memory' if result['trajectories_on'] == 'memory' else 'on disk'}", "trajectories_gb"),
        ("peak on the device", "peak_gb"),
        ("peak with a reserve", "needed_gb"),
    ]
    width = max(len(name) for name, _ in rows)
    return "\n".join([result["text"], *(f"  {name:<{width}}  {result[key]:8.2f} GB" for name, key in rows), NOT_MEASURED])


def _recipe(options: argparse.Namespace) -> VelocityRecipe:
    size = {name: getattr(options, name) for name in ("num_frames", "height", "width") if getattr(options, name) is not None}
    return VelocityRecipe.preset(
        options.preset, **{**(LOW_MEMORY if options.low_memory else {}), **settings_of(options), **size}
    )


def _limit(options: argparse.Namespace) -> tuple[int, bool]:
    """What to fit in, in bytes, and whether the model computes in the host's memory."""
    given = None if options.memory_limit is None else round(options.memory_limit * GB)
    if given is not None and given <= 0:
        raise UserError(f"--memory-limit is a number of GB above 0, not {options.memory_limit}.")
    return device_limit(options.device, given)


def device_limit(device: str | None, given: int | None = None) -> tuple[int, bool]:
    """The device's memory, or what is given; with it whether that is the host's own memory."""
    on_gpu = (given is not None or torch.cuda.is_available()) if device is None else torch.device(device).type == "cuda"
    if given is not None:
        return given, not on_gpu
    if on_gpu and torch.cuda.is_available():
        return torch.cuda.get_device_properties(device or "cuda").total_memory, False
    if on_gpu:
        raise UserError("There is no GPU to fit in: say how much memory it has with --memory-limit GB.")
    if not hasattr(os, "sysconf"):
        raise UserError("This system does not say how much memory it has: say what to fit in with --memory-limit GB.")
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"), True
