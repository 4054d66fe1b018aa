"""Erasing on ComfyUI's own MODEL, CLIP and VAE against the same erasing on the diffusers folder, by the same meter.

`python -m benchmarks.native_against_folder --model miniature-ltx` trains an eraser of each kind on the folder and, inside
ComfyUI, on the same weights in each precision, and measures every one on the model that it was trained on: the share of
clips that still show the concept, and the share of other concepts that are kept. Every kind and precision is trained with
several seeds, because one more clip of 60 is already 1.7 points. It can be resumed: a row counts if it was made with the same
settings on the same weights by the same version. native_against_folder-MODEL.json in the output folder holds the rows, and
`--save` also writes them to benchmarks/results, next to the rows with the same settings that are there. `--estimate` only
prints how long the missing rows take. COMFYUI_DIR and COMFYUI_PYTHON choose another ComfyUI.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from t2vu_core import T2VModel, VelocityRecipe, __version__, erase_velocity, load_model
from t2vu_core.errors import UserError
from t2vu_core.evaluation import EvaluationSettings, evaluate
from t2vu_core.recipes import PRESETS
from tools.comfyui.server import REPOSITORY, SHIM, comfyui_folder

PRECISIONS = ("fp32", "bf16", "fp8", "fp8_scaled")
KINDS = ("bottleneck", "lora")
FOLDER = "folder"
OLDER = {"quick": "100 steps, 16 + 24 trajectories, bottleneck"}
"""What a preset was when rows did not state their version."""
WITHIN = 0.02
"""How far from the folder a MODEL's shares may be."""
Row = dict[str, Any]
RESULTS = REPOSITORY / "benchmarks" / "results"


def main(arguments: list[str] | None = None) -> int:
    """Make the rows that are missing; print the table."""
    options = _parser().parse_args(arguments)
    try:
        asked = asked_of(options)
        if options.estimate:
            print(estimate(list(cells(options, asked)), _known(options)))
            return 0
        rows = run(options, asked)
        if options.save:
            _write(RESULTS / _file(options), with_saved(rows, _rows_of(RESULTS / _file(options)), asked))
        print(table({"rows": rows}))
    except UserError as error:
        print(f"native_against_folder: {error}", file=sys.stderr)
        return 2
    return 0


def asked_of(options: argparse.Namespace) -> Row:
    """What all rows of a call share: its settings and the preset's, the hash of the weights and this package's version."""
    same = {name: getattr(options, name) for name in ("model", "concept", "preset", "meter", "steps", "prompts")}
    recipe = dict(PRESETS[options.preset].velocity)
    return {**same, "recipe": recipe, "base": load_model(options.model).base.hash, "version": __version__}


def cells(options: argparse.Namespace, asked: Row) -> Iterator[Row]:
    """The rows of a call: seed by seed, the folder before the precisions."""
    for seed in range(options.seeds):
        for kind in options.kinds:
            for precision in (FOLDER, *options.precisions):
                yield {**asked, "kind": kind, "precision": precision, "seed": seed}


def run(options: argparse.Namespace, asked: Row) -> list[Row]:
    """One row per kind, precision and seed; the file is updated after each."""
    out, rows = Path(options.out), _known(options)
    out.mkdir(parents=True, exist_ok=True)
    for cell in missing(list(cells(options, asked)), rows):
        print(f"{cell['kind']} on {cell['precision']}, seed {cell['seed']}", file=sys.stderr)
        start = time.monotonic()
        made = {**cell, **_row(cell, out)}
        rows.append({**made, "seconds": round(time.monotonic() - start)})
        _write(out / _file(options), rows)
    return [row for row in rows if asked.items() <= row.items()]


def missing(wanted: Sequence[Row], rows: Sequence[Row]) -> list[Row]:
    """The cells that no row was made for."""
    return [cell for cell in wanted if not any(cell.items() <= row.items() for row in rows)]


def estimate(wanted: Sequence[Row], rows: Sequence[Row]) -> str:
    """How long the missing rows take, from those that were made with the same settings."""
    left = missing(wanted, rows)
    settings = {name: wanted[0][name] for name in ("model", "preset", "meter", "steps", "prompts")}
    known = [row["seconds"] for row in rows if "seconds" in row and settings.items() <= row.items()]
    if not left or not known:
        return f"{len(left)} rows are missing" + ("; make one to know how long they take." if left else ".")
    return f"{len(left)} rows are missing: about {len(left) * statistics.mean(known) / 60:.0f} minutes."


def with_saved(rows: Sequence[Row], saved: Sequence[Row], asked: Row) -> list[Row]:
    """The rows, after those saved ones with the same settings that are of another kind, precision or seed."""
    made = [{name: row[name] for name in ("kind", "precision", "seed")} for row in rows]
    kept = [row for row in saved if asked.items() <= row.items() and not any(cell.items() <= row.items() for cell in made)]
    return [*kept, *rows]


def _known(options: argparse.Namespace) -> list[Row]:
    return _rows_of(Path(options.out) / _file(options))


def _rows_of(file: Path) -> list[Row]:
    rows: list[Row] = json.loads(file.read_text(encoding="utf-8"))["rows"] if file.is_file() else []
    return rows


def _file(options: argparse.Namespace) -> str:
    return f"native_against_folder-{options.model}.json"


def _write(file: Path, rows: list[dict[str, Any]]) -> None:
    file.write_text(json.dumps({"rows": rows}, indent=1) + "\n", encoding="utf-8")


def measured(model: T2VModel, options: dict[str, Any], out: Path) -> dict[str, Any]:
    """Train an eraser on a model, and measure it there; `out` holds the clips, so that rows on one base share its own."""
    changes = {name: options[name] for name in ("kind", "seed", *(("steps",) if options["steps"] else ()))}
    start, recipe = time.monotonic(), VelocityRecipe.preset(options["preset"], **changes)
    erasure = erase_velocity(model, options["concept"], recipe)
    seconds = time.monotonic() - start
    few = dict.fromkeys(("per_register", "kept"), options["prompts"]) if options["prompts"] else {}
    settings = EvaluationSettings.of(options["meter"], **few)
    clips = out / f"clips-{options['model']}-{options['precision']}"
    found = evaluate(model.with_erasure(erasure), options["concept"], settings=settings, out=clips)
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
        return measured(folder, cell, out)
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
    """Means over the training seeds as a Markdown table."""
    lines = [
        "| kind | trained on | seeds | still shown | kept | off the folder, points | training |",
        "|---|---|---|---|---|---|---|",
    ]
    for (kind, precision), rows in _grouped(board["rows"]).items():
        where = "diffusers folder" if precision == FOLDER else f"ComfyUI, {precision}"
        shares = " | ".join(f"{_mean(rows, name):.1%} of {_mean(rows, before):.1%}" for name, before in _SHARES)
        off = _off(board["rows"], rows)
        apart = "" if precision == FOLDER or off is None else " and ".join(f"{100 * part:+.1f}" for part in off)
        lines.append(f"| {kind} | {where} | {len(rows)} | {shares} | {apart} | {_mean(rows, 'training_seconds'):.0f} s |")
    return "\n".join(lines)


def document(board: Mapping[str, Any]) -> str:
    """The table with what it was measured on."""
    first, groups = board["rows"][0], _grouped(board["rows"])
    native = [off for (_, place), rows in groups.items() if place != FOLDER and (off := _off(board["rows"], rows)) is not None]
    near = sum(max(map(abs, off)) <= WITHIN + 1e-9 for off in native)
    seeds = min(len(rows) for rows in groups.values())
    return (
        f"On {first['model']}, {first['concept']}, preset {preset_of(first)}, "
        f"meter {first['meter']}; {first['clips']} clips; "
        f"{seeds} training seed{'' if seeds == 1 else 's'}. Each eraser is measured on the model that it was trained on, after "
        f"and before. Both shares are within 2 points of the folder's in {near} of {len(native)} rows."
        f"{not_measured(groups, (FOLDER, *PRECISIONS))}"
        f"\n\n{table(board)}"
    )


def preset_of(row: Row) -> str:
    """The preset of a row with its settings, as they were when the row was made."""
    if "version" not in row and row["preset"] in OLDER:
        return f"{row['preset']} as it was at the time ({OLDER[row['preset']]})"
    changed = ", ".join(f"{name} {value}" for name, value in row.get("recipe", {}).items())
    return f"{row['preset']}{changed and f' ({changed})'}"


def not_measured(made: Collection[tuple[str, str]], places: Sequence[str]) -> str:
    """Which kinds have no row in which of these places, as a sentence; empty if all have one."""
    left = {kind: [place for place in places if (kind, place) not in made] for kind in KINDS}
    missing = [kind if len(empty) == len(places) else f"{kind} in {', '.join(empty)}" for kind, empty in left.items() if empty]
    return f" Not measured: {'; '.join(missing)}." if missing else ""


def _grouped(rows: Sequence[Row]) -> dict[tuple[str, str], list[Row]]:
    """The rows of all seeds by kind and precision."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        found.setdefault((row["kind"], row["precision"]), []).append(row)
    return found


def _off(board: Sequence[Row], rows: Sequence[Row]) -> list[float] | None:
    """How far the shares are from the folder's with the same seeds, on average; None if it has other seeds."""
    folder = {(row["kind"], row.get("seed", 0)): row for row in board if row["precision"] == FOLDER}
    pairs = [(row, folder.get((row["kind"], row.get("seed", 0)))) for row in rows]
    if any(other is None for _, other in pairs):
        return None
    return [statistics.mean(row[name] - other[name] for row, other in pairs if other) for name, _ in _SHARES]


def _mean(rows: Sequence[Row], name: str) -> float:
    return statistics.mean(row[name] for row in rows)


_SHARES = (("still_shown", "shown_before"), ("kept", "kept_before"))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="native_against_folder", description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--model", default="miniature-ltx", help="a bundled miniature (miniature needs ComfyUI 0.21)")
    parser.add_argument("--concept", default="ghost", help="a concept that the miniature's detector knows")
    parser.add_argument("--preset", default="quick", choices=PRESETS, help="of the training")
    parser.add_argument("--meter", default="quick", choices=["quick", "full"], help="preset of the evaluation")
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=KINDS)
    parser.add_argument("--seeds", type=int, default=3, help="training runs of each kind and precision (default: 3)")
    parser.add_argument("--steps", type=int, default=0, help="training steps, to try it out (default: the preset's)")
    parser.add_argument("--prompts", type=int, default=0, help="prompts of each sort, to try it out (default: the meter's)")
    parser.add_argument("--estimate", action="store_true", help="only print how long the missing rows take")
    parser.add_argument("--out", default="build/native", help="folder for the rows")
    parser.add_argument("--save", action="store_true", help="also write the rows into benchmarks/results")
    return parser


if __name__ == "__main__":
    sys.exit(main())
