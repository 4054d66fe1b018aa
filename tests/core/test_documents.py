"""What the documents tell a newcomer to type and where they say that things are."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from t2vu_core.cli import _parser
from tools.comfyui.server import REPOSITORY

PAGES = sorted([REPOSITORY / "README.md", REPOSITORY / "CONTRIBUTING.md", *(REPOSITORY / "web" / "docs").glob("*.md")])
FENCE = re.compile(r"^```\n(.*?)^```", re.DOTALL | re.MULTILINE)
COMMANDS = ("t2vu ", ".venv/bin/", "accelerate ", "python ")
"""What a line to type starts with; other blocks are pictures and code."""
NAME_COLUMNS = 23
"""Of a line of the map; what the place is for stands behind."""


def _typed(page: Path) -> list[list[str]]:
    """The command lines in a page's blocks, as words."""
    blocks = FENCE.findall(page.read_text(encoding="utf-8"))
    lines = [line for block in blocks for line in block.splitlines() if line.startswith(COMMANDS)]
    return [shlex.split(line, comments=True) for line in lines]


def _arguments(words: list[str]) -> list[str] | None:
    """What the words say to `t2vu`; None where they are another command."""
    if Path(words[0]).name == "t2vu":
        return words[1:]
    return words[words.index("t2vu_core.cli") + 1 :] if "t2vu_core.cli" in words else None


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_every_command_line_in_the_documents_is_understood(name: str) -> None:
    parser = _parser()
    lines = [arguments for words in _typed(REPOSITORY / name) if (arguments := _arguments(words)) is not None]
    assert len(lines) >= 5
    for line in lines:
        parser.parse_args(line)


def test_every_tool_and_benchmark_that_is_called_exists() -> None:
    called = [words[words.index("-m") + 1] for page in PAGES for words in _typed(page) if "-m" in words]
    assert "benchmarks.scoreboard" in called
    assert [module for module in called if importlib.util.find_spec(module) is None] == []


def test_no_link_in_the_documents_is_dead() -> None:
    links = [(page, link) for page in PAGES for link in re.findall(r"\]\(([^)#\s]+)", page.read_text(encoding="utf-8"))]
    local = [(page, link) for page, link in links if not link.startswith("http")]
    assert local
    assert [f"{page.name}: {link}" for page, link in local if not (page.parent / link).exists()] == []


def test_the_map_shows_what_is_there_and_every_room_of_the_package() -> None:
    text = (REPOSITORY / "CONTRIBUTING.md").read_text(encoding="utf-8")
    shown = text.split("## The map", 1)[1].split("```")[1]
    places = []
    for line in shown.strip("\n").splitlines():
        parent = "t2vu_core/" if line.startswith(" ") else ""
        places += [parent + name.strip().rstrip("/") for name in line[:NAME_COLUMNS].split(",")]
    assert [place for place in places if not (REPOSITORY / place).exists()] == []
    rooms = {f"t2vu_core/{file.parent.name}" for file in (REPOSITORY / "t2vu_core").glob("*/__init__.py")}
    assert rooms - set(places) == set()
