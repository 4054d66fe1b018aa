"""Starts ComfyUI in this process, as its main.py does, with this pack: import it first, in ComfyUI's folder.

The script's first argument is the folder that it reads and writes. The pack is there as `t2vu_pack`.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import sys
from pathlib import Path

folder, repository = Path(sys.argv[1]), Path(__file__).parents[2]
sys.path.insert(0, os.getcwd())
sys.argv = [sys.argv[0], "--cpu", "--use-pytorch-cross-attention"]
import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()
# Its name is taken later by a module of another package.
importlib.import_module("utils.install_util")
importlib.import_module("comfy.sample")

# As ComfyUI loads a pack: its own module `nodes` keeps its name.
spec = importlib.util.spec_from_file_location(
    "t2vu_pack", repository / "__init__.py", submodule_search_locations=[str(repository)]
)
assert spec is not None
assert spec.loader is not None
pack = sys.modules["t2vu_pack"] = importlib.util.module_from_spec(spec)
spec.loader.exec_module(pack)
