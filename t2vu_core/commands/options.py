"""Options that several commands share, and what they open: the model, erasures, guards and prompt files."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import torch

from t2vu_core.erasure import Erasure
from t2vu_core.errors import UserError, first_line
from t2vu_core.guards import GUARDS, make_guard
from t2vu_core.memory.placement import BASE_DTYPES, OFFLOADS, Placement
from t2vu_core.model import T2VModel, load_model
from t2vu_core.prompts.lines import prompt_lines, read_file

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def add_model(parser: argparse.ArgumentParser) -> None:
    """`--model` and its files, `--dtype`, `--device`."""
    parser.add_argument(
        "--model", required=True, metavar="M",
        help="a bundled model (see `t2vu models`), a diffusers folder, or a denoiser's single file (.safetensors, .gguf)",
    )  # fmt: skip
    add_single_file(parser)
    add_device(parser)


def add_single_file(parser: argparse.ArgumentParser) -> None:
    """`--config`, `--model-low-noise`."""
    parser.add_argument(
        "--config", metavar="DIR",
        help="for a single file: a diffusers folder of the same model with the other components (default: the folder that it "
        "is in)",
    )  # fmt: skip
    parser.add_argument(
        "--model-low-noise", metavar="FILE", help="for a single file: the file of the second denoiser (Wan 2.2 A14B)"
    )


def add_device(parser: argparse.ArgumentParser) -> None:
    """`--dtype`, `--device`."""
    parser.add_argument(
        "--dtype", choices=DTYPES, default="fp32", help="precision of the model's weights (default: %(default)s)"
    )
    parser.add_argument("--device", help="cpu, cuda, cuda:1 or mps (default: a GPU if there is one)")


def add_placement(parser: argparse.ArgumentParser) -> None:
    """`--offload`, `--base-dtype`."""
    parser.add_argument(
        "--offload", choices=OFFLOADS, default="none",
        help="what stays in host memory until it computes: the text encoder and VAE, or the denoiser's blocks too "
        "(default: %(default)s)",
    )  # fmt: skip
    parser.add_argument(
        "--base-dtype", choices=BASE_DTYPES, default="same",
        help="how the frozen denoiser's weights are stored: as --dtype says, or in 8 bits; int8 needs optimum-quanto "
        "(default: %(default)s)",
    )  # fmt: skip


def placement_of(options: argparse.Namespace) -> Placement:
    """The placement of `--offload` and `--base-dtype`; as loaded in a command without them."""
    return Placement(getattr(options, "offload", "none"), getattr(options, "base_dtype", "same"))


def add_erasures(parser: argparse.ArgumentParser) -> None:
    """`--erasure` (repeatable), `--strength`, `--allow-other-base`."""
    parser.add_argument("--erasure", action="append", default=[], metavar="F", help="an erasure file to apply; repeatable")
    parser.add_argument(
        "--strength", type=float, default=1.0, help="strength of the erasures; 1 is as trained (default: %(default)s)"
    )
    parser.add_argument(
        "--allow-other-base", action="store_true", help="apply an erasure even though it was trained on other weights"
    )


def add_guard(parser: argparse.ArgumentParser) -> None:
    """`--guard`."""
    parser.add_argument("--guard", choices=GUARDS, help="keep the concept out while sampling, without training")


def open_model(options: argparse.Namespace, source: str | None = None, *, device: str | None = None) -> T2VModel:
    """The model of `--model`, in the precision of `--dtype` on the device of `--device`.

    `source` and `device` replace `--model` and `--device`.
    """
    name = device or options.device
    own = source is None or source == options.model
    return load_model(
        source or options.model,
        config=getattr(options, "config", None) if own else None,
        model_low_noise=getattr(options, "model_low_noise", None) if own else None,
        dtype=DTYPES[options.dtype],
        device=_usable_device(name) if name else None,
        placement=placement_of(options),
    )


def apply_erasures(model: T2VModel, options: argparse.Namespace) -> T2VModel:
    """The model with the files of `--erasure` applied."""
    for path in options.erasure:
        model = model.with_erasure(Erasure.load(path), options.strength, allow_other_base=options.allow_other_base)
    return model


def apply_guard(model: T2VModel, options: argparse.Namespace, concepts: Sequence[str]) -> T2VModel:
    """The model with the guard of `--guard` against these concepts, or unchanged without one."""
    return model.with_guard(make_guard(options.guard, concepts)) if options.guard else model


def read_prompts(path: str | None) -> list[str]:
    """The prompts of a text file, one per line, without empty lines. Raises UserError if there are none."""
    if path is None:
        return []
    prompts = prompt_lines(read_file(Path(path)), path)
    if not prompts:
        raise UserError(f"{path} contains no prompts: write one per line.")
    return [*prompts]


def _usable_device(name: str) -> torch.device:
    """The device of that name. Raises UserError if this machine or this PyTorch does not support it."""
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"The device {name!r} cannot be used: {first_line(error)}") from error
