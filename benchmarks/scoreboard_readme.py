"""Puts the scoreboard's table into README: `python -m benchmarks.scoreboard_readme scoreboard`.

The board's JSON and picture are kept in benchmarks/results; what stands between the two marker comments in README is made
from that JSON and nothing else. `--check` only says whether it still is.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.scoreboard_table import markdown
from t2vu_core.erasure import atomic_path
from t2vu_core.errors import UserError

ROOT = Path(__file__).parent.parent
RESULTS = ROOT / "benchmarks" / "results"
BEGIN, END = "<!-- scoreboard: begin -->", "<!-- scoreboard: end -->"


def main(arguments: list[str] | None = None) -> int:
    """Write the table, or check it: 0 if README holds what the JSON says."""
    options = _parser().parse_args(arguments)
    try:
        if options.board is not None:
            keep(Path(options.board), Path(options.results))
        readme = Path(options.readme)
        wanted = with_table(readme.read_text(encoding="utf-8"), read_board(Path(options.results)))
        if options.check:
            return 0 if readme.read_text(encoding="utf-8") == wanted else 1
        with atomic_path(readme) as temporary:
            temporary.write_text(wanted, encoding="utf-8")
    except UserError as error:
        print(f"scoreboard_readme: {error}", file=sys.stderr)
        return 2
    return 0


def keep(board: Path, results: Path) -> None:
    """Copy a board's JSON and picture to where they are kept."""
    if not (board / "scoreboard.json").is_file():
        raise UserError(f"{board} holds no scoreboard.json; measure first with `python -m benchmarks.scoreboard`.")
    results.mkdir(parents=True, exist_ok=True)
    for name in ("scoreboard.json", "scoreboard.png"):
        if (board / name).is_file():
            shutil.copyfile(board / name, results / name)


def read_board(results: Path) -> dict[str, Any] | None:
    """The kept board; None where nothing was measured yet."""
    path = results / "scoreboard.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None


def with_table(text: str, board: Mapping[str, Any] | None) -> str:
    """The text with the board's table between the markers; UserError where they are missing."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise UserError(f"The text has no place for the table: it needs the lines {BEGIN} and {END}.")
    return f"{before}{BEGIN}\n{document(board)}\n{END}{after}"


def document(board: Mapping[str, Any] | None) -> str:
    """The table under a line that says what was measured."""
    if board is None or not board["rows"]:
        return "Not measured yet."
    rows, meter, machine = board["rows"], board["meter"], board["machine"]
    concepts = ", ".join(dict.fromkeys(row["concept"] for row in rows))
    clips = f"{meter['per_register'] * meter['rounds']} clips of each register and {meter['kept'] * meter['rounds']} of others"
    cut = board["training"]["cut_to_steps"]
    trial = "" if cut is None else f" A trial: every training was cut to {cut} steps."
    head = (
        f"On {board['model']} ({board['base_hash'][:12]}), against {concepts}; {clips} a training, ours with the preset "
        f"{board['training']['preset']}; seconds on {machine['cores']} cores ({machine['processor']}, torch "
        f"{machine['torch']}). In brackets 95 % intervals; they count clips, and say nothing of how trainings differ.{trial}"
    )
    return f"{head}\n\n{markdown(rows)}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="scoreboard_readme", description=__doc__)
    parser.add_argument("board", nargs="?", help="the folder of a scoreboard, to be kept first")
    parser.add_argument("--results", default=str(RESULTS), help="where the board is kept")
    parser.add_argument("--readme", default=str(ROOT / "README.md"), help="the file with the markers")
    parser.add_argument("--check", action="store_true", help="change nothing; the exit code is 1 where the table is another")
    return parser


if __name__ == "__main__":
    sys.exit(main())
