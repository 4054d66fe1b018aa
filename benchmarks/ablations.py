"""Ablations of velocity erasing, one setting changed at a time: `python -m benchmarks.ablations --out ablations`.

Resumable: a row belongs to its recipe, the model's weights and the evaluation settings, and is made once. After every row
ablations.json and ablations.md in the folder hold all rows so far. Settings are chosen by these rows, so they are judged on the
development concepts and prompts only (`benchmarks.development`).
"""

from __future__ import annotations

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from benchmarks.board_plan import STRONG_STARTS, STRONG_STEPS, Cell
from benchmarks.command_line import print_board
from benchmarks.development import development_prompts
from benchmarks.methods import Method, facts_of, trained_on, velocity
from benchmarks.scoreboard_row import finished, measure
from benchmarks.scoreboard_statistics import about_intervals
from benchmarks.scoreboard_table import markdown
from t2vu_core.erasure import atomic_path
from t2vu_core.errors import UserError
from t2vu_core.evaluation import EvaluationSettings, WorldDetector
from t2vu_core.formatting import parse_options
from t2vu_core.model import T2VModel, load_model
from t2vu_core.recipes import PRESETS, VelocityRecipe
from t2vu_core.training.checkpoint import fingerprint_of

RESULTS = Path(__file__).parent / "results"
REFERENCE = "reference"
"""The row without a change, with which the others are compared."""


@dataclass(frozen=True)
class Change:
    """A row: its title, and the settings that differ from the preset."""

    title: str
    settings: Mapping[str, Any]


CHANGES: dict[str, Change] = {
    REFERENCE: Change("the preset", {}),
    "preset_quick": Change("preset quick", PRESETS["quick"].velocity),
    "preset_thorough": Change("preset thorough", PRESETS["thorough"].velocity),
    **{f"steps_{steps}": Change(f"{steps} steps", {"steps": steps}) for steps in (100, 200, 800)},
    "no_augmentation": Change("without augmentation", {"augmentation": "none"}),
    "grammar": Change("augmentation by grammar", {"augmentation": "grammar"}),
    "localized": Change("with localisation", {"kind": "bottleneck", "localization_weight": 1.0}),
    "localized_attention": Change(
        "with localisation, mask as in the paper",
        {"kind": "bottleneck", "localization_weight": 1.0, "mask_source": "attention"},
    ),
    "no_preservation": Change("without preservation", {"preserve_weight": 0.0}),
    **{f"eta_{eta}": Change(f"eta {eta}", {"eta": float(eta)}) for eta in (0, 0.3, 1, 2, 3, 5, 7, 10)},
    **{
        f"neutral_share_{percent}": Change(f"{percent} % neutral trajectories", {"neutral_share": percent / 100})
        for percent in (0, 100)
    },
    **{
        f"mixed_share_{percent}": Change(
            f"{percent} % of the text embeddings mixed with the neutral ones", {"mixed_share": percent / 100}
        )
        for percent in (0, 50, 100)
    },
    "published_way": Change(
        "as published, eta 3", {"kind": "bottleneck", "neutral_share": 0.0, "mixed_share": 0.0, "eta": 3.0}
    ),
    **{f"rank_{rank}": Change(f"erasers of rank {rank}", {"rank": rank}) for rank in (4, 16, 32, 128)},
    "lora": Change("LoRA", {"kind": "lora"}),
    "bottleneck": Change("bottleneck", {"kind": "bottleneck"}),
    "bottleneck_early": Change("bottleneck, timesteps early", {"kind": "bottleneck", "timestep_sampling": "early"}),
    "guided": Change("objective after guidance", {"guided_objective": True}),
    "on_policy": Change("on-policy, trajectories refreshed every 60 steps", {"refresh_every": 60}),
    "adversarial": Change("4 steps of adversarial soft tokens", {"adversarial_steps": 4}),
    "probe_rounds": Change("4 rounds of learned tokens", {"probe_rounds": 4}),
    **{
        f"clip_start_{percent}": Change(
            f"{percent} % of the neutral points start from a clip", {"clip_start_share": percent / 100}
        )
        for percent in (50, 100)
    },
    "bottleneck_rounds": Change("bottleneck, 8 rounds of learned tokens", {"kind": "bottleneck", "probe_rounds": 8}),
    "clip_start_50_rounds": Change(
        "50 % of the neutral points start from a clip, 8 rounds of learned tokens", {"clip_start_share": 0.5, "probe_rounds": 8}
    ),
    "preset_paper": Change("preset paper", PRESETS["paper"].velocity),
    **{f"trajectories_{count}": Change(f"{count} trajectories", {"concept_trajectories": count}) for count in (40, 120)},
    "two_subjects": Change("16 trajectories with two subjects", {"two_subject_trajectories": 16}),
    **{
        f"timesteps_{where}": Change(f"timesteps {where}", {"timestep_sampling": where})
        for where in ("early", "middle", "late")
    },
}


def main(arguments: list[str] | None = None) -> int:
    """Make the missing rows; print the table, or all rows as JSON."""
    return print_board("ablations", _parser().parse_args(arguments), run, document)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """All rows, in the order of `CHANGES`; the files are written after each of them."""
    base = parse_options(options.method_option)
    if "seed" in base:
        raise UserError("Rows are trained with the seeds 0, 1, ...; set their number with --seeds.")
    if options.strong and not options.probe:
        raise UserError("--strong is about PROBE; add --probe.")
    chosen = [name for name in CHANGES if name in options.rows]
    unknown = sorted(set(options.rows) - set(CHANGES))
    if unknown:
        raise UserError(f"There is no row {unknown[0]!r}; there are {', '.join(CHANGES)}.")
    recipes = {name: VelocityRecipe.preset(options.preset, **{**base, **CHANGES[name].settings}) for name in chosen}
    methods = {name: _method(name, options.preset, base) for name in chosen}
    model, out = load_model(options.model), Path(options.out)
    detector = WorldDetector.for_model(model)
    settings, prompts = _settings(options), {concept: development_prompts(detector, concept) for concept in options.concepts}
    board: dict[str, Any] = {
        "model": model.name, "base_hash": model.base.hash, "preset": options.preset, "options": base,
        "meter": settings.preset, "clips_a_register": settings.per_register, "rows": [],
    }  # fmt: skip
    end = time.monotonic() + 60 * options.minutes
    for cell in tqdm(list(_cells(chosen, options)), desc="ablations", unit="row"):
        name = cell[0]
        asked = prompts[cell[1]]
        judge = {
            **asdict(settings),
            "detector": detector.name,
            "probe": options.probe,
            "prompts": asked.sha256,
            "trained_on": trained_on(model),
        }
        path = out / "rows" / f"{_digest(recipes[name], cell, model, judge)}.json"
        if not path.is_file() and time.monotonic() > end:
            continue
        judged: dict[str, Any] = {"probe": options.probe, "out": out, "prompts": asked}
        make = partial(measure, methods[name], model, detector, cell, settings, **judged)
        # A change to the preset's own value has the same file as the reference.
        board["rows"].append({**finished(path, make), "method": name, "settings": dict(CHANGES[name].settings)})
        _write(board, out)
    if options.save:
        _save(with_saved(board, RESULTS / "ablations.json"), RESULTS)
    return board


def with_saved(board: Mapping[str, Any], saved: Path) -> dict[str, Any]:
    """The board with the saved rows that it lacks, in the order of `CHANGES`, if they were measured on the same."""
    before = json.loads(saved.read_text(encoding="utf-8")) if saved.is_file() else {}
    if any(before.get(name) != value for name, value in board.items() if name != "rows"):
        return dict(board)
    rows = {(row["method"], row["concept"], row["training_seed"]): row for row in (*before["rows"], *board["rows"])}
    return {**board, "rows": sorted(rows.values(), key=lambda row: list(CHANGES).index(row["method"]))}


def document(board: Mapping[str, Any]) -> str:
    """The table as Markdown, below a line about what was measured."""
    rows = board["rows"]
    methods = {name: _method(name, board["preset"], board["options"]) for name in CHANGES}
    concepts = ", ".join(dict.fromkeys(row["concept"] for row in rows))
    trainings = len({row["training_seed"] for row in rows})
    changed = "".join(f", {name}={value}" for name, value in board["options"].items())
    head = (
        f"Preset {board['preset']}{changed}; model {board['model']} ({board['base_hash'][:12]}); concepts {concepts}; training "
        f"runs per row: {trainings}; evaluation preset {board['meter']}. Printed by `python -m benchmarks.ablations`. "
        f"{about_intervals(rows)}"
    )
    return f"{head}\n\n{markdown(rows, methods, REFERENCE)}"


def _method(name: str, preset: str, base: Mapping[str, Any]) -> Method:
    change = CHANGES[name]
    return Method(change.title, velocity(preset, **{**base, **change.settings}), trained=True)


def _settings(options: argparse.Namespace) -> EvaluationSettings:
    fewer = {} if options.clips is None else {"per_register": options.clips, "kept": options.clips}
    strong = {"probe_steps": STRONG_STEPS, "probe_starts": STRONG_STARTS} if options.strong else {}
    return EvaluationSettings.of(options.evaluation, **fewer, **strong)


def _digest(recipe: VelocityRecipe, cell: Cell, model: T2VModel, judge: Mapping[str, Any]) -> str:
    """Hash of everything that decides a row; the name of its file."""
    _, concept, seed = cell
    return fingerprint_of({**facts_of(recipe.describe()), "seed": seed}, concept, model.base.hash, dict(judge))[:16]


def _cells(names: list[str], options: argparse.Namespace) -> Iterator[Cell]:
    """Row by row, so that an interrupted run has complete rows."""
    for name in names:
        for concept in options.concepts:
            for seed in range(options.seeds):
                yield name, concept, seed


def _write(board: Mapping[str, Any], out: Path) -> None:
    _save(board, out)
    with atomic_path(out / "ablations.md") as temporary:
        temporary.write_text(document(board) + "\n", encoding="utf-8")


def _save(board: Mapping[str, Any], folder: Path) -> None:
    with atomic_path(folder / "ablations.json") as temporary:
        temporary.write_text(json.dumps(board, indent=1) + "\n", encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="ablations", description=__doc__)
    parser.add_argument("--model", default="miniature", help="a bundled name or a diffusers folder")
    parser.add_argument("--concepts", nargs="+", default=["santa"], metavar="C", help="development concepts")
    parser.add_argument("--rows", nargs="+", default=list(CHANGES), metavar="R", help=f"of {', '.join(CHANGES)}")
    parser.add_argument("--preset", choices=PRESETS, default="balanced", help="the preset that the rows change")
    parser.add_argument("--seeds", type=int, default=1, help="training runs per row")
    parser.add_argument(
        "--method-option", action="append", default=[], metavar="KEY=VALUE", help="change the preset for all rows"
    )
    parser.add_argument("--evaluation", choices=("quick", "full"), default="quick", help="the evaluation preset")
    parser.add_argument(
        "--clips", type=int, metavar="N", help="clips per register and of other concepts; default: from the preset"
    )
    parser.add_argument("--probe", action="store_true", help="also try to bring the concept back")
    parser.add_argument("--strong", action="store_true", help="with --probe: as many steps and starts as the board's longest")
    parser.add_argument("--minutes", type=float, default=math.inf, help="start no new row after this time")
    parser.add_argument("--out", default="ablations", help="folder for rows, clips, ablations.json and ablations.md")
    parser.add_argument("--save", action="store_true", help="also write the results into benchmarks/results")
    parser.add_argument("--json", action="store_true", help="print the rows as JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
