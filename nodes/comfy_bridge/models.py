"""The model folders that nodes offer: bundled models, diffusers folders and language models, by name."""

import json
from collections.abc import Mapping
from pathlib import Path

import folder_paths

from t2vu_core import UserError
from t2vu_core.families import FAMILIES
from t2vu_core.miniature import bundled

from .folders import LANGUAGE_MODELS, MODELS

VIDEO_PIPELINES = {name for family in FAMILIES for name in family.pipeline_classes}
IMAGE_PIPELINES = {"StableDiffusionPipeline"}


def model_names() -> list[str]:
    """The video models that a node can load, the bundled ones first."""
    return list(_models())


def model_folder(name: str) -> Path:
    """The folder of an offered video model. Raises UserError for any other name."""
    offered = _models()
    if name not in offered:
        raise UserError(f"There is no model {name!r}. Choose one of {', '.join(offered)}, or copy a diffusers folder to "
                        f"models/{MODELS}.")  # fmt: skip
    return offered[name]


def image_model_names() -> list[str]:
    """The text-to-image models of Stable Diffusion's classes that a node can load, the bundled ones first."""
    return list(_image_models())


def image_model_folder(name: str) -> Path:
    """The folder of an offered text-to-image model. Raises UserError for any other name."""
    offered = _image_models()
    if name not in offered:
        raise UserError(f"There is no image model {name!r}. Choose auto, none or one of {', '.join(offered)}.")
    return offered[name]


def language_model_names() -> list[str]:
    """The transformers folders under models/LLM, which can write prompts."""
    return list(_language_models())


def language_model_folder(name: str) -> Path:
    """The folder of an offered language model. Raises UserError for any other name."""
    offered = _language_models()
    if name not in offered:
        raise UserError(f"There is no language model {name!r}. Copy its transformers folder to models/{LANGUAGE_MODELS}.")
    return offered[name]


def fingerprint(folder: Path) -> str:
    """Changes when a file, or a file in a folder, is replaced, so that ComfyUI runs the node again."""
    files = sorted(folder.rglob("*")) if folder.is_dir() else [folder]
    stats = [file.stat() for file in files if file.is_file()]
    return str([(stat.st_mtime_ns, stat.st_size) for stat in stats])


def _models() -> dict[str, Path]:
    found = {name: folder for name in bundled.bundled_names() if (folder := bundled.bundled_folder(name)) is not None}
    return found | _diffusers_folders(VIDEO_PIPELINES, found)


def _image_models() -> dict[str, Path]:
    names = bundled.image_model_names()
    found = {name: folder for name in names if (folder := bundled.bundled_image_folder(name)) is not None}
    return found | _diffusers_folders(IMAGE_PIPELINES, found)


def _language_models() -> dict[str, Path]:
    found: dict[str, Path] = {}
    for root in map(Path, folder_paths.get_folder_paths(LANGUAGE_MODELS)):
        for config in sorted([*root.glob("*/config.json"), *root.glob("*/*/config.json")]):
            found.setdefault(config.parent.relative_to(root).as_posix(), config.parent)
    return found


def _diffusers_folders(pipelines: set[str], taken: Mapping[str, Path]) -> dict[str, Path]:
    """The diffusers folders of these pipelines in ComfyUI's model folders, without the names that are taken."""
    found: dict[str, Path] = {}
    roots = [*folder_paths.get_folder_paths(MODELS), *folder_paths.get_folder_paths("diffusers")]
    for root in map(Path, roots):
        for index in sorted([*root.glob("*/model_index.json"), *root.glob("*/*/model_index.json")]):
            name = index.parent.relative_to(root).as_posix()
            if name not in taken and _pipeline_class(index) in pipelines:
                found.setdefault(name, index.parent)
    return found


def _pipeline_class(index: Path) -> str | None:
    """The class that a model_index.json names; None if it cannot be read, so that one bad folder hides no other."""
    try:
        return json.loads(index.read_text(encoding="utf-8")).get("_class_name")
    except (OSError, ValueError, AttributeError):
        return None
