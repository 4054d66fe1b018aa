"""Tries our clips in other packs' nodes: `python -m tools.other_packs --pack DIR`, a checkout of ComfyUI-VideoHelperSuite.

COMFYUI_DIR and COMFYUI_PYTHON choose another ComfyUI, as for ./run. The pack's own packages must be there.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tools.comfyui import ComfyServer, NoServer, queue
from tools.comfyui.client import Graph
from tools.say import complain, say

COMBINE = {"frame_rate": 8, "loop_count": 0, "pingpong": False, "save_output": True}
FORMATS = ("video/h264-mp4", "image/gif", "image/webp")


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tools.other_packs", description=__doc__.split("\n")[0])
    return in_pack(parser, "VideoHelperSuite", _try_all, arguments)


def in_pack(
    parser: argparse.ArgumentParser, name: str, attempt: Callable[[ComfyServer], int], arguments: list[str] | None
) -> int:
    """Run `attempt` in a ComfyUI with the pack of `--pack` installed; 1 if the server does not start."""
    parser.add_argument("--pack", type=Path, required=True, help=f"folder of ComfyUI-{name}")
    options = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory() as base:
            server = ComfyServer(Path(base))
            server.prepare()
            (Path(base) / "custom_nodes" / name).symlink_to(options.pack.resolve(), target_is_directory=True)
            with server:
                return attempt(server)
    except NoServer as error:
        complain(str(error))
        return 1


def _try_all(server: ComfyServer) -> int:
    """Queue one graph with a node of the pack for each format; 0 if each wrote its file."""
    failed = 0
    for source in ("sample", "compare"):
        for kind in FORMATS:
            result = queue(server.url, _graph(source, kind))
            files = [server.file(item) for item in result.files("combine")]
            works = result.succeeded and any(file.is_file() and file.stat().st_size for file in files)
            failed += not works
            say(f"{source} to {kind}: {'written, ' + files[0].name if works else 'FAILED: ' + str(result.error)}")
    return int(failed > 0)


def _graph(source: str, kind: str) -> Graph:
    nodes: dict[str, tuple[str, dict[str, Any]]] = {
        "load": ("T2VULoadModel", {"model": "miniature", "dtype": "float32"}),
        "sample": ("T2VUSampleVideo", {"model": ["load", 0], "prompt": "a ghost", "seed": 5, "steps": 2}),
        "compare": (
            "T2VUCompare",
            {"before": ["load", 0], "after": ["load", 0], "prompts": "a ghost", "seed": 5, "steps": 2},
        ),
        "combine": (
            "VHS_VideoCombine",
            {"images": [source, 0 if source == "sample" else 1], "format": kind, "filename_prefix": "other_packs", **COMBINE},
        ),
    }
    wanted = {"load", source, "combine"}
    return {name: {"class_type": node, "inputs": inputs} for name, (node, inputs) in nodes.items() if name in wanted}


if __name__ == "__main__":
    sys.exit(main())
