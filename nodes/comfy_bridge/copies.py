"""Finds other copies of this pack in ComfyUI's custom_nodes, whichever of them is loaded first."""

import logging
import os
import tomllib
from collections.abc import Iterator
from pathlib import Path

import folder_paths
from aiohttp import web
from server import PromptServer

log = logging.getLogger(__name__)

OWN = Path(os.path.abspath(__file__)).parents[2]
PROJECT = "t2v-unlearning"
ROUTE = "/t2v-unlearning/copies"
"""Where web/js/copies.js asks for the names of the other copies' folders, to warn in the browser."""
MOST_BYTES = 100_000
"""Of a pyproject.toml that is read."""
warned: list[Path] = []
"""The copies that a warning has named; a second copy of this version looks here, and does not repeat it."""


def warn_of_copies() -> None:
    """Log one warning that names all copies, if there are several: the one that ComfyUI loads last replaces the nodes."""
    others = list(_copies())
    PromptServer.instance.routes.get(ROUTE)(_answer)
    if others:
        warned.extend(others)
        log.warning(
            "T2V Unlearning is in custom_nodes twice: %s and %s. Nodes of one copy may not fit the other; remove one of "
            "the folders and start ComfyUI again.",
            OWN,
            " and ".join(map(str, others)),
        )


async def _answer(_: web.Request) -> web.Response:
    return web.json_response([folder.name for folder in warned])


def _copies() -> Iterator[Path]:
    for parent in folder_paths.get_folder_paths("custom_nodes"):
        for folder in sorted(Path(parent).glob("*")):
            # As ComfyUI names a pack that is switched off.
            off = folder.name.endswith(".disabled") or not (folder / "__init__.py").is_file()
            if not off and not _is_own(folder) and _project(folder / "pyproject.toml") == PROJECT:
                yield folder


def _is_own(folder: Path) -> bool:
    return folder.name == OWN.name and os.path.samefile(folder.parent, OWN.parent)


def _project(file: Path) -> str | None:
    """The name of the project; None if there is none, or if the file cannot be read."""
    try:
        if not file.is_file() or file.stat().st_size > MOST_BYTES:
            return None
        project = tomllib.loads(file.read_text(encoding="utf-8")).get("project")
        return str(project.get("name")) if isinstance(project, dict) else None
    except (OSError, ValueError, RecursionError):
        return None
