"""The only file that touches ComfyUI itself: progress, cancel, devices, folders, and its inference mode."""

import json
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import comfy.lora
import comfy.model_management
import comfy.utils
import folder_paths
import torch
from server import PromptServer
from torch import Tensor

from t2vu_core.erasure import Erasure
from t2vu_core.errors import UserError
from t2vu_core.families import FAMILIES
from t2vu_core.interchange.clip_objects import clip_tensors
from t2vu_core.miniature.bundled import bundled_folder, bundled_image_folder, bundled_names, image_model_names

from .pictures import preview_picture

MODELS = "t2v"
LANGUAGE_MODELS = "LLM"
LORAS = "loras"
LORA_FOLDERS = ("models/loras", "output/loras")
ERASURES = "erasures"
SUFFIX = ".safetensors"
PREVIEW_SECONDS = 0.7
PREVIEW_SHARE = 0.1

outside_inference_mode = torch.inference_mode(mode=False)
"""Decorator for `execute`. ComfyUI runs nodes in inference mode, and tensors made there can never be trained."""


def register_folders() -> None:
    """`models/t2v` for diffusers folders, `models/LLM` for language models, `models/` and `output/erasures` for erasures."""
    models, output = folder_paths.models_dir, folder_paths.get_output_directory()
    _add_folders(MODELS, [os.path.join(models, MODELS)], set())
    _add_folders(LANGUAGE_MODELS, [os.path.join(models, LANGUAGE_MODELS)], set())
    _add_folders(ERASURES, [os.path.join(output, ERASURES), os.path.join(models, ERASURES)], {SUFFIX})


def _add_folders(kind: str, folders: list[str], extensions: set[str]) -> None:
    known, _ = folder_paths.folder_names_and_paths.get(kind, ([], set()))
    folder_paths.folder_names_and_paths[kind] = ([*known, *(f for f in folders if f not in known)], extensions)


Cancelled = comfy.model_management.InterruptProcessingException
"""What a report raises once the user has cancelled."""


def cancel_the_rest() -> None:
    """Stop the run before the next node; what this node gives stays in ComfyUI's cache."""
    comfy.model_management.interrupt_current_processing()


class Progress:
    """A node's progress bar, text and preview. Every report is also where ComfyUI's cancel takes effect."""

    def __init__(self, node_id: str | None) -> None:
        self._node_id = node_id
        self._bar = comfy.utils.ProgressBar(1)
        self._started = time.monotonic()
        self._previewed = -math.inf
        self._spent = 0.0

    def report(self, step: int, total: int, preview: Callable[[], Tensor] | None = None) -> None:
        """Show that `step` of `total` is done; raises ComfyUI's own exception if the user has cancelled."""
        comfy.model_management.throw_exception_if_processing_interrupted()
        picture = ("JPEG", self._picture(preview), None) if preview and self._preview_is_due() else None
        self._bar.update_absolute(step, total, picture)

    def say(self, text: str) -> None:
        """Write a line under the node."""
        if self._node_id is not None:
            PromptServer.instance.send_progress_text(text, self._node_id)

    def _preview_is_due(self) -> bool:
        """Now and then only: making a preview costs a decode, which is dear in a large model."""
        now = time.monotonic()
        return now - self._previewed >= PREVIEW_SECONDS and self._spent <= PREVIEW_SHARE * (now - self._started)

    def _picture(self, preview: Callable[[], Tensor]) -> object:
        begin = time.monotonic()
        picture = preview_picture(preview())
        self._previewed = time.monotonic()
        self._spent += self._previewed - begin
        return picture


def model_folders() -> dict[str, Path]:
    """Every model that a node can load, by the name it is offered under; the bundled ones first."""
    found = {name: folder for name in bundled_names() if (folder := bundled_folder(name)) is not None}
    return found | _diffusers_folders({name for family in FAMILIES for name in family.pipeline_classes}, found)


def image_model_folders() -> dict[str, Path]:
    """Every text-to-image model of Stable Diffusion's classes, by the name it is offered under; the bundled ones first."""
    found = {name: folder for name in image_model_names() if (folder := bundled_image_folder(name)) is not None}
    return found | _diffusers_folders({"StableDiffusionPipeline"}, found)


def _diffusers_folders(pipelines: set[str], taken: Mapping[str, Path]) -> dict[str, Path]:
    """The diffusers folders of these pipelines in ComfyUI's model folders; a name that is taken is never offered twice."""
    found: dict[str, Path] = {}
    roots = [*folder_paths.get_folder_paths(MODELS), *folder_paths.get_folder_paths("diffusers")]
    for root in map(Path, roots):
        for index in sorted([*root.glob("*/model_index.json"), *root.glob("*/*/model_index.json")]):
            name = index.parent.relative_to(root).as_posix()
            if name not in taken and _pipeline_class(index) in pipelines:
                found.setdefault(name, index.parent)
    return found


def _pipeline_class(index: Path) -> str | None:
    """The class that a model_index.json names; None where it cannot be read, so that one bad folder hides no other."""
    try:
        return json.loads(index.read_text(encoding="utf-8")).get("_class_name")
    except (OSError, ValueError, AttributeError):
        return None


def model_folder(name: str) -> Path:
    """The folder of an offered model; UserError for any other name."""
    offered = model_folders()
    if name not in offered:
        raise UserError(
            f"There is no model {name!r}; there are {', '.join(offered)}. Put diffusers folders into models/{MODELS}."
        )
    return offered[name]


def language_models() -> list[str]:
    """Transformers folders that a node can ask for prompts, by their names under models/LLM."""
    return list(_language_model_folders())


def language_model_folder(name: str) -> Path:
    """The folder of an offered language model; UserError for any other name."""
    offered = _language_model_folders()
    if name not in offered:
        raise UserError(f"There is no language model {name!r} in models/{LANGUAGE_MODELS}; put transformers folders there.")
    return offered[name]


def _language_model_folders() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for root in map(Path, folder_paths.get_folder_paths(LANGUAGE_MODELS)):
        for config in sorted([*root.glob("*/config.json"), *root.glob("*/*/config.json")]):
            found.setdefault(config.parent.relative_to(root).as_posix(), config.parent)
    return found


def fingerprint(path: Path) -> str:
    """Changes when a file, or a file in a folder, is replaced: then the node runs again."""
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    stats = [file.stat() for file in files if file.is_file()]
    return str([(stat.st_mtime_ns, stat.st_size) for stat in stats])


def device() -> torch.device:
    """Where ComfyUI computes."""
    return comfy.model_management.get_torch_device()


def default_dtype() -> torch.dtype:
    """bfloat16 where the device is good at it, float32 elsewhere."""
    place = device()
    fast = place.type != "cpu" and comfy.model_management.should_use_bf16(place)
    return torch.bfloat16 if fast else torch.float32


def make_room() -> None:
    """Move ComfyUI's own models off the accelerator before a large one comes."""
    if device().type != "cpu":
        comfy.model_management.unload_all_models()
        comfy.model_management.soft_empty_cache()


def erasure_names() -> list[str]:
    """Erasure files as Load Erasure offers them."""
    return list(folder_paths.get_filename_list(ERASURES))


def erasure_file(name: str) -> Path:
    """The path of an offered erasure; UserError for any other name, so no path outside the folders is reached."""
    path = folder_paths.get_full_path(ERASURES, name) if name in erasure_names() else None
    if path is None:
        raise UserError(f"There is no erasure {name!r} in output/{ERASURES} or models/{ERASURES}.")
    return Path(path)


def erasure_name(path: Path) -> str:
    """The name under which Load Erasure offers a file that was saved into output/erasures."""
    root = os.path.realpath(os.path.join(folder_paths.get_output_directory(), ERASURES))
    return os.path.relpath(os.path.realpath(path), root)


def evaluation_folder(concept: str) -> Path:
    """Where the evaluations of a concept are kept, in output/evaluations; any words give a plain folder name."""
    plain = "".join(letter if letter.isalnum() else "_" for letter in concept.strip())[:80] or "_"
    return Path(folder_paths.get_output_directory()) / "evaluations" / plain


def unfinished_trainings() -> Path:
    """Where trainings keep their state until they end, so that they go on after a server that died."""
    return Path(folder_paths.get_output_directory()) / "unfinished_trainings"


def new_erasure_file(name: str, *, overwrite: bool) -> Path:
    """Where a new erasure goes, in output/erasures; a number is added to a name that is taken.

    Raises UserError for a name that is empty, absolute, or leads outside that folder.
    """
    return _new_file(os.path.join(folder_paths.get_output_directory(), ERASURES), f"output/{ERASURES}", name, overwrite)


def new_lora_file(folder: str, name: str, *, overwrite: bool, endings: Sequence[str] = ("",)) -> Path:
    """Where an exported LoRA goes, in one of LORA_FOLDERS; as `new_erasure_file`.

    `endings` are what the names of its files have behind `name`, where it takes several.
    """
    return _new_file(_lora_root(folder), folder, name, overwrite, endings)


def lora_name(folder: str, path: Path) -> str:
    """The name under which Load LoRA offers a file that was saved into that folder."""
    return os.path.relpath(os.path.realpath(path), os.path.realpath(_lora_root(folder)))


def _lora_root(folder: str) -> str:
    if folder not in LORA_FOLDERS:
        raise UserError(f"There is no folder {folder!r} for LoRA files; there are {', '.join(LORA_FOLDERS)}.")
    if folder == LORA_FOLDERS[0]:
        return str(folder_paths.get_folder_paths(LORAS)[0])
    return os.path.join(folder_paths.get_output_directory(), LORAS)


def _new_file(root: str, shown: str, name: str, overwrite: bool, endings: Sequence[str] = ("",)) -> Path:
    root = os.path.realpath(root)
    stem = name.strip().removesuffix(SUFFIX)
    if not stem or "\0" in stem or stem.endswith(("/", "\\")) or os.path.basename(stem).startswith("."):
        raise UserError(f"{name!r} cannot be the name of a file; give a name such as ghost or styles/noir.")
    path = os.path.realpath(os.path.join(root, stem + SUFFIX))
    if not Path(path).is_relative_to(root):
        raise UserError(f"{name!r} leads outside {shown}; give a name such as ghost or styles/noir.")
    number = 2
    while not overwrite and any(os.path.exists(path.removesuffix(SUFFIX) + ending + SUFFIX) for ending in endings):
        path, number = os.path.join(os.path.dirname(path), f"{os.path.basename(stem)}_{number}{SUFFIX}"), number + 1
    return Path(path)


def check_strength(strength: float) -> None:
    """Raise UserError for what no slider gives: ComfyUI lets NaN through."""
    if not math.isfinite(strength):
        raise UserError(f"The strength must be a number such as 1.0, not {strength!r}.")


def with_lora(model: Any, pairs: Mapping[str, tuple[Tensor, Tensor]], strength: float, family: str) -> Any:
    """A copy of ComfyUI's MODEL that computes with the LoRAs, as Load LoRA makes it; `pairs` are A and B by module.

    Raises UserError unless every one of them has its place: ComfyUI itself would leave the others out.
    """
    weights = model.model.state_dict()
    for module, (down, up) in pairs.items():
        weight = weights.get(f"{module}.weight")
        if weight is None or tuple(weight.shape) != (len(up), down.shape[1]):
            raise UserError(f"This MODEL is not the {family} model that the eraser is for: it has no {module} of that size.")
    tensors = {
        f"{module}.lora_{letter}.weight": half
        for module, pair in pairs.items()
        for letter, half in zip("AB", pair, strict=True)
    }
    names = comfy.lora.model_lora_keys_unet(model.model, {})
    patched = model.clone()
    taken = patched.add_patches(comfy.lora.load_lora(tensors, names), strength)
    if len(taken) != len(pairs):
        raise UserError(f"ComfyUI took {len(taken)} of the eraser's {len(pairs)} layers; it would not erase as trained.")
    return patched


def with_encoder(clip: Any, encoder: Erasure, strength: float, *, allow_other_base: bool) -> Any:
    """A copy of ComfyUI's CLIP that encodes with an unlearned encoder, as Load LoRA would make it.

    Raises UserError unless the CLIP holds the text encoder that was trained, and every layer has its place.
    """
    check_strength(strength)
    weights = dict(clip.cond_stage_model.state_dict())
    # Where another LoRA is merged in at the moment, the patcher keeps the weights as they were loaded.
    weights.update({key: kept.weight for key, kept in clip.patcher.backup.items() if key in weights})
    tensors = clip_tensors(encoder, weights, allow_other_base=allow_other_base)
    patches = comfy.lora.load_lora(tensors, comfy.lora.model_lora_keys_clip(clip.cond_stage_model, {}))
    erased = clip.clone()
    taken = erased.add_patches(patches, strength)
    if len(taken) != len(patches):
        raise UserError(f"ComfyUI took {len(taken)} of the encoder's {len(patches)} changes; it would not erase as trained.")
    return erased
