"""What is installed with the package and with the nodes is what their code imports."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = {"pillow": "PIL"}
FROM_COMFYUI = {"torch", "numpy"}
LOADED_BY_TRANSFORMERS = {"sentencepiece"}


def imported(*folders: str) -> set[str]:
    """The top-level modules that the code in these folders imports."""
    trees = [ast.parse(path.read_text("utf-8")) for folder in folders for path in (ROOT / folder).rglob("*.py")]
    nodes = [node for tree in trees for node in ast.walk(tree)]
    whole = [name.name for node in nodes if isinstance(node, ast.Import) for name in node.names]
    parts = [node.module for node in nodes if isinstance(node, ast.ImportFrom) and node.module]
    return {name.partition(".")[0] for name in (*whole, *parts)}


def ranges(lines: Iterable[str]) -> dict[str, str]:
    """Version ranges by the module that is imported."""
    found = [re.match(r"([\w-]+)(.*)", line) for line in lines if line and not line.startswith("#")]
    return {MODULES.get(match[1], match[1]): match[2] for match in found if match}


PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
PACKAGE = ranges(PROJECT["dependencies"])
TEST = ranges(PROJECT["optional-dependencies"]["test"])
NODES = ranges((ROOT / "requirements.txt").read_text("utf-8").splitlines())


@pytest.mark.parametrize(("declared", "folders"), [(PACKAGE, ("t2vu_core",)), (NODES, ("t2vu_core", "nodes"))])
def test_every_dependency_is_imported(declared: dict[str, str], folders: tuple[str, ...]) -> None:
    assert set(declared) - LOADED_BY_TRANSFORMERS <= imported(*folders)


def test_the_nodes_install_what_the_package_needs_in_the_same_ranges() -> None:
    assert set(PACKAGE) - FROM_COMFYUI <= set(NODES)
    assert all(version == (PACKAGE | TEST)[name] for name, version in NODES.items())
