"""Writes time and memory into the notes of the templates *Erase from ...*: `python -m tools.template_plans`.

Plans the training run of each template on ComfyUI's own classes at the released size, from shapes alone, and writes the plans
to tools/template_plans.json, the notes, and their Chinese in locales/zh/templates.json. `--notes` writes the notes from that
file without planning. Nothing here was measured.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from t2vu_core.memory.plan import GB
from t2vu_core.memory.wording import gigabytes
from t2vu_core.recipes import LOW_MEMORY, VelocityRecipe
from tools.comfyui.server import REPOSITORY, SHIM, comfyui_folder

RESULTS = Path(__file__).with_suffix(".json")
TEMPLATES = REPOSITORY / "example_workflows"
CHINESE = REPOSITORY / "locales" / "zh" / "templates.json"
CARD = 16 * GB
"""What the templates' sizes were chosen for."""
PASSES_A_ROW = 3.5
"""What a training step computes for a row, in passes: forward, recomputed, and backward through frozen layers.

Measured: benchmarks/results/native_step-nvidia_h200.json has the step's arithmetic.
"""
BEGIN, CHINESE_BEGIN = "**Planned from shapes", "**根据形状估计"


def main(arguments: list[str] | None = None) -> None:
    """Plan, and write."""
    parser = argparse.ArgumentParser(prog="python -m tools.template_plans", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--notes", action="store_true", help="only write the notes, from the saved plans")
    if not parser.parse_args(arguments).notes:
        plans = planned()
        RESULTS.write_text(json.dumps(plans, indent=1) + "\n", encoding="utf-8")
    for path, text in notes(json.loads(RESULTS.read_text(encoding="utf-8"))).items():
        path.write_text(text, encoding="utf-8")


def planned(*names: str, file: Path = RESULTS) -> dict[str, dict[str, int]]:
    """The plans of these templates, or of all, made in ComfyUI's folder; `file` is written."""
    paths = os.pathsep.join([str(SHIM), str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
    python, script = os.environ.get("COMFYUI_PYTHON") or sys.executable, Path(__file__).with_name("template_models.py")
    subprocess.run(
        [python, str(script), str(file.resolve()), *names],
        cwd=comfyui_folder(), env={**os.environ, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""}, check=True,
    )  # fmt: skip
    plans: dict[str, dict[str, int]] = json.loads(file.read_text(encoding="utf-8"))
    return plans


def notes(plans: Mapping[str, Mapping[str, int]]) -> dict[Path, str]:
    """The templates and the Chinese texts with these plans, by their paths."""
    chinese = {key: text for key, text in _read(CHINESE).items() if not key.startswith(BEGIN)}
    written = {}
    for name, plan in plans.items():
        graph = _read(TEMPLATES / f"{name}.json")
        (note,) = [node for node in graph["nodes"] if node["type"] == "MarkdownNote"]
        paragraphs = [text for text in note["widgets_values"][0].split("\n\n") if not text.startswith(BEGIN)]
        english, chinese_text = paragraph(name, plan)
        paragraphs.insert(-2, english)
        note["widgets_values"][0] = "\n\n".join(paragraphs)
        chinese[english] = chinese_text
        written[TEMPLATES / f"{name}.json"] = _text(graph)
    return {**written, CHINESE: _text(chinese)}


def paragraph(name: str, plan: Mapping[str, int]) -> tuple[str, str]:
    """Memory and time in English and in Chinese."""
    moved = min(max(0, plan["needed"] - CARD), plan["needed"] - plan["least"])
    needed, least, host, stored = (gigabytes(count) for count in (plan["needed"], plan["least"], moved, plan["trajectories"]))
    clips = f"{clips_of(name):.0f}"
    keeps = f"; on 16 GB, ComfyUI keeps {host} of weights there" if moved else ""
    keeps_zh = f"；显存为 16 GB 时，ComfyUI 将 {host} 权重留在内存中" if moved else ""
    return (
        f"{BEGIN}, not measured here**: training takes {needed} on the GPU, or {least} with the weights in host memory{keeps}. "
        f"Trajectories take {stored} on disk. It computes about as much as {clips} clips of the training size.",
        f"{CHINESE_BEGIN}，未在此测量**：训练需要 {needed} 显存，权重留在内存中时需要 {least}{keeps_zh}。"
        f"轨迹占用 {stored} 磁盘空间。计算量约等于采样 {clips} 段训练尺寸的视频。",
    )


def clips_of(name: str) -> float:
    """How many sampled clips compute as much as the trajectories and the training steps of a template."""
    graph = json.loads((REPOSITORY / "workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))
    inputs = {node["class_type"]: node["inputs"] for node in graph.values()}
    made, erase = inputs["T2VUFromComfyUI"], inputs["T2VUVelocityErase"]
    recipe = VelocityRecipe.preset(erase["preset"], **(LOW_MEMORY if erase["low_memory"] else {}))
    # With the concept three predictions are kept, without it two.
    sampled = min(recipe.trajectory_steps, made["steps"]) * (3 * recipe.concept_trajectories + 2 * recipe.preserve_trajectories)
    trained = recipe.steps * (recipe.concept_batch + recipe.preserve_batch) * PASSES_A_ROW
    return float(sampled + trained) / (made["steps"] * (1 if made["cfg"] == 1 else 2))


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def _text(value: Mapping[str, Any]) -> str:
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


if __name__ == "__main__":
    main()
