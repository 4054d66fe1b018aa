"""ComfyUI's folders that the pack adds: models/t2v, models/LLM and the erasures."""

import os

import folder_paths

MODELS = "t2v"
LANGUAGE_MODELS = "LLM"
CLIP_MODELS = "clip_vision"
ERASURES = "erasures"
SUFFIX = ".safetensors"


def register_folders() -> None:
    """`models/t2v` for diffusers folders, `models/LLM` for language models, `models/` and `output/erasures` for erasures."""
    models, output = folder_paths.models_dir, folder_paths.get_output_directory()
    _add_folders(MODELS, [os.path.join(models, MODELS)], set())
    _add_folders(LANGUAGE_MODELS, [os.path.join(models, LANGUAGE_MODELS)], set())
    _add_folders(ERASURES, [os.path.join(output, ERASURES), os.path.join(models, ERASURES)], {SUFFIX})


def _add_folders(kind: str, folders: list[str], extensions: set[str]) -> None:
    known, _ = folder_paths.folder_names_and_paths.get(kind, ([], set()))
    folder_paths.folder_names_and_paths[kind] = ([*known, *(f for f in folders if f not in known)], extensions)
