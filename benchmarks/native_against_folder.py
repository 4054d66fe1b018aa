"""Erasing on ComfyUI's own MODEL, CLIP and VAE against the same erasing on the diffusers folder, by the same meter.

`python -m benchmarks.native_against_folder --model miniature-ltx` trains an eraser of each kind on the folder and, inside
ComfyUI, on the same weights in each precision, and measures every one on the model that it was trained on: the share of
clips that still show the concept, and the share of other concepts that are kept. It can be resumed.
native_against_folder-MODEL.json in the output folder holds the rows, and `--save` also writes them to benchmarks/results.
COMFYUI_DIR and COMFYUI_PYTHON choose another ComfyUI.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from t2vu_core import T2VModel, VelocityRecipe, erase_velocity, load_model
from t2vu_core.errors import UserError
from t2vu_core.evaluation import EvaluationSettings, evaluate
from t2vu_core.recipes import PRESETS
from tools.comfyui.server import REPOSITORY, SHIM, comfyui_folder

PRECISIONS = ("fp32", "bf16", "fp8", "fp8_scaled")
KINDS = ("bottleneck", "lora")
FOLDER = "folder"
RESULTS = REPOSITORY / "benchmarks" / "results"


def main(arguments: list[str] | None = None) -> int:
    """Make the rows that are missing; print the table."""
    options = _parser().parse_args(arguments)
    try:
        rows = run(options)
        if options.save:
            _write(RESULTS / _file(options), rows)
        print(table({"rows": rows}))
    except UserError as error:
        print(f"native_against_folder: {error}", file=sys.stderr)
        return 2
    return 0


def run(options: argparse.Namespace) -> list[dict[str, Any]]:
    """One row per kind and precision, those of the folder first; the file is updated after each."""
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    file = out / _file(options)
    rows: list[dict[str, Any]] = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.is_file() else []
    asked = {name: getattr(options, name) for name in ("model", "concept", "preset", "meter")}
    for kind in options.kinds:
        for precision in (FOLDER, *options.precisions):
            cell = {**asked, "kind": kind, "precision": precision}
            if not any(cell.items() <= row.items() for row in rows):
                print(f"{kind} on {precision}", file=sys.stderr)
                rows.append({**cell, **_row(cell, out)})
                _write(file, rows)
    return [row for row in rows if asked.items() <= row.items()]


def _file(options: argparse.Namespace) -> str:
    return f"native_against_folder-{options.model}.json"


def _write(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")


def measured(model: T2VModel, options: dict[str, Any]) -> dict[str, Any]:
    """Train an eraser on a model, and measure it there."""
    start, recipe = time.monotonic(), VelocityRecipe.preset(options["preset"], kind=options["kind"])
    erasure = erase_velocity(model, options["concept"], recipe)
    seconds = time.monotonic() - start
    settings = EvaluationSettings.of(options["meter"])
    found = evaluate(model.with_erasure(erasure), options["concept"], settings=settings)
    erased, kept = found.scores.erased.all, found.scores.kept.concepts
    assert erased is not None
    assert kept is not None
    return {
        "shown_before": erased.before, "still_shown": erased.after, "kept_before": kept.before, "kept": kept.after,
        "clips": erased.clips + kept.clips, "training_seconds": round(seconds), "last_loss": erasure.training["losses"][-1],
    }  # fmt: skip


def _row(cell: dict[str, Any], out: Path) -> dict[str, Any]:
    folder = load_model(cell["model"])
    if cell["precision"] == FOLDER:
        return measured(folder, cell)
    usual, row = folder.family.defaults, out / "row.json"
    sampled = {"sampling_steps": usual.num_inference_steps, "cfg": usual.guidance_scale, "fps": usual.fps}
    asked = json.dumps({**cell, **sampled, "out": str(row.resolve())})
    paths = os.pathsep.join([str(SHIM), str(REPOSITORY), *filter(None, [os.environ.get("PYTHONPATH")])])
    python = os.environ.get("COMFYUI_PYTHON") or sys.executable
    subprocess.run(
        [python, str(Path(__file__).with_name("native_row.py")), asked],
        cwd=comfyui_folder(), env={**os.environ, "PYTHONPATH": paths, "CUDA_VISIBLE_DEVICES": ""}, check=True,
    )  # fmt: skip
    found: dict[str, Any] = json.loads(row.read_text(encoding="utf-8"))
    row.unlink()
    return found


def table(board: Mapping[str, Any]) -> str:
    """The rows as a Markdown table."""
    lines = ["| kind | trained on | still shown | kept | training |", "|---|---|---|---|---|"]
    for row in board["rows"]:
        where = "diffusers folder" if row["precision"] == FOLDER else f"ComfyUI, {row['precision']}"
        shares = " | ".join(f"{row[name]:.1%} of {row[before]:.1%}" for name, before in _SHARES)
        lines.append(f"| {row['kind']} | {where} | {shares} | {row['training_seconds']} s |")
    return "\n".join(lines)


def document(board: Mapping[str, Any]) -> str:
    """The table with what it was measured on."""
    first = board["rows"][0]
    return (
        f"On {first['model']}, {first['concept']}, preset {first['preset']}, meter {first['meter']}; {first['clips']} clips. "
        f"Each eraser is measured on the model that it was trained on, after and before.\n\n{table(board)}"
    )


_SHARES = (("still_shown", "shown_before"), ("kept", "kept_before"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="native_against_folder", description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--model", default="miniature-ltx", help="a bundled miniature (miniature needs ComfyUI 0.21)")
    parser.add_argument("--concept", default="ghost", help="a concept that the miniature's detector knows")
    parser.add_argument("--preset", default="quick", choices=PRESETS, help="of the training")
    parser.add_argument("--meter", default="quick", choices=["quick", "full"], help="preset of the evaluation")
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--out", default="build/native", help="folder for the rows")
    parser.add_argument("--save", action="store_true", help="also write the rows into benchmarks/results")
    return parser


if __name__ == "__main__":
    sys.exit(main())
