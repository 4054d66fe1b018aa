"""Writes the measured tables into the documents: `python -m benchmarks.documents`.

The text between the marker comments of a table is generated from a file in benchmarks/results, which the benchmarks write when
called with `--save`. `--check` only reports whether the documents match the files.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import (
    ablations,
    blind,
    encoder_objectives,
    encoder_step,
    encoder_table,
    encoder_transfer,
    exact_words,
    goals,
    native_against_folder,
    native_graph,
    native_step,
    rounds,
    scoreboard_apart,
    scoreboard_attacks,
    scoreboard_comparisons,
    scoreboard_independent,
    scoreboard_table,
    scoreboard_then,
    style_sites,
    tuning,
    velocity_step,
    width,
)
from t2vu_core.erasure import atomic_path
from t2vu_core.errors import UserError
from t2vu_core.miniature.bundled import LTX_NAME, WEIGHTS
from t2vu_core.miniature_build import card as miniature_card

ROOT = Path(__file__).parent.parent
README, MEASURED = Path("README.md"), Path("benchmarks/README.md")
NOT_MEASURED = "Not measured yet."
Board = dict[str, Any]


@dataclass(frozen=True)
class Table:
    """The text between the markers of `name` in a document, generated from a file of results."""

    name: str
    document: Path
    results: str
    """A file in benchmarks/results, or the path of another one."""
    text: Callable[[Board], str]


def _goals(method: str, board: Board) -> str:
    measured = any(row["method"] == method for row in board["rows"])
    return goals.table(goals.compared(board["rows"], method)) if measured else NOT_MEASURED


def _objectives(picture: str, board: Board) -> str:
    drawn = f"![Erased against kept on {board['model']}]({picture}-{board['model']}.png)"
    return f"{encoder_table.document(board, encoder_objectives.titles())}\n\n{drawn}"


def _card(card: Board) -> str:
    return "\n".join([*miniature_card.shortfalls(card["measured"]), *miniature_card.figures(card)])


def _spread(board: Board) -> str:
    return str(board["spoken"])


TABLES = (
    Table("scoreboard", README, "scoreboard.json", scoreboard_table.summary),
    Table("the whole scoreboard", MEASURED, "scoreboard.json", scoreboard_table.document),
    Table("the scoreboard of version 0.1", MEASURED, "scoreboard-0.1.json", scoreboard_table.document),
    Table("subjects and styles", MEASURED, "scoreboard.json", scoreboard_apart.by_kind),
    Table("the precision of rows", MEASURED, "scoreboard.json", scoreboard_apart.precisions),
    Table("version 0.1 and now", MEASURED, "scoreboard.json", scoreboard_then.document),
    Table("clip starts", MEASURED, "scoreboard.json", scoreboard_apart.clip_starts),
    Table("distance from renders", MEASURED, "scoreboard.json", scoreboard_apart.realism),
    Table("paired tests", MEASURED, "scoreboard.json", scoreboard_comparisons.document),
    Table("our means without noir and ghost", MEASURED, "scoreboard.json", scoreboard_independent.document),
    Table("attacks at strength", MEASURED, "scoreboard.json", scoreboard_attacks.document),
    Table("where a style comes back", MEASURED, "style_sites.json", style_sites.document),
    Table("rounds of learned tokens", MEASURED, "thorough-without-rounds.json", rounds.document),
    *(
        Table(f"the main rows on {model}", MEASURED, f"scoreboard-{model}.json", scoreboard_table.document)
        for model in ("miniature-unet", LTX_NAME)
    ),
    Table("settings of guards and baselines", MEASURED, "tuning.json", tuning.document),
    Table("answers to the blind sheet", MEASURED, "blind.json", blind.document),
    Table("goals of velocity erasing", MEASURED, "scoreboard.json", partial(_goals, "velocity")),
    Table("goals of velocity erasing, thorough", MEASURED, "scoreboard.json", partial(_goals, "velocity_thorough")),
    Table("a style in exact words", MEASURED, "exact_words.json", exact_words.document),
    Table("ablations", MEASURED, "ablations.json", ablations.document),
    Table("ablations of version 0.1", MEASURED, "ablations-0.1.json", ablations.document),
    Table("the first steps by width", MEASURED, "width.json", width.document),
    Table("a step of velocity erasing", MEASURED, "velocity_step-cpu.json", velocity_step.table),
    Table("a step on a GPU", MEASURED, "velocity_step-nvidia_h200.json", velocity_step.table),
    Table("goals of the few-shot encoder", MEASURED, "scoreboard.json", partial(_goals, "encoder")),
    *(
        Table(f"objectives{version} on {model}", MEASURED, f"{name}-{model}.json", partial(_objectives, f"results/{name}"))
        for version, name in (("", "encoder_objectives"), (" of version 0.1", "encoder_objectives-0.1"))
        for model in ("miniature", "miniature-unet")
    ),
    Table("images and video", MEASURED, "encoder_transfer-miniature-unet.json", encoder_transfer.document),
    Table("seeds on miniature", MEASURED, "encoder_spread-miniature.json", _spread),
    Table("seeds on miniature-unet", MEASURED, "encoder_spread-miniature-unet.json", _spread),
    Table("native against folder", MEASURED, "native_against_folder-miniature.json", native_against_folder.document),
    Table("figures of miniature-ltx", MEASURED, str(WEIGHTS / LTX_NAME / "card.json"), _card),
    Table(
        "miniature-ltx against its folder", MEASURED, "native_against_folder-miniature-ltx.json", native_against_folder.document
    ),
    Table("the native graph", MEASURED, "native_graph-miniature.json", native_graph.document),
    Table("the native graph on miniature-ltx", MEASURED, "native_graph-miniature-ltx.json", native_graph.document),
    Table("a run of few-shot unlearning", MEASURED, "encoder_step-no_gpu.json", encoder_step.table),
    Table("few-shot unlearning on a GPU", MEASURED, "encoder_step-nvidia_h200.json", encoder_step.table),
    Table("a native step on a GPU", MEASURED, "native_step-nvidia_h200.json", native_step.table),
)


def main(arguments: list[str] | None = None) -> int:
    """Write all tables, or check them; returns 0 if the documents match the files."""
    options = _parser().parse_args(arguments)
    root = Path(options.root)
    try:
        wanted = {path: _up_to_date(root, path) for path in dict.fromkeys(table.document for table in TABLES)}
    except UserError as error:
        print(f"documents: {error}", file=sys.stderr)
        return 2
    stale = [path for path, text in wanted.items() if (root / path).read_text(encoding="utf-8") != text]
    for path in stale:
        if options.check:
            print(f"documents: {path} does not match the results; run `python -m benchmarks.documents`.", file=sys.stderr)
            continue
        with atomic_path(root / path) as temporary:
            temporary.write_text(wanted[path], encoding="utf-8")
    return 1 if stale and options.check else 0


def with_tables(text: str, tables: Mapping[str, str]) -> str:
    """The text with each table between its markers. Raises UserError if markers are missing."""
    for name, table in tables.items():
        begin, end = (f"<!-- {name}: {edge} -->" for edge in ("begin", "end"))
        before, found, rest = text.partition(begin)
        _, closed, after = rest.partition(end)
        if not found or not closed:
            raise UserError(f"The document has no place for a table: it needs the lines {begin} and {end}.")
        text = f"{before}{begin}\n{table}\n{end}{after}"
    return text


def _up_to_date(root: Path, document: Path) -> str:
    tables = {table.name: _text(table, root / "benchmarks" / "results") for table in TABLES if table.document == document}
    return with_tables((root / document).read_text(encoding="utf-8"), tables)


def _text(table: Table, results: Path) -> str:
    path = results / table.results
    if not path.is_file():
        return NOT_MEASURED
    board = json.loads(path.read_text(encoding="utf-8"))
    return table.text(board) if any(board.get(name) for name in ("rows", "shapes", "measured")) else NOT_MEASURED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="documents", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", default=str(ROOT), help="folder of the documents and of benchmarks/results")
    parser.add_argument("--check", action="store_true", help="change nothing; exit with 1 if a table is out of date")
    return parser


if __name__ == "__main__":
    sys.exit(main())
