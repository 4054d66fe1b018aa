"""`t2vu plan --memory`: what a training run needs in memory, from the model's configuration files alone."""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any

from t2vu_core.commands.options import DTYPES, add_placement, add_single_file, placement_of
from t2vu_core.commands.training import settings_of
from t2vu_core.errors import UserError
from t2vu_core.memory.explain import limit_of
from t2vu_core.memory.plan import GB, MemoryPlan, Planner
from t2vu_core.memory.presets import MEMORIES, fixed_settings, memory_preset
from t2vu_core.memory.shapes import check_source
from t2vu_core.memory.wording import NOT_MEASURED, sentence
from t2vu_core.model_source import ModelSource
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
    parser.add_argument(
        "--presets", action="store_true",
        help=f"also choose settings for GPUs of {', '.join(map(str, MEMORIES))} GB, as `t2vu erase --memory` does",
    )  # fmt: skip
    add_single_file(parser)
    add_placement(parser)


def asked(options: argparse.Namespace) -> bool:
    """Whether the memory is to be planned."""
    return bool(options.memory)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """The plan in GB, whether it fits, and the frames that do."""
    if options.model is None:
        raise UserError("--memory needs --model: a bundled model, a diffusers folder or a single file.")
    source = check_source(options.model, options.config, options.model_low_noise)
    limit, host_only = limit_of(options.device, options.memory_limit)
    planner = Planner.of(source, _recipe(options), DTYPES[options.dtype], placement_of(options))
    planner.host_only = host_only
    plan, most = planner.plan(), planner.most_frames(limit)
    presets = {"presets": _presets(options, source)} if options.presets else {}
    return {
        **figures(plan),
        "limit_gb": round(limit / GB, 2),
        "fits": plan.fits(limit),
        "most_frames": None if most is None else most.size.num_frames,
        "measured": False,
        "text": sentence(plan, most, limit),
        **presets,
    }


def figures(plan: MemoryPlan) -> dict[str, Any]:
    """A plan's figures in GB (10^9 bytes)."""
    parts = (
        "weights",
        "loading",
        "encoding",
        "erasers",
        "prompts",
        "activations",
        "sampling",
        "trajectories",
        "peak",
        "needed",
    )
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
        ("encoding a batch of prompts", "encoding_gb"),
        ("erasers and Adam's moments", "erasers_gb"),
        ("encoded prompts", "prompts_gb"),
        (f"a training step of {result['rows']} points", "activations_gb"),
        ("a pass that samples trajectories", "sampling_gb"),
        (f"trajectories, {'in host memory' if result['trajectories_on'] == 'memory' else 'on disk'}", "trajectories_gb"),
        ("peak on the device", "peak_gb"),
        ("peak with a reserve", "needed_gb"),
    ]
    width = max(len(name) for name, _ in rows)
    lines = [f"  {name:<{width}}  {result[key]:8.2f} GB" for name, key in rows]
    return "\n".join([result["text"], *lines, NOT_MEASURED, *(each["text"] for each in result.get("presets", ()))])


def _recipe(options: argparse.Namespace) -> VelocityRecipe:
    size = {name: value for name, value in _sizes(options).items() if value is not None}
    return VelocityRecipe.preset(
        options.preset, **{**(LOW_MEMORY if options.low_memory else {}), **settings_of(options), **size}
    )


def _presets(options: argparse.Namespace, source: ModelSource) -> list[dict[str, Any]]:
    """What is chosen for each of the usual sizes of a GPU; settings that were given stay."""
    recipe, given = _recipe(options), {name: value for name, value in _sizes(options).items() if value is not None}
    fixed = fixed_settings({**settings_of(options), **given})
    found = []
    for memory in MEMORIES:
        try:
            preset = memory_preset(source, memory * GB, recipe, DTYPES[options.dtype], fixed)
        except UserError as error:
            found.append({"memory_gb": memory, "fits": False, "text": f"{memory} GB: {error}"})
            continue
        placement = {"offload": preset.placement.offload, "base_dtype": preset.placement.base_dtype}
        settings = {**preset.settings, **placement}
        found.append(
            {"memory_gb": memory, "fits": True, "settings": settings, **figures(preset.plan), "text": preset.describe()}
        )
    return found


def _sizes(options: argparse.Namespace) -> dict[str, int | None]:
    return {name: getattr(options, name) for name in ("num_frames", "height", "width")}
