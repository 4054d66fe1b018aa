"""Runs damaged inputs through every reader, graphs through ComfyUI and kills through training; prints how each ended.

    .venv/bin/python -m tools.campaign                     # 1,100 damaged inputs, and the table of endings
    .venv/bin/python -m tools.campaign --prompts 300       # and 300 prompts to a real ComfyUI
    .venv/bin/python -m tools.campaign --settings 10000    # and every setting of the miniatures' configurations
    .venv/bin/python -m tools.campaign_kills               # 50 training runs that are killed and resumed

Every input must end in one sentence (exit code 2) or be accepted: the exit code is 1 if one crashes, hangs, ends with a
traceback or with exit code 1. `--keep` keeps the inputs. A long run can be cut: `--piece 1/4 --out 1.json`, and so on, then
`--join 1.json 2.json 3.json 4.json` prints the table of all.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from tools.campaign_readers import damaged_jobs, remove
from tools.campaign_settings import run_settings, settings
from tools.campaign_worker import ENDINGS, FAULTS, Ended, Job, run_jobs
from tools.say import say


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the campaign; 1 if there is a fault."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000, help="damaged files; a tenth as many options come on top")
    parser.add_argument("--prompts", type=int, default=0, help="prompts to a real ComfyUI")
    parser.add_argument("--settings", type=int, default=0, help="settings of model folders, or all if there are fewer")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--limit", type=float, default=60.0, help="seconds after which an input hangs")
    parser.add_argument("--reader", help="only readers whose name has this in it")
    parser.add_argument("--piece", type=piece, default=(1, 1), metavar="K/N", help="only the Kth of N parts of the inputs")
    parser.add_argument("--join", type=Path, nargs="+", help="print the table of files of --out, and run nothing")
    parser.add_argument("--out", type=Path, help="JSON file for the endings and the faults")
    parser.add_argument("--keep", type=Path, help="folder for the inputs, which stay there")
    options = parser.parse_args(arguments)
    if options.join:
        return _show([one for file in options.join for one in _read(file)])
    part = slice(options.piece[0] - 1, None, options.piece[1])
    work, start = options.keep or Path(tempfile.mkdtemp(prefix="t2vu-campaign-")), time.monotonic()
    ended: list[Ended] = []
    try:
        if options.count:
            jobs = list(damaged_jobs(work.resolve(), options.count, options.seed))
            jobs = [job for job in jobs if options.reader is None or options.reader in job.reader][part]
            ended += told(run_jobs(jobs, processes=options.processes, limit=options.limit), len(jobs))
        if options.settings:
            folders = dict(list(settings(work.resolve(), options.settings, options.seed).items())[part])
            tried = run_settings(work, folders, processes=options.processes, limit=options.limit)
            ended += told(tried, len(folders))
        if options.prompts:
            from tools.campaign_prompts import run_prompts

            ended += told(run_prompts(work / "comfyui", options.prompts, options.seed, options.limit), options.prompts)
    finally:
        if options.keep is None:
            remove(work)
    if options.out:
        options.out.write_text(json.dumps([vars(one) | {"job": vars(one.job)} for one in ended], indent=1), "utf-8")
    say(f"seed {options.seed}, {time.monotonic() - start:.0f} s")
    return _show(ended)


def _show(ended: Sequence[Ended]) -> int:
    """Print the table; 1 if there is a fault."""
    say(table(ended))
    return 1 if any(one.ending in FAULTS for one in ended) else 0


def piece(text: str) -> tuple[int, int]:
    """K and N of "K/N"."""
    number, _, parts = text.partition("/")
    return int(number), int(parts)


def _read(file: Path) -> list[Ended]:
    """What `--out` wrote."""
    return [Ended(**{**one, "job": Job(**one["job"])}) for one in json.loads(file.read_text("utf-8"))]


def told(endings: Iterable[Ended], total: int) -> list[Ended]:
    """The endings, each fault said at once."""
    kept = []
    for one in endings:
        kept.append(one)
        if one.ending in FAULTS:
            last = (one.said.strip().splitlines() or [""])[-1]
            say(f"{one.ending}: {one.job.reader}: {one.job.name}: {last[:300]}")
        if len(kept) % 100 == 0:
            say(f"  {len(kept)} of {total}")
    return kept


def table(endings: Sequence[Ended]) -> str:
    """How the inputs of each reader ended, as a Markdown table."""
    counts = Counter((one.job.reader, one.ending) for one in endings)
    rows = [("reader", "inputs", *ENDINGS)]
    for reader in dict.fromkeys(one.job.reader for one in endings):
        row = [counts[reader, ending] for ending in ENDINGS]
        rows.append((reader, str(sum(row)), *map(str, row)))
    whole = [sum(counts[key] for key in counts if key[1] == ending) for ending in ENDINGS]
    rows.append(("all", str(len(endings)), *map(str, whole)))
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], f"|---|{'--:|' * (len(rows[0]) - 1)}", *lines[1:]])


if __name__ == "__main__":
    sys.exit(main())
