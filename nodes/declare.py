"""What the nodes' declarations share: sockets, category, inputs that several nodes have, fields of newer ComfyUI."""

import dataclasses
import inspect
from collections.abc import Iterable
from typing import Any

from comfy_api.v0_0_2 import io

CATEGORY = "T2V Unlearning"
MAX_SEED = 2**63 - 1
MAX_TRAINING_STEPS = 100_000

Model = io.Custom("T2VU_MODEL")
Eraser = io.Custom("T2VU_ERASER")
UnlearnedEncoder = io.Custom("T2VU_ENCODER")


def schema(**fields: Any) -> io.Schema:
    """A Schema in the pack's category; fields that this ComfyUI's Schema does not have are left out."""
    known = {field.name for field in dataclasses.fields(io.Schema)}
    return io.Schema(category=CATEGORY, **{name: value for name, value in fields.items() if name in known})


def advanced(kind: Any, *args: Any, **options: Any) -> io.Input:
    """An input that ComfyUI 0.10 and newer folds away."""
    if "advanced" in inspect.signature(kind.Input).parameters:
        options["advanced"] = True
    return kind.Input(*args, **options)


def preset_input(presets: Iterable[str], tooltip: str = "How long and how carefully to train.") -> io.Input:
    """One of the presets of a recipe or of an evaluation, at first the quick one."""
    return io.Combo.Input("preset", options=list(presets), default="quick", tooltip=tooltip)


def seed_input(tooltip: str, *, changes: bool = False) -> io.Input:
    """A seed; `changes`: ComfyUI may give another one after every run."""
    return io.Int.Input("seed", default=0, min=0, max=MAX_SEED, control_after_generate=changes, tooltip=tooltip)


def text_input(name: str, tooltip: str, *, placeholder: str | None = None, optional: bool = False) -> io.Input:
    """Text of several lines, empty at first; `lines` reads one that holds an entry a line."""
    return io.String.Input(name, multiline=True, default="", placeholder=placeholder, optional=optional, tooltip=tooltip)


def synonyms_input() -> io.Input:
    return text_input("synonyms", "Other words for the concept, one a line. They are erased too.", optional=True)


def preserve_prompts_input() -> io.Input:
    """Prompts to keep."""
    tooltip = "Prompts that must keep working, one a line. They come before the model's own set."
    return text_input("preserve_prompts", tooltip, optional=True)


def number_input(kind: Any, name: str, most: float, tooltip: str, *, folded: bool = False, **options: Any) -> io.Input:
    """A number from 0 to `most`, at first 0, which stands for the model's or the preset's own."""
    zero = type(most)()
    options |= {"default": zero, "min": zero, "max": most, "optional": True, "tooltip": tooltip}
    return advanced(kind, name, **options) if folded else kind.Input(name, **options)


def steps_input(tooltip: str) -> io.Input:
    """The length of a training."""
    return number_input(io.Int, "steps", MAX_TRAINING_STEPS, f"{tooltip} 0: as many as the preset has.", folded=True)


def strength_input(what: str) -> io.Input:
    """The strength of an erasure; `what` it is put on is said."""
    tooltip = f"0: the {what} as it was. 1: as trained. Above 1: more is erased, and more is harmed."
    return io.Float.Input("strength", default=1.0, min=0.0, max=10.0, step=0.05, tooltip=tooltip)


def other_base_input(what: str) -> io.Input:
    """Whether `what` may be applied to weights that it was not trained on."""
    tooltip = f"Apply {what} although it was trained on other weights, such as those of a fine-tune."
    return advanced(io.Boolean, "allow_other_base", default=False, optional=True, tooltip=tooltip)


def file_name_input(folder: str) -> io.Input:
    """The name of a file to write into `folder`."""
    tooltip = f"File name in {folder}; styles/noir makes a subfolder. Empty: the concept's name."
    return io.String.Input("name", default="", placeholder="the concept's name", tooltip=tooltip)


def overwrite_input() -> io.Input:
    tooltip = "Replace a file of that name. Off: a number is added and both are kept."
    return io.Boolean.Input("overwrite", default=False, optional=True, tooltip=tooltip)


def lines(text: str | None) -> list[str]:
    """One entry a line, without the empty ones."""
    return [line.strip() for line in (text or "").splitlines() if line.strip()]
