"""ComfyUI without a browser: the batch script, and what validation says before a run."""

from __future__ import annotations

import csv
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.nodes.graphs import erase, load, node, sampled
from tests.nodes.test_evaluating import PROMPTS
from tools.comfyui import ComfyServer, Rejected, queue
from tools.comfyui.client import Graph
from tools.comfyui.server import REPOSITORY


def _batch(comfy: ComfyServer, folder: Path, *concepts: str) -> str:
    options = ["--url", comfy.url, "--steps", "1", "--prompts", PROMPTS, "--out", str(folder / "scores.csv")]
    command = [sys.executable, "-S", str(REPOSITORY / "examples" / "batch_over_api.py"), *concepts, *options]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_list_of_concepts_becomes_a_table_and_is_continued(comfy: ComfyServer, tmp_path: Path) -> None:
    _batch(comfy, tmp_path, "ghost")
    assert "ghost: training" not in _batch(comfy, tmp_path, "ghost")
    with (tmp_path / "scores.csv").open(newline="", encoding="utf-8") as file:
        (row,) = csv.DictReader(file)
    assert row["concept"] == "ghost"
    assert int(row["clips"]) == 1
    assert 0 <= float(row["erased_after"]) <= 1
    saved = comfy.base / "output" / "erasures" / row["file"]
    assert saved.is_file()
    saved.unlink()


def _refused(comfy: ComfyServer, graph: Graph, key: str, name: str) -> str:
    """What validation says of that input of that node, before anything runs."""
    with pytest.raises(Rejected) as refused:
        queue(comfy.url, graph)
    errors: list[dict[str, Any]] = refused.value.answer["node_errors"][key]["errors"]
    return " ".join(error["details"] for error in errors if error["extra_info"].get("input_name") == name)


def test_the_node_says_before_a_run_what_cannot_be(comfy: ComfyServer) -> None:
    empty: Graph = {"load": load(), "erase": erase(concept=" "), "loss": node("PreviewImage", images=["erase", 1])}
    assert "The concept is empty" in _refused(comfy, empty, "erase", "concept")
    assert "width must be even, not 33: try 34" in _refused(comfy, sampled(width=33), "sample", "width")
    assert "from 0 to 4096" in _refused(comfy, sampled(height=9000), "sample", "height")
    missing: Graph = {"file": node("T2VULoadErasure", file="gone.safetensors"), "text": node("PreviewAny", source=["file", 1])}
    assert "no erasure 'gone.safetensors'" in _refused(comfy, missing, "file", "file")
    compared: Graph = {
        "load": load(),
        "compare": node("T2VUCompare", before=["load", 0], after=["load", 0], prompts="\n", seed=0),
    }
    assert "no prompt" in _refused(comfy, compared, "compare", "prompts")
