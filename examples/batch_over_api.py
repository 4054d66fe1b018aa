"""Erase a list of concepts in a running ComfyUI, and write their scores: `python examples/batch_over_api.py ghost cat`.

Needs a ComfyUI with this pack, such as that of `./run serve`, and no Python packages.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

COLUMNS = ("concept", "file", "erased_before", "erased_after", "kept_before", "kept_after", "clips", "seconds")


def main() -> int:
    options = _options()
    done = _done(options.out)
    for concept in [concept for concept in options.concepts if concept not in done]:
        print(f"{concept}: training and measuring", flush=True)
        try:
            row = erase(options, concept)
        except (urllib.error.URLError, RuntimeError) as error:
            print(f"{concept}: {error}", file=sys.stderr)
            return 1
        _append(options.out, row)
        print(f"{concept}: shown by {row['erased_before']} before and {row['erased_after']} after", flush=True)
    print(f"{options.out}: the scores")
    return 0


def erase(options: argparse.Namespace, concept: str) -> dict[str, Any]:
    """Train, measure and save one eraser; returns its line of the table."""
    start = time.monotonic()
    outputs = run(options.url, graph(options, concept))
    scores = json.loads(outputs["scores"]["text"][0])
    erased, kept = scores["erased"]["all"], scores["kept"]["concepts"]
    return {
        "concept": concept,
        "file": outputs["file"]["text"][0],
        "erased_before": erased["before"],
        "erased_after": erased["after"],
        "kept_before": kept and kept["before"],
        "kept_after": kept and kept["after"],
        "clips": erased["clips"],
        "seconds": round(time.monotonic() - start, 1),
    }


def graph(options: argparse.Namespace, concept: str) -> dict[str, Any]:
    """Load, erase, apply, measure, save with the scores; in API format."""
    training = {"concept": concept, "preset": options.preset, "seed": 0, "steps": options.steps}
    measuring = {"concept": concept, "preset": options.measure, "prompts": options.prompts}
    return {
        "load": _node("T2VULoadModel", model=options.model),
        "erase": _node("T2VUVelocityErase", model=["load", 0], **training),
        "apply": _node("T2VUApplyEraser", model=["load", 0], eraser=["erase", 0], strength=1.0),
        "evaluate": _node("T2VUEvaluateErasure", model=["apply", 0], **measuring),
        "save": _node("T2VUSaveErasure", erasure=["evaluate", 3], name="", overwrite=False),
        "scores": _node("PreviewAny", source=["evaluate", 1]),
        "file": _node("PreviewAny", source=["save", 0]),
    }


def run(url: str, prompt: dict[str, Any]) -> dict[str, Any]:
    """Queue a graph and wait; returns what its nodes show. Raises RuntimeError with what ComfyUI says."""
    try:
        prompt_id = _ask(f"{url}/prompt", {"prompt": prompt})["prompt_id"]
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"ComfyUI refused the graph: {error.read().decode(errors='replace')}") from error
    while not (history := _ask(f"{url}/history/{prompt_id}")):
        time.sleep(1)
    status = history[prompt_id]["status"]
    if status["status_str"] != "success":
        failed = [said["exception_message"] for kind, said in status["messages"] if kind == "execution_error"]
        raise RuntimeError(failed[0].strip() if failed else "the run was cancelled; start again to go on with it.")
    return history[prompt_id]["outputs"]


def _node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def _ask(url: str, body: dict[str, Any] | None = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


def _done(path: Path) -> set[str]:
    """The concepts that the table has."""
    if not path.is_file():
        return set()
    with path.open(newline="", encoding="utf-8") as file:
        return {row["concept"] for row in csv.DictReader(file)}


def _append(path: Path, row: dict[str, Any]) -> None:
    first = not path.is_file()
    with path.open("a", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, COLUMNS)
        if first:
            table.writeheader()
        table.writerow(row)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("concepts", nargs="+", help="what to erase; one eraser for each")
    parser.add_argument("--url", default="http://127.0.0.1:8188", help="the running ComfyUI (default: %(default)s)")
    parser.add_argument("--model", default="miniature", help="as Load T2V Model lists it (default: %(default)s)")
    parser.add_argument("--preset", default="quick", help="of the training (default: %(default)s)")
    parser.add_argument("--measure", default="quick", help="preset of the evaluation (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=0, help="training steps (default: the preset's)")
    parser.add_argument("--prompts", default="", help="prompts of the evaluation, one per line (default: the bundled ones)")
    parser.add_argument("--out", type=Path, default=Path("scores.csv"), help="default: %(default)s")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
