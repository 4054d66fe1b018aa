"""Starts ComfyUI in this process, as its main.py does, with this pack: for scripts that run in ComfyUI's folder."""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys

from tools.comfyui.server import REPOSITORY

PACK = "t2vu_pack"
"""The pack's name in that process: ComfyUI's own module `nodes` keeps its name."""


def start(*flags: str) -> None:
    """Start it with ComfyUI's `flags`, before anything of ComfyUI or of the pack is imported."""
    sys.path.insert(0, os.getcwd())
    sys.argv = [sys.argv[0], *flags]
    importlib.import_module("comfy.options").enable_args_parsing()
    # Its name is taken later by a module of another package.
    importlib.import_module("utils.install_util")
    importlib.import_module("comfy.sample")
    spec = importlib.util.spec_from_file_location(
        PACK, REPOSITORY / "__init__.py", submodule_search_locations=[str(REPOSITORY)]
    )
    assert spec is not None
    assert spec.loader is not None
    pack = sys.modules[PACK] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(pack)
