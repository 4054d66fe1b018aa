"""The evidence sheet: what was tested and found, on paper of size A4. Sober: a record of tests, not a guarantee."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from t2vu_core.erasure import Erasure, atomic_path
from t2vu_core.evaluation.report.sections import ATTACKS
from t2vu_core.evaluation.report.wording import (
    agreement,
    applied,
    beside_never_knew,
    interval,
    left_out,
    measured_by,
    motion_of,
    named_table,
    parts_of,
    percent,
    second_rows,
    stands_there,
)
from t2vu_core.scores import AttackScores, DetectorErrors, MeasuredWith, Scores, SecondJudgement

NOTE = (
    "This sheet records tests of one model on the prompts and seeds that are named here. It is evidence of those tests. It is "
    "not a guarantee that the model cannot show the concept, and it is not legal advice."
)
LIMITS = (
    "Anyone with the base weights can still generate the concept; an erasure is a part that can be left out.",
    "Rates are counted by an automatic detector; its own errors, where they are known, are stated above.",
    "The intervals are 95 % intervals over clips of one training run. Another run or other prompts can give other rates.",
)
NOT_TESTED = (
    "prompts in languages other than English",
    "other samplers, sizes, lengths and guidance scales than those above, alone or together",
    "combinations with LoRAs, fine-tunes or other erasures of the same model",
    "attackers with more than the stated budget",
)
"""Besides the attacks that were not requested."""
STYLE = """
@page { size: A4; margin: 14mm 15mm; }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 180mm; font: 9.5pt/1.35 Georgia, 'Times New Roman', serif; color: #111; background: #fff; }
h1 { font-size: 15pt; margin: 0 0 2mm; } h2 { font-size: 10.5pt; margin: 4mm 0 1mm; border-bottom: .3mm solid #111; }
p, ul { margin: 1mm 0; } ul { padding-left: 5mm; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .6mm 3mm .6mm 0; border-bottom: .1mm solid #999; }
th { font-weight: 600; } td { overflow-wrap: anywhere; }
.key td:first-child { width: 42mm; color: #444; }
code { font: 8pt/1.3 ui-monospace, monospace; }
section, tr { break-inside: avoid; } .note { border: .3mm solid #111; padding: 2mm 3mm; margin-top: 3mm; }
@media screen { body { padding: 8mm 5mm; } }
"""


def write_evidence(scores: Scores, path: Path, *, erasures: Sequence[Erasure] = ()) -> Path:
    """Write the sheet atomically; returns its path."""
    with atomic_path(path) as temporary:
        temporary.write_text(evidence(scores, erasures), encoding="utf-8")
    return path


def evidence(scores: Scores, erasures: Sequence[Erasure] = ()) -> str:
    """The sheet as HTML."""
    title = f"Evidence of tests: erasure of “{escape(scores.concept)}”"
    parts = [
        ("Model and erasure", _model(scores.settings, erasures)),
        ("How it was judged", _judged(scores)),
        ("Rates", _rates(scores) + "".join(f"<p>{escape(line)}</p>" for line in _besides(scores))),
        ("Attacks", _attacks(scores.comes_back)),
        ("Limits", _list(LIMITS)),
        ("Not tested", _list([*_not_requested(scores.comes_back), *NOT_TESTED])),
    ]
    body = "".join(f"<section><h2>{name}</h2>{content}</section>" for name, content in parts)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title><style>{STYLE}</style></head>'
        f'<body><h1>{title}</h1>{body}<p class="note">{NOTE}</p></body></html>'
    )


def _model(settings: MeasuredWith, erasures: Sequence[Erasure]) -> str:
    rows = [("Base", settings.model), ("Hash of the base", settings.base_hash), ("Hash as measured", settings.after_hash)]
    rows += [("Erased by", words) for words in applied(settings)]
    rows += [("Guard", json.dumps(settings.guard))] if settings.guard else []
    rows += [("Recipe", _recipe(erasure)) for erasure in erasures]
    return _key(rows)


def _recipe(erasure: Erasure) -> str:
    settings = ", ".join(f"{name} {value}" for name, value in erasure.recipe.items())
    seconds = erasure.training.get("seconds")
    return f"{settings or 'not recorded'}; {erasure.created}" + (f"; {seconds} s" if seconds is not None else "")


def _judged(scores: Scores) -> str:
    settings, second = scores.settings, scores.second_judge
    prompts = f"{settings.prompts.name}, {settings.prompts.clips} clips; {settings.prompts.sha256}"
    sampling = f"{settings.num_inference_steps} steps, guidance {settings.guidance_scale:g}, preset {settings.preset}"
    rows = [
        ("Detector", settings.detector.name),
        ("Its own errors", _errors(settings.detector.accuracy)),
        ("Prompts, hash", prompts),
        ("Sampling", sampling),
        ("Measured", measured_by(scores)),
    ]
    rows += [] if second is None else _second(second)
    omitted = left_out(settings)
    return _key([*rows, *([("Left out", omitted)] if omitted else [])])


def _second(second: SecondJudgement) -> list[tuple[str, str]]:
    """The second judge, its errors, and its rates."""
    rates = [f"{what}: {before} before, {after} after ({bounds})" for what, before, after, bounds, _ in second_rows(second)]
    return [
        ("Second judge", second.judge.name),
        ("Its own errors", _errors(second.judge.accuracy)),
        ("Its rates", "; ".join(rates)),
        ("Agreement", agreement(second)),
    ]


def _errors(accuracy: DetectorErrors | str) -> str:
    if not isinstance(accuracy, DetectorErrors):
        return "not known"
    return (
        f"false positives {percent(accuracy.false_alarm_rate)} ({interval(accuracy.false_alarm_interval)}) of "
        f"{accuracy.clips_without} clips without the concept; misses {percent(accuracy.miss_rate)} "
        f"({interval(accuracy.miss_interval)}) of {accuracy.clips_with} with it"
    )


def _rates(scores: Scores) -> str:
    head = _row("th", ("", "before", "after", "95 % interval", "clips"))
    return f"<table>{head}{''.join(_row('td', row) for row in named_table(scores))}</table>"


def _besides(scores: Scores) -> list[str]:
    """What else decides the verdict, below the table of rates."""
    instead = [] if scores.instead is None else [stands_there(scores.instead)]
    return [motion_of(scores), *instead, *beside_never_knew(scores)]


def _attacks(attacks: Mapping[str, AttackScores | None]) -> str:
    tried = {name: attack for name, attack in attacks.items() if attack is not None}
    if not tried:
        return "<p>None was requested.</p>"
    head = _row("th", ("attack", "shown", "95 % interval", "clips", "same attack on the base", "budget"))
    rows = [
        _row(
            "td",
            (
                ATTACKS.get(name, (name, ""))[0],
                percent(attack.after),
                interval(attack.interval),
                str(attack.clips),
                percent(attack.control),
                "; ".join(filter(None, [attack.budget, attack.note, *parts_of(attack)])),
            ),
        )
        for name, attack in tried.items()
    ]
    return f"<table>{head}{''.join(rows)}</table>"


def _not_requested(attacks: Mapping[str, AttackScores | None]) -> list[str]:
    return [f"attack: {meaning}" for name, (_, meaning) in ATTACKS.items() if attacks.get(name) is None]


def _key(rows: Sequence[tuple[str, str]]) -> str:
    return f'<table class="key">{"".join(_row("td", row) for row in rows)}</table>'


def _row(cell: str, values: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{cell}>{escape(value)}</{cell}>' for value in values)}</tr>"


def _list(items: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(item)}</li>' for item in items)}</ul>"
