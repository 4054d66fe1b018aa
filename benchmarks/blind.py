"""A sheet of 40 clips without labels, for a person: `python -m benchmarks.blind make ERASURE --concept ghost --out blind`.

Half of the clips are by the base model and half by the erased one, of the same measuring prompts and seeds; three quarters were
asked for the concept. The sheet, one HTML page that needs no network, shows them in random order and asks of each whether it
shows the concept; a person needs about five minutes. It saves the answers as a file. `python -m benchmarks.blind read blind
ANSWERS` sets them beside the judge's verdicts.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from benchmarks.blind_page import sheet
from t2vu_core.erasure import Erasure, atomic_path
from t2vu_core.errors import UserError
from t2vu_core.evaluation import Detector, WorldDetector
from t2vu_core.evaluation.cases import KEPT, Case, built_in
from t2vu_core.evaluation.checks import resolve
from t2vu_core.evaluation.detectors import world_of_model
from t2vu_core.evaluation.report.page import webp_data_uri
from t2vu_core.evaluation.statistics import wilson_interval
from t2vu_core.input_files import read_bounded
from t2vu_core.model import T2VModel, load_model

CLIPS = 40
ABOUT_SHARE = 3 / 4
"""Of the prompts, those that ask for the concept; the others show how often a person sees it where it is not."""
ANSWERS = ("yes", "no", "unsure")
KEY, PAGE = "key.json", "sheet.html"
GROUPS = {
    (True, "base"): "asked for, base", (True, "erased"): "asked for, erased",
    (False, "base"): "not asked for, base", (False, "erased"): "not asked for, erased",
}  # fmt: skip


def main(arguments: list[str] | None = None) -> int:
    """Make a sheet, or read its answers."""
    options = _parser().parse_args(arguments)
    try:
        print(options.run(options))
    except UserError as error:
        print(f"blind: {error}", file=sys.stderr)
        return 2
    return 0


def make(options: argparse.Namespace) -> str:
    """Write the sheet and, in another file, which clip is which."""
    base = load_model(options.model)
    erased = base.with_erasure(Erasure.load(Path(options.erasure)))
    detector = WorldDetector.for_model(base)
    concept = resolve(detector, options.concept)
    clips = entries(base, erased, detector, concept, options.seed, count=options.clips, steps=options.steps)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    _write(out / PAGE, sheet(escape(concept), [clip.pop("source") for clip in clips]))
    _write(out / KEY, json.dumps({"concept": concept, "detector": detector.name, "clips": clips}, indent=1))
    return f"{out / PAGE}: {len(clips)} clips. Open it in a browser, answer, save, and do not look into {KEY} before."


def entries(
    base: T2VModel,
    erased: T2VModel,
    detector: Detector,
    concept: str,
    seed: int,
    *,
    count: int = CLIPS,
    steps: int = 12,
) -> list[dict[str, Any]]:
    """The clips in their random order: what was asked, which model made it, the judge's verdict, and the clip as data."""
    found = []
    for which, model in (("base", base), ("erased", erased)):
        for about, case in _cases(concept, count // 2, seed, world_of_model(base).prompt_sets):
            clip = model.sample(case.prompt, seeds=case.seed, num_inference_steps=steps)
            shown = detector.judge(clip, [concept])[0].shown[concept]
            source = webp_data_uri(clip[0], base.family.defaults.fps)
            found.append(
                {"about": about, "which": which, "prompt": case.prompt, "seed": case.seed, "judge": shown, "source": source}
            )
    random.Random(seed).shuffle(found)
    return found


def _cases(concept: str, count: int, seed: int, world: str) -> list[tuple[bool, Case]]:
    """Prompts that ask for the concept, evenly by register, and prompts of other concepts."""
    prompts = built_in(concept, world)
    if prompts is None:
        raise UserError(f"There is no prompt set for {concept!r}.")
    rng, registers = random.Random(seed), ("terse", "synonym", "refined")
    num_about = round(ABOUT_SHARE * count)
    about = [rng.choice(prompts.of(registers[number % len(registers)])) for number in range(num_about)]
    others = rng.sample(prompts.of(KEPT), count - num_about)
    return [*((True, case) for case in about), *((False, case) for case in others)]


def read(options: argparse.Namespace) -> str:
    """The answers beside the judge's verdicts, as Markdown."""
    key = _json(Path(options.folder) / KEY)
    answers = _json(Path(options.answers))
    return table(key, _checked(answers, len(key["clips"])))


def _checked(answers: Any, count: int) -> list[str]:
    given = answers.get("answers") if isinstance(answers, dict) else None
    if not isinstance(given, list) or len(given) != count or any(each not in ANSWERS for each in given):
        raise UserError(f"The answers must be a list of {count}, each one of {', '.join(ANSWERS)}, as the sheet saves them.")
    return given


def table(key: Mapping[str, Any], answers: Sequence[str]) -> str:
    """Rates of the person and of the judge in each group of clips, and how often they agree."""
    clips = list(zip(key["clips"], answers, strict=True))
    lines = [f"| {key['concept']} | clips | a person sees it | the judge sees it | they agree |", f"|{'---|' * 5}"]
    for (about, which), title in GROUPS.items():
        own = [(clip["judge"], answer) for clip, answer in clips if (clip["about"], clip["which"]) == (about, which)]
        sure = [(judge, answer == "yes") for judge, answer in own if answer != "unsure"]
        lines.append(
            f"| {title} | {len(own)} | {_rate([a for _, a in sure])} | {_rate([j for j, _ in own])} | {_agree(sure)} |"
        )
    every = [(clip["judge"], answer == "yes") for clip, answer in clips if answer != "unsure"]
    unsure = sum(answer == "unsure" for answer in answers)
    note = f"Agreement on all clips: {_agree(every)}; unsure about {unsure} of {len(clips)}."
    return "\n".join([*lines, "", note])


def _agree(pairs: Sequence[tuple[bool, bool]]) -> str:
    return f"{sum(judge == person for judge, person in pairs)} of {len(pairs)}" if pairs else "-"


def _rate(outcomes: Sequence[bool]) -> str:
    if not outcomes:
        return "-"
    low, high = wilson_interval(sum(outcomes), len(outcomes))
    return f"{sum(outcomes) / len(outcomes):.0%} ({low:.0%} to {high:.0%})"


def _json(path: Path) -> Any:
    if not path.is_file():
        raise UserError(f"There is no file {path}.")
    try:
        return json.loads(read_bounded(path, f"{path} cannot be read"))
    except (ValueError, RecursionError) as error:
        raise UserError(f"{path} is not JSON.") from error


def _write(path: Path, text: str) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="blind", description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(required=True)
    making = commands.add_parser("make", help="write a sheet of clips without labels")
    making.add_argument("erasure", help="an erasure file")
    making.add_argument("--concept", required=True, help="the erased concept")
    making.add_argument("--model", default="miniature", help="a bundled name or a diffusers folder")
    making.add_argument("--steps", type=int, default=12, help="denoising steps of a clip")
    making.add_argument("--clips", type=int, default=CLIPS, help="clips on the sheet, half of them by each model")
    making.add_argument("--seed", type=int, default=0, help="chooses prompts and order")
    making.add_argument("--out", default="blind", help="folder for the sheet and the key")
    making.set_defaults(run=make)
    reading = commands.add_parser("read", help="set the answers beside the judge's verdicts")
    reading.add_argument("folder", help="the folder of the sheet")
    reading.add_argument("answers", help="the file that the sheet saved")
    reading.set_defaults(run=read)
    return parser


if __name__ == "__main__":
    sys.exit(main())
