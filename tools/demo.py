"""`./run demo`: erases a concept in a real ComfyUI, and shows and measures what that did.

Queues the graph that ships as workflows/api/erase_a_concept.json once for every pair of prompts. Between
the queue calls only prompts and seed change, so ComfyUI keeps the model and the eraser.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from t2vu_core.erasure import check_writable
from t2vu_core.errors import UserError
from t2vu_core.miniature.bundled import WEIGHTS
from t2vu_core.miniature.detector import Detection, load_detector
from t2vu_core.miniature.world import SUBJECTS
from t2vu_core.recipes import PRESETS
from t2vu_core.video import save_video
from tools.comfyui import ComfyServer, NoServer, queue
from tools.comfyui.client import Control, Event, Graph, Result
from tools.demo_picture import card, grid, side_by_side, still
from tools.demo_prompts import Pair, demo_pairs
from tools.say import complain, say

REPOSITORY = Path(__file__).resolve().parents[1]
GRAPH = REPOSITORY / "workflows" / "api" / "erase_a_concept.json"
OUTPUTS = {"before": 2, "after": 3}
"""The outputs of Compare Before and After with the frames of all prompts, one clip after another."""
CLIPS = ("Concept before", "Concept after", "Other before", "Other after")


@dataclass(frozen=True)
class Clips:
    """The clips of the graph, (n, F, 3, H, W) in [0, 1], by title."""

    by_title: dict[str, Tensor]

    def rate(self, title: str, subjects: list[str]) -> float:
        """Share of the clips in which the detector sees the subject that the prompt names."""
        verdict = self._judged(title)
        seen = [bool(verdict.shows(subject)[index]) for index, subject in enumerate(subjects)]
        return round(sum(seen) / len(seen), 3)

    def certainty(self, title: str, subjects: list[str]) -> Tensor:
        """How sure the detector is of the subject that each prompt names, (n,) in [0, 1]."""
        columns = torch.tensor([SUBJECTS.index(subject) for subject in subjects])
        return self._judged(title).subjects[torch.arange(len(subjects)), columns]

    def _judged(self, title: str) -> Detection:
        return load_detector(WEIGHTS / "detector.safetensors").judge(self.by_title[title] * 2 - 1)


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    try:
        check_writable(options.out / "report.json")
        _demo(options)
    except (NoServer, UserError) as error:
        complain(str(error))
        return 1
    except KeyboardInterrupt:
        complain("stopped.")
        return 130
    return 0


def _demo(options: argparse.Namespace) -> None:
    start = time.monotonic()
    pairs = demo_pairs(options.concept, options.pairs)
    say(f"Erasing {options.concept!r} from the bundled miniature, in ComfyUI.")
    with tempfile.TemporaryDirectory(prefix="t2vu-demo-") as base, ComfyServer(Path(base)) as server:
        clips = _sample_all(server, options.concept, options.preset, pairs)
    report = _report(clips, pairs, options.concept)
    report["seconds"] = round(time.monotonic() - start, 1)
    _write(options.out, clips, pairs, report)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="./run demo", description=__doc__.split("\n")[0])
    parser.add_argument("--concept", choices=SUBJECTS, default="ghost", help="what to erase (default: %(default)s)")
    parser.add_argument("--preset", default="quick", choices=PRESETS, help="of Velocity Erase Fine-tune (default: %(default)s)")
    parser.add_argument("--pairs", type=int, default=12, help="prompts with the concept, and as many without (default: 12)")
    parser.add_argument("--out", type=Path, default=REPOSITORY / "demo", help="folder for the results (default: demo)")
    options = parser.parse_args(arguments)
    if options.pairs < 1:
        parser.error(f"--pairs must be at least 1, not {options.pairs}")
    return options


def _sample_all(server: ComfyServer, concept: str, preset: str, pairs: list[Pair]) -> Clips:
    template = json.loads(GRAPH.read_text(encoding="utf-8"))
    clips: dict[str, list[Tensor]] = {title: [] for title in CLIPS}
    for number, pair in enumerate(pairs, 1):
        graph = _filled(template, concept, preset, pair)
        result = queue(server.url, graph, _Narrator(graph, f"[{number}/{len(pairs)}]"))
        if not result.succeeded:
            raise NoServer(f"ComfyUI could not run the graph: {result.error}")
        for when in OUTPUTS:
            for subject, clip in zip(("Concept", "Other"), _frames(server, result, when).chunk(2), strict=True):
                clips[f"{subject} {when}"].append(clip)
    say()
    return Clips({title: torch.stack(parts) for title, parts in clips.items()})


def _filled(template: Graph, concept: str, preset: str, pair: Pair) -> Graph:
    """The shipped graph with this pair's values, and all frames saved without loss."""
    graph: Graph = json.loads(json.dumps(template))
    by_title = {node["_meta"]["title"]: (key, node["inputs"]) for key, node in graph.items()}
    by_title["Velocity Erase Fine-tune"][1].update(concept=concept, preset=preset)
    by_title["Save Erasure"][1]["name"] = concept
    compare, inputs = by_title["Compare Before and After"]
    inputs.update(prompts=f"{pair.concept_prompt}\n{pair.other_prompt}", seed=pair.seed)
    for when, output in OUTPUTS.items():
        graph[when] = {"class_type": "SaveImage", "inputs": {"images": [compare, output], "filename_prefix": when}}
    return graph


def _frames(server: ComfyServer, result: Result, when: str) -> Tensor:
    """The saved frames of both prompts: (2 F, 3, H, W) in [0, 1]."""
    pictures = [np.array(Image.open(server.file(item)).convert("RGB")) for item in result.files(when)]
    return torch.from_numpy(np.stack(pictures)).permute(0, 3, 1, 2).float() / 255


class _Narrator:
    """Says which node works and how far it is: one line that is rewritten, or a line a stage where there is no terminal."""

    def __init__(self, graph: Graph, place: str) -> None:
        own = {key: node for key, node in graph.items() if node["class_type"].startswith("T2VU")}
        self._titles = {key: node["_meta"]["title"] for key, node in own.items()}
        self._place = place
        self._stage = ""

    def __call__(self, event: Event, control: Control) -> None:
        if event.type == "text":
            length = int.from_bytes(event.payload[:4], "big")
            self._show(event.payload[4 + length :].decode())
        elif event.type == "executing" and event.data["node"] in self._titles:
            self._show(self._titles[event.data["node"]])

    def _show(self, text: str) -> None:
        stage = text.split(" ")[0]
        if sys.stdout.isatty():
            say(f"\r\033[K{self._place} {text}", end="")
        elif stage != self._stage:
            say(f"{self._place} {text}")
        self._stage = stage


def _report(clips: Clips, pairs: list[Pair], concept: str) -> dict[str, object]:
    concepts, others = [concept] * len(pairs), [pair.other for pair in pairs]
    return {
        "concept": concept,
        "erased": {"before": clips.rate("Concept before", concepts), "after": clips.rate("Concept after", concepts)},
        "kept": {"before": clips.rate("Other before", others), "after": clips.rate("Other after", others)},
        "clips": len(CLIPS) * len(pairs),
        "prompts": [[pair.concept_prompt, pair.other_prompt, pair.seed] for pair in pairs],
    }


def _clearest(clips: Clips, pairs: list[Pair], concept: str) -> int:
    """The pair for the small picture: where the detector is surest of both subjects before, and of the other one after."""
    others = [pair.other for pair in pairs]
    sure = [
        clips.certainty("Concept before", [concept] * len(pairs)),
        clips.certainty("Other before", others),
        clips.certainty("Other after", others),
    ]
    return int(torch.stack(sure).min(0).values.argmax())


def _write(out: Path, clips: Clips, pairs: list[Pair], report: dict[str, object]) -> None:
    out.mkdir(parents=True, exist_ok=True)
    before, after = (torch.cat([clips.by_title[f"Concept {when}"], clips.by_title[f"Other {when}"]])
                     for when in ("before", "after"))  # fmt: skip
    save_video(grid(before), out / "before.mp4", fps=8, loops=4)
    save_video(grid(after), out / "after.mp4", fps=8, loops=4)
    side_by_side(before, after, report).save(out / "side_by_side.png")
    shown = _clearest(clips, pairs, str(report["concept"]))
    columns = {
        when: (clips.by_title[f"Concept {when}"][shown], clips.by_title[f"Other {when}"][shown]) for when in ("before", "after")
    }
    still(card(columns)).save(out / "card.jpg", quality=90)
    (out / "report.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    say(_summary(report))
    for name in ("before.mp4", "after.mp4", "side_by_side.png", "card.jpg", "report.json"):
        say(f"  {out / name}")


def _summary(report: dict[str, object]) -> str:
    erased, kept = report["erased"], report["kept"]
    assert isinstance(erased, dict)
    assert isinstance(kept, dict)
    return (
        f"Clips that show the {report['concept']} at its prompts: {erased['before']:.0%} before, {erased['after']:.0%} after.\n"
        f"Clips that show the subject of other prompts: {kept['before']:.0%} before, {kept['after']:.0%} after.\n"
        f"{report['clips']} clips in {report['seconds']} s."
    )


if __name__ == "__main__":
    sys.exit(main())
