"""Starts ComfyUI in this process, with this pack as `t2vu_pack`: import it first, in ComfyUI's folder.

The script's first argument is the folder that it reads and writes. Modules of tests/core can be imported afterwards.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tools.comfyui.inside import start
from tools.comfyui.server import REPOSITORY

folder = Path(sys.argv[1])
start("--cpu", "--use-pytorch-cross-attention")
sys.path.append(str(REPOSITORY / "tests" / "core"))
