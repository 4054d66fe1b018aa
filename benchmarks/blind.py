"""A sheet of 40 clips without labels, for a reader: `python -m benchmarks.blind make ERASURE --concept ghost --out blind`.

Half of the clips are by the base model and half by the erased one, of the same measuring prompts and seeds; three quarters were
asked for the concept. The sheet, one HTML page that needs no network, shows them in random order and asks of each whether it
shows the concept; a person needs about five minutes. It saves the answers as a file. `python -m benchmarks.blind read blind
ANSWERS` compares them with the verdicts of the judge, and of a second one if the sheet was made with `--two-judges`. A reader
who is not a person, for example a vision-language model, is named with `--reader`.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from collections.abc import Mapping, Sequence
from html import escape
from itertools import zip_longest
from pathlib import Path
from typing import Any

from benchmarks.blind_page import sheet
from t2vu_core.erasure import Erasure, atomic_path, hash_tensors
from t2vu_core.errors import UserError
from t2vu_core.evaluation import Detector, WorldDetector
from t2vu_core.evaluation.cases import KEPT, Case, built_in
from t2vu_core.evaluation.checks import check_erasures, resolve
from t2vu_core.evaluation.detectors import world_of_model
from t2vu_core.evaluation.report.page import webp_data_uri
from t2vu_core.evaluation.second_judge.detector import TwoJudges
from t2vu_core.evaluation.statistics import wilson_interval
from t2vu_core.input_files import read_bounded
from t2vu_core.model import T2VModel, load_model

CLIPS = 40
READER = "a person"
ABOUT_SHARE = 3 / 4
"""Of the prompts, those that ask for the concept; the others show how often the reader sees it where it is not."""
ANSWERS = ("yes", "no", "unsure")
KEY, PAGE = "key.json", "sheet.html"
RESULTS = Path(__file__).parent / "results" / "blind.json"
JUDGES = {"judge": "the judge", "judge2": "the second judge"}
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
    erasure = Erasure.load(Path(options.erasure))
    erased = base.with_erasure(erasure)
    detector: Detector = (TwoJudges if options.two_judges else WorldDetector).for_model(base)
    concept = resolve(detector, options.concept)
    check_erasures(erased, detector, concept, options.concept)
    clips = entries(base, erased, detector, concept, options.seed, count=options.clips, steps=options.steps)
    out = Path(options.out)
    out.mkdir(parents=True, exist_ok=True)
    _write(out / PAGE, sheet(escape(options.concept), [clip.pop("source") for clip in clips]))
    made = {"kind": erasure.kind, "erasure": hash_tensors(sorted(erasure.tensors.items())), "base": base.base.hash}
    _write(out / KEY, json.dumps({"concept": concept, **made, "detector": detector.name, "clips": clips}, indent=1))
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
    """The clips in their random order: what was asked, which model made it, the judges' verdicts, and the clip as data."""
    found = []
    for which, model in (("base", base), ("erased", erased)):
        for about, case in _cases(concept, count // 2, seed, world_of_model(base).prompt_sets):
            clip = model.sample(case.prompt, seeds=case.seed, num_inference_steps=steps)
            judged = detector.judge(clip, [concept])[0]
            source = webp_data_uri(clip[0], base.family.defaults.fps)
            found.append(
                {
                    "about": about,
                    "which": which,
                    "prompt": case.prompt,
                    "seed": case.seed,
                    "source": source,
                    "judge": judged.shown[concept],
                    "judge2": judged.second.get(concept),
                }
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
    most_about = sum(len(prompts.of(register)) for register in registers)
    if count < 2 or num_about > most_about or count - num_about > len(prompts.of(KEPT)):
        raise UserError(f"A sheet needs at least 4 clips, and there are prompts for {2 * int(most_about / ABOUT_SHARE)}.")
    shuffled = {register: rng.sample(own, len(own)) for register in registers if (own := prompts.of(register))}
    turns = [case for cases in zip_longest(*shuffled.values()) for case in cases if case is not None]
    about = turns[:num_about]
    others = rng.sample(prompts.of(KEPT), count - num_about)
    return [*((True, case) for case in about), *((False, case) for case in others)]


def read(options: argparse.Namespace) -> str:
    """The answers and the judges' verdicts, as Markdown; with `--save` the documents show them too."""
    key = _json(Path(options.folder) / KEY)
    answers = _checked(_json(Path(options.answers)), len(key["clips"]))
    row = {**key, "reader": options.reader, "answers": answers}
    if options.save:
        save(row, RESULTS)
    return table(row, answers)


def save(row: Mapping[str, Any], path: Path) -> None:
    """Add a sheet with its answers; an older one of the same concept, kind of erasure and reader is replaced."""

    def which(each: Mapping[str, Any]) -> tuple[Any, ...]:
        return each["concept"], each.get("kind"), each.get("reader", READER)

    before = _json(path)["rows"] if path.is_file() else []
    rows = [each for each in before if which(each) != which(row)]
    _write(path, json.dumps({"rows": [*rows, dict(row)]}, indent=1) + "\n")


def document(board: Mapping[str, Any]) -> str:
    """All sheets that have been read, one table for each."""
    return "\n\n".join(table(row, row["answers"]) for row in board["rows"])


def _checked(answers: Any, count: int) -> list[str]:
    given = answers.get("answers") if isinstance(answers, dict) else None
    if not isinstance(given, list) or len(given) != count or any(each not in ANSWERS for each in given):
        raise UserError(f"The answers must be a list of {count}, each one of {', '.join(ANSWERS)}, as the sheet saves them.")
    return given


def table(key: Mapping[str, Any], answers: Sequence[str]) -> str:
    """Rates of the reader and of each judge in each group of clips, and how often a judge agrees with the reader."""
    clips = list(zip(key["clips"], answers, strict=True))
    judges = {field: title for field, title in JUDGES.items() if any(clip.get(field) is not None for clip, _ in clips)}
    titles = [part for title in judges.values() for part in (f"{title} sees it", "they agree")]
    head = [key["concept"], "clips", f"{key.get('reader', READER)} sees it", *titles]
    lines = [f"| {' | '.join(head)} |", f"|{'---|' * len(head)}"]
    for group, title in GROUPS.items():
        own = [(clip, answer) for clip, answer in clips if (clip["about"], clip["which"]) == group]
        cells = [title, str(len(own)), _rate([answer == "yes" for _, answer in own if answer != "unsure"])]
        for field in judges:
            cells += [_rate([clip[field] for clip, _ in own]), _agree(_sure(own, field))]
        lines.append(f"| {' | '.join(cells)} |")
    unsure = sum(answer == "unsure" for answer in answers)
    every = [f"{'with ' + title + ' ' if len(judges) > 1 else ''}{_agree(_sure(clips, f))}" for f, title in judges.items()]
    made = f"Eraser {key['erasure'][:12]} ({key['kind']}), base {key['base'][:12]}. " if "erasure" in key else ""
    note = f"{made}Agreement on all clips: {', '.join(every)}; unsure about {unsure} of {len(clips)}."
    return "\n".join([*lines, "", note])


def _sure(clips: Sequence[tuple[Mapping[str, Any], str]], judge: str) -> list[tuple[bool, bool]]:
    """What a judge says and what the reader says, where the reader is sure."""
    return [(clip[judge], answer == "yes") for clip, answer in clips if answer != "unsure"]


def _agree(pairs: Sequence[tuple[bool, bool]]) -> str:
    return f"{sum(judge == reader for judge, reader in pairs)} of {len(pairs)}" if pairs else "-"


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
    making.add_argument("--two-judges", action="store_true", help="have a second judge look at the same clips")
    making.add_argument("--seed", type=int, default=0, help="chooses prompts and order")
    making.add_argument("--out", default="blind", help="folder for the sheet and the key")
    making.set_defaults(run=make)
    reading = commands.add_parser("read", help="compare the answers with the judge's verdicts")
    reading.add_argument("folder", help="the folder of the sheet")
    reading.add_argument("answers", help="the file that the sheet saved")
    reading.add_argument("--reader", default=READER, help="who gave the answers (default: a person)")
    reading.add_argument("--save", action="store_true", help="also write them into benchmarks/results")
    reading.set_defaults(run=read)
    return parser


if __name__ == "__main__":
    sys.exit(main())
