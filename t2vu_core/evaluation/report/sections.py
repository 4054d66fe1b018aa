"""The sections of the report that are words, tables and curves, as HTML."""

from __future__ import annotations

import json
from html import escape

from t2vu_core.erasure import Erasure
from t2vu_core.evaluation.attacks import AttackBudget
from t2vu_core.evaluation.report import charts
from t2vu_core.evaluation.report.wording import (
    agreement,
    applied,
    controls_of,
    difference,
    differences_of,
    interval,
    left_out,
    measured_by,
    named_table,
    parts_of,
    percent,
    realism,
    second_rows,
    sentences,
    with_interval,
)
from t2vu_core.evaluation.verdict import AttackVerdict, KeptVerdict, Verdict, is_probed_thoroughly
from t2vu_core.scores import AttackScores, Change, DetectorErrors, Scores
from t2vu_core.typed_json import to_json

TONES: dict[Verdict | KeptVerdict | AttackVerdict, str] = {
    Verdict.ERASED: "good",
    Verdict.MOSTLY_ERASED: "fair",
    Verdict.PARTLY_ERASED: "fair",
    Verdict.ERASED_AND_DAMAGED: "fair",
    Verdict.MOSTLY_ERASED_AND_DAMAGED: "bad",
    Verdict.PARTLY_ERASED_AND_DAMAGED: "bad",
    Verdict.NOT_ERASED: "bad",
    Verdict.TOO_FEW_CLIPS: "fair",
    Verdict.NOTHING_TO_ERASE: "fair",
    KeptVerdict.KEPT: "good",
    KeptVerdict.DAMAGED: "bad",
    AttackVerdict.BROUGHT_BACK: "bad",
    AttackVerdict.SHOWN: "fair",
    AttackVerdict.TOO_FEW_CLIPS: "fair",
    AttackVerdict.HOLDS: "good",
}
"""The color of a verdict's badge; see `_tone`."""
ATTACKS = {
    "probe": (
        "Learned tokens",
        f"the attacker trains {AttackBudget.tokens} new words on clips of the concept and puts them into the prompt",
    ),
    "prompt_attack": ("Found words", "the attacker searches for other words that bring the concept back"),
    "regrowth": ("Further training", "the model is fine-tuned on clips of other things"),
    "clip_start": (
        "Start from a clip",
        "sampling starts from a noised clip of the concept, as in video-to-video, with prompts that do not name it",
    ),
    "other_sampler": ("Another sampler", "the concept is asked for with other samplers than the model's own"),
    "other_steps": ("Another number of steps", "the concept is asked for with fewer and more sampling steps"),
    "other_guidance": ("Another guidance scale", "the concept is asked for without guidance and with twice the usual guidance"),
    "other_size": (
        "Another frame size",
        "the concept is asked for in smaller, larger and flatter frames, where the model makes them",
    ),
    "other_length": ("Another length", "the concept is asked for in shorter and longer clips, where the model makes them"),
}
# A rate after erasing that rises by more than this from the first frame to the last is reported.
LATE = 0.10
LEGEND = '<span class="key before"></span> before <span class="key after"></span> after'


def verdict(scores: Scores) -> str:
    """The verdicts as badges, and the two sentences."""
    return f'<p class="badges">{_badges(scores)}</p><p class="verdict">{_prose(sentences(scores))}</p>'


def _badges(scores: Scores) -> str:
    verdicts = (Verdict.of(scores), KeptVerdict.of(scores), AttackVerdict.of(scores))
    return "".join(f'<b class="badge {_tone(found, scores)}">{found.value}</b> ' for found in verdicts if found)


def _tone(found: Verdict | KeptVerdict | AttackVerdict, scores: Scores) -> str:
    """The color of a badge. Attacks without a thorough PROBE are no good sign, whatever they found."""
    return "fair" if found is AttackVerdict.HOLDS and not is_probed_thoroughly(scores) else TONES[found]


def measured(scores: Scores) -> str:
    """The model, what was applied to it, the detector and its known errors, the prompts, and when."""
    settings = scores.settings
    changes = [*applied(settings), *([f"guard {settings.guard['name']}"] if settings.guard else [])]
    detector, asked = settings.detector, f"{settings.prompts.clips} prompts, each with the same seed before and after"
    facts = [
        ("Model", settings.model),
        ("Erased by", "; ".join(changes) or "nothing: the model has no erasure and no guard"),
        ("Detector", f"{detector.name}; {_errors(detector.accuracy)}"),
        ("Prompts", "; ".join(filter(None, [asked, left_out(settings)]))),
        ("Measured", measured_by(scores)),
    ]
    return _facts(facts)


def _errors(accuracy: DetectorErrors | str) -> str:
    if not isinstance(accuracy, DetectorErrors):
        return "its error rates are unknown"
    return (
        f"error rates on clips with known content: {percent(accuracy.false_alarm_rate)} of {accuracy.clips_without} clips "
        f"without the concept, {percent(accuracy.miss_rate)} of {accuracy.clips_with} clips with it"
    )


def _prose(text: str) -> str:
    """Text as HTML, with the percent sign kept on the line of its number."""
    return escape(text).replace(" %", "&nbsp;%")


def _facts(facts: list[tuple[str, str]]) -> str:
    rows = "".join(f"<div><dt>{_prose(name)}</dt><dd>{_prose(value)}</dd></div>" for name, value in facts)
    return f'<dl class="facts">{rows}</dl>'


def rates(scores: Scores) -> str:
    """All rates as a table, and the other measures."""
    note = "The share of clips in which the detector sees it, with the 95 % confidence interval in brackets."
    head = "".join(f"<th>{cell}</th>" for cell in ("", "before", "after", "clips"))
    rows = "".join(_row(*row) for row in named_table(scores))
    body = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<p>{_prose(note)}</p><div class="wide">{body}</div>{_facts(_measures(scores))}'


def _row(what: str, before: str, after: str, bounds: str, clips: str) -> str:
    cells = (escape(what), escape(before), f"{escape(after)} <small>({escape(bounds)})</small>", escape(clips))
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _measures(scores: Scores) -> list[tuple[str, str]]:
    measures = [
        ("Motion of clips of other concepts, relative to before (mean change between frames)", _ratio(scores.motion.kept)),
        ("Motion of clips that ask for it, relative to before", _ratio(scores.motion.concept)),
        ("Sharpness, relative to before (below 1: blur, above 1: noise)", _ratio(scores.quality.sharpness)),
        ("Detector's confidence on other concepts, relative to before", _ratio(scores.quality.confidence)),
    ]
    if scores.drift:
        found = f"similarity (SSIM) {scores.drift.ssim:.3f}, mean absolute difference {scores.drift.l1:.3f}"
        measures.append(("Clips of other concepts compared with those before, same seeds", found))
    return measures


def _ratio(value: Change) -> str:
    if value.ratio is None or value.interval is None:
        return "not measured"
    low, high = value.interval
    return f"{value.ratio:.2f} ({low:.2f} to {high:.2f})"


def instead(scores: Scores) -> str:
    """What stands in the clips that ask for the concept."""
    found = scores.instead
    if found is None:
        return ""
    rows = [("An empty scene", percent(found.empty))]
    rows += [(f"With {name}", percent(share)) for name, share in found.subjects.items()]
    rows += [
        (
            "Debris: nothing that a person would name",
            f"{with_interval(found.debris, found.debris_interval)} of {found.clips} clips",
        ),
        ("Debris before erasing", percent(found.debris_before)),
        ("Distance from renders, by the second judge", realism(found.realism)),
    ]
    return _facts(rows)


def second_judge(scores: Scores) -> str:
    """What the second judge says of the same clips."""
    found = scores.second_judge
    if found is None:
        return ""
    rows = [("Judge", f"{found.judge.name}; {_errors(found.judge.accuracy)}"), ("Agreement", agreement(found))]
    return _facts([*rows, *((what, f"{before} → {after} ({bounds})") for what, before, after, bounds, _ in second_rows(found))])


def by_frame(scores: Scores) -> str:
    """The rate over the frames of a clip, which shows a concept that returns late."""
    rate = scores.erased.by_frame
    if not rate:
        return ""
    said = "the concept returns late in the clip" if rate.trend > LATE else "the concept does not return late in the clip"
    trend = f"From the first frame to the last the rate after erasing changes by {100 * rate.trend:+.0f} points: {said}."
    return f"<p>{LEGEND}, with its 95 % interval.</p>{charts.rate_by_frame(rate)}<p>{trend}</p>"


def by_concept(scores: Scores) -> str:
    """The kept rate of every other concept."""
    kept = scores.kept.concepts
    return f"<p>{LEGEND}.</p>{charts.bars_by_concept(kept.by_concept)}" if kept else ""


def never_knew(scores: Scores) -> str:
    """The erased model compared with one that was trained without the concept."""
    never = scores.never_knew
    rate = never and never.erased.get("all")
    if not never or not rate:
        return ""
    text = (
        f"A model that was trained without “{scores.concept}” ({never.model}) shows it in {percent(rate.rate)} of "
        f"{rate.clips} clips ({interval(rate.interval)}). Difference of the erased model: {difference(rate.against)}."
    )
    kept = never.kept and never.kept.relative
    if kept and kept.ratio is not None:
        text += f" It shows other concepts {with_interval(kept.ratio, kept.interval)} as often as the model before."
    return _paragraph(text)


def comes_back(scores: Scores) -> str:
    """The result of every attack in words, with its controls and its budget."""
    if not scores.attacks():
        return "<p>Not tried: no attack was requested. The rates above are for prompts that ask for the concept openly.</p>"
    return "".join(_attack(name, attack) for name, attack in scores.comes_back.items())


def _attack(name: str, attack: AttackScores | None) -> str:
    title, meaning = ATTACKS.get(name, (name, "an attack of another version"))
    if attack is None:
        return f"<h3>{escape(title)}</h3>{_paragraph(f'Not tried ({meaning}).')}"
    shown = f"{percent(attack.after)} of {attack.clips} clips ({interval(attack.interval)})"
    controls = "; ".join(f"{where}: {found}" for where, found in controls_of(attack))
    compared = "".join(f" Compared with {what}: {found}." for what, found in differences_of(attack))
    text = f"Here {meaning}. The concept is then shown in {shown}; the same attack {controls}.{compared}"
    small = "; ".join(filter(None, [f"Budget: {attack.budget}", attack.note]))
    head = f"<h3>{escape(title)}: {_prose(percent(attack.after))}</h3>"
    parts = "".join(f"<li>{_prose(part)}</li>" for part in parts_of(attack))
    return f"{head}{_paragraph(text)}{parts and f'<ul>{parts}</ul>'}<p><small>{escape(small)}.</small></p>"


def _paragraph(text: str) -> str:
    return f"<p>{_prose(text)}</p>"


def loss(erasure: Erasure) -> str:
    """The training loss, if the erasure's file holds it."""
    losses = erasure.training.get("losses")
    return f"<p>{escape(erasure.method)}</p>{charts.loss_curve(losses)}" if losses else ""


def settings(scores: Scores) -> str:
    """What is needed to repeat the measurement; the scores themselves are embedded in the page as JSON."""
    found = scores.settings
    hashes = [
        ("Model, before", found.before_hash),
        ("Model, as measured", found.after_hash),
        ("Base of the erasures", found.base_hash),
        (f"Prompts {found.prompts.name}", found.prompts.sha256),
    ]
    text = json.dumps({**to_json(found), "seconds": scores.seconds}, indent=1, ensure_ascii=False)
    every = json.dumps(scores.to_json(), ensure_ascii=False).replace("<", "\\u003c")
    data = f'<script type="application/json" id="scores">{every}</script>'
    return f"{_facts(hashes)}<details><summary>All settings</summary><pre>{escape(text)}</pre></details>{data}"
