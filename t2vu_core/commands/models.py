"""`t2vu models`: list the bundled models and the supported architectures."""

from __future__ import annotations

import argparse
from typing import Any

from t2vu_core.families import FAMILIES
from t2vu_core.miniature.bundled import bundled_folder, bundled_names, image_model_of

HELP = "list the bundled models and the supported architectures"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This command has no arguments of its own."""


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Bundled models with folder, size and the image model that shares their encoder, and the supported families."""
    bundled = []
    for name in bundled_names():
        folder = bundled_folder(name)
        assert folder is not None
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        facts = {"name": name, "folder": str(folder), "megabytes": round(size / 2**20, 1), "image_model": image_model_of(name)}
        bundled.append(facts)
    families = [{"name": family.name, "pipelines": list(family.pipeline_classes)} for family in FAMILIES]
    return {"bundled": bundled, "families": families}


def show(result: dict[str, Any]) -> str:
    """One line per model, one line per family."""
    lines = [
        f"{model['name']:20} {model['megabytes']:6} MiB  bundled"
        + (f", with the image model {model['image_model']}" if model["image_model"] else "")
        for model in result["bundled"]
    ]
    lines.append("Supported pipelines of diffusers folders, which are given by their path:")
    lines += [f"  {family['name']:18} {', '.join(family['pipelines'])}" for family in result["families"]]
    return "\n".join(lines)
