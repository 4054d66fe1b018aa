"""The folders that nodes offer by name: bundled models, diffusers folders, language models, CLIP models, photographs."""

import json
import os
from collections.abc import Mapping
from pathlib import Path

import folder_paths

from t2vu_core import UserError
from t2vu_core.families import FAMILIES
from t2vu_core.miniature import bundled

from .folders import CLIP_MODELS, LANGUAGE_MODELS, MODELS

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
    return list(_transformers_folders(LANGUAGE_MODELS))


def language_model_folder(name: str) -> Path:
    """The folder of an offered language model. Raises UserError for any other name."""
    offered = _transformers_folders(LANGUAGE_MODELS)
    if name not in offered:
        raise UserError(f"There is no language model {name!r}. Copy its transformers folder to models/{LANGUAGE_MODELS}.")
    return offered[name]


def detector_in_folders(name: str) -> str:
    """The name of a detector with the path of its folder, which must be one of ComfyUI's. Raises UserError for any other.

    `clip:NAME` is in models/clip_vision, `faces:NAME` in the input folder: anyone who can queue a graph can name a detector.
    """
    kind, colon, folder = name.partition(":")
    if not colon or kind not in ("clip", "faces"):
        return name
    return f"{kind}:{_clip_folder(folder.strip()) if kind == 'clip' else _photographs(folder.strip())}"


def _clip_folder(name: str) -> Path:
    offered = _transformers_folders(CLIP_MODELS)
    found = offered.get(name) or next((path for path in offered.values() if str(path) == name), None)
    if found is None:
        raise UserError(f"There is no CLIP model {name!r}. A graph names a folder in models/{CLIP_MODELS}, such as clip:"
                        f"{next(iter(offered), 'NAME')}; the command line takes any path.")  # fmt: skip
    return found


def _photographs(name: str) -> str:
    root = os.path.realpath(folder_paths.get_input_directory())
    path = os.path.realpath(os.path.join(root, name.replace("\0", "")))
    if path == root or not Path(path).is_relative_to(root) or not os.path.isdir(path):
        raise UserError(f"There is no folder {name!r} with photographs. A graph names a folder in ComfyUI's input folder, such "
                        "as faces:NAME; the command line takes any path.")  # fmt: skip
    return path


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


def _transformers_folders(kind: str) -> dict[str, Path]:
    """The folders with a config.json in ComfyUI's folders of this kind."""
    found: dict[str, Path] = {}
    for root in map(Path, folder_paths.get_folder_paths(kind)):
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
