"""`t2vu models`: list the bundled models and the supported architectures."""

from __future__ import annotations

import argparse
from typing import Any

import diffusers

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
    return {"bundled": bundled, "families": _families(), "diffusers": diffusers.__version__}


def _families() -> list[dict[str, Any]]:
    """The families with their pipelines, and those of them that the installed diffusers lacks."""
    found = []
    for family in FAMILIES:
        there = [name for name in family.pipeline_classes if hasattr(diffusers, name)]
        lacking = [name for name in family.pipeline_classes if name not in there]
        found.append({"name": family.name, "pipelines": there, "lacking": lacking})
    return found


def show(result: dict[str, Any]) -> str:
    """One line per model, one line per family."""
    lines = [
        f"{model['name']:20} {model['megabytes']:6} MiB  bundled"
        + (f", with the image model {model['image_model']}" if model["image_model"] else "")
        for model in result["bundled"]
    ]
    lines.append("Supported pipelines of diffusers folders, which are given by their path:")
    lines += [f"  {family['name']:18} {', '.join(family['pipelines'])}" for family in result["families"] if family["pipelines"]]
    lacking = [name for family in result["families"] for name in family["lacking"]]
    if lacking:
        lines.append(
            f"The installed diffusers {result['diffusers']} lacks {', '.join(lacking)}: install a newer one to use them."
        )
    return "\n".join(lines)
