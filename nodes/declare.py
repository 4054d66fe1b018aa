"""What the node declarations share: socket types, category, common inputs, and schema fields of newer ComfyUI."""

import dataclasses
import inspect
from collections.abc import Iterable
from typing import Any

from comfy_api.v0_0_2 import io

from t2vu_core.prompts.lines import prompt_lines

from . import comfy_bridge

ALIASES = ["forget", "remove", "censor", "nsfw", "safety", "copyright", "slider", "negative prompt"]
"""What people search for who want a concept gone."""
CATEGORY = "T2V Unlearning"
MAX_SEED = 2**63 - 1
MAX_TRAINING_STEPS = 100_000
PRESETS_OWN, MODELS_OWN = "as in the preset", "as in the model"
"""What the number 0 stands for, in settings that cannot be 0."""

Model = io.Custom("T2VU_MODEL")
Eraser = io.Custom("T2VU_ERASER")
UnlearnedEncoder = io.Custom("T2VU_ENCODER")
ImageModelSocket = io.Custom("T2VU_IMAGE_MODEL")


def schema(**fields: Any) -> io.Schema:
    """A Schema in the pack's category, without the fields that this ComfyUI's Schema does not have."""
    known = {field.name for field in dataclasses.fields(io.Schema)}
    return io.Schema(category=CATEGORY, **{name: value for name, value in fields.items() if name in known})


def advanced(kind: Any, *args: Any, **options: Any) -> io.Input:
    """An input that is rarely used and folded: by ComfyUI 0.10 and newer, else by web/js/labels.js."""
    if "advanced" in inspect.signature(kind.Input).parameters:
        return kind.Input(*args, advanced=True, **options)
    return _told(kind.Input(*args, **options), advanced=True)


def _told(declared: io.Input, **facts: Any) -> io.Input:
    """The input with more facts for the frontend; the server does not read them."""
    declared.extra_dict = {**(declared.extra_dict or {}), **facts}
    return declared


def preset_input(presets: Iterable[str], tooltip: str = "How long and how carefully to train.") -> io.Input:
    """A preset of a recipe or of an evaluation; the default is quick."""
    return io.Combo.Input("preset", options=list(presets), default="quick", tooltip=tooltip)


def seed_input(tooltip: str, *, changes: bool = False) -> io.Input:
    """A seed; with `changes`, ComfyUI can choose another one after every run."""
    return io.Int.Input("seed", default=0, min=0, max=MAX_SEED, control_after_generate=changes, tooltip=tooltip)


def text_input(
    name: str, tooltip: str, *, example: str | None = None, optional: bool = False, folded: bool = False
) -> io.Input:
    """Multiline text, empty by default; `lines` splits one that has an entry per line.

    Classic nodes show the placeholder where others have a label, so the name comes first in it.
    """
    placeholder = f"{name}: for example {example}" if example else name
    options = {"multiline": True, "default": "", "placeholder": placeholder, "optional": optional, "tooltip": tooltip}
    return advanced(io.String, name, **options) if folded else io.String.Input(name, **options)


def synonyms_input() -> io.Input:
    """Other names of the concept."""
    return text_input(
        "synonyms", "Other names of the concept, one per line. They are erased too.", example="phantom", optional=True
    )


def preserve_prompts_input() -> io.Input:
    """Prompts that must keep working."""
    tooltip = "Prompts that must keep working, one per line. They come before the model's own set."
    return text_input("preserve_prompts", tooltip, optional=True, folded=True)


def number_input(
    kind: Any, name: str, most: float, tooltip: str, *, zero: str, folded: bool = False, **options: Any
) -> io.Input:
    """A number from 0 to `most`. 0 is the default and stands for `zero`, which the node shows in its place."""
    least = type(most)()
    options |= {"default": least, "min": least, "max": most, "optional": True, "tooltip": f"{tooltip} 0: {zero}."}
    return _told(advanced(kind, name, **options) if folded else kind.Input(name, **options), t2vu_zero=zero)


def steps_input(tooltip: str) -> io.Input:
    """The number of training steps."""
    return number_input(io.Int, "steps", MAX_TRAINING_STEPS, tooltip, zero=PRESETS_OWN, folded=True)


def strength_input(what: str) -> io.Input:
    """The strength of an erasure that is applied to `what`."""
    tooltip = f"0: the original {what}. 1: as trained. Above 1: erases more and harms other concepts more."
    return io.Float.Input("strength", default=1.0, min=0.0, max=10.0, step=0.05, tooltip=tooltip)


def other_base_input(tooltip: str) -> io.Input:
    """Whether an erasure may be applied to weights that it was not trained on."""
    return advanced(io.Boolean, "allow_other_base", default=False, optional=True, tooltip=tooltip)


def file_name_input(folder: str) -> io.Input:
    """The name of a file to write to `folder`."""
    tooltip = f"File name in {folder}. styles/noir makes a subfolder. Empty: the concept's name."
    return io.String.Input("name", default="", tooltip=tooltip)


def lora_file_inputs() -> list[io.Input]:
    """The folder and name of a LoRA file, and whether it may replace another."""
    tooltip = "models/loras: Load LoRA lists the file. output/loras: for use elsewhere."
    folders = list(comfy_bridge.LORA_FOLDERS)
    folder = io.Combo.Input("folder", options=folders, default=folders[0], tooltip=tooltip)
    return [folder, file_name_input("that folder"), overwrite_input()]


def overwrite_input() -> io.Input:
    """Whether a file of that name is replaced."""
    tooltip = "Replace a file of that name. Off: a number is added and both are kept."
    return io.Boolean.Input("overwrite", default=False, optional=True, tooltip=tooltip)


def lines(text: str | None) -> tuple[str, ...]:
    """The entries of a text field, one per line, read as the prompt files of the command line are."""
    return tuple(prompt_lines(text or "", "A text field"))


def nonzero(**numbers: float) -> dict[str, float]:
    """The numbers that are not 0. For settings that cannot be 0, so that 0 can stand for the preset's value."""
    return {name: number for name, number in numbers.items() if number}
