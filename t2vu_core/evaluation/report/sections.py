"""The parts of the report that are words, tables and curves: what the scores say, in HTML."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from typing import Any

from t2vu_core.erasure import Erasure
from t2vu_core.evaluation.report import charts
from t2vu_core.evaluation.report.wording import (
    ATTACK_OUTCOMES,
    KEPT_BELOW,
    STILL_BELOW,
    controls_of,
    difference,
    differences_of,
    interval,
    left_out,
    motion_kept,
    percent,
    sentences,
    table,
    under_attack,
    with_interval,
)

TONES = {
    "Erased": "good", "Mostly erased": "fair", "Partly erased": "fair", "Not erased": "bad", "Too few clips to tell": "fair",
    "Nothing to erase": "fair", **dict(zip(ATTACK_OUTCOMES, ("bad", "fair", "fair", "good"), strict=True)),
}  # fmt: skip
ATTACKS = {
    "probe": ("Learned tokens", "the attacker trains a few new words on clips of the concept and puts them into the prompt"),
    "prompt_attack": ("Found words", "the attacker searches for other words that bring the concept back"),
    "regrowth": ("More training", "the model is trained a little more, on clips of other things"),
}
# A rate after erasing that rises by more than this from the first frame to the last is worth a warning.
LATE = 0.10
LEGEND = '<span class="key before"></span> before <span class="key after"></span> after'


def verdict(scores: Mapping[str, Any]) -> str:
    """The verdict: words that a person sees from afar, and two sentences."""
    text = sentences(scores)
    return f'<p class="badges">{_badges(scores, text)}</p><p class="verdict">{_prose(text)}</p>'


def _badges(scores: Mapping[str, Any], text: str) -> str:
    word = text.partition(":")[0]
    badges = [(word, TONES[word])] if word in TONES else []
    kept = scores["kept"]["concepts"]
    share, motion = kept and kept["relative"]["ratio"], motion_kept(scores)
    if share is not None:
        damaged = share < KEPT_BELOW or (motion is not None and motion < STILL_BELOW)
        badges.append(("The rest is damaged", "bad") if damaged else ("The rest is kept", "good"))
    attacked = under_attack(scores)
    badges += [(attacked, TONES[attacked])] if attacked else []
    return "".join(f'<b class="badge {tone}">{title}</b> ' for title, tone in badges)


def measured(settings: Mapping[str, Any]) -> str:
    """Which model was measured with what on it, who judged, and how often that judge errs."""
    applied = [
        f"{', '.join(erasure['concepts'])}: {erasure['method']}, strength {erasure['strength']:g}"
        for erasure in settings["erasures"]
    ]
    applied += [f"guard {settings['guard']['name']}"] if settings["guard"] else []
    detector, accuracy = settings["detector"], settings["detector"]["accuracy"]
    errors = "its own errors are not known"
    if isinstance(accuracy, Mapping):
        alarms, misses = percent(accuracy["false_alarm_rate"]), percent(accuracy["miss_rate"])
        errors = (
            f"on clips of known content it errs in {alarms} of {accuracy['clips_without']} without the concept "
            f"and {misses} of {accuracy['clips_with']} with it"
        )
    asked = f"{settings['prompts']['clips']} prompts, each with the same seed before and after"
    facts = [
        ("Model", settings["model"]),
        ("Erased by", "; ".join(applied) or "nothing: no erasure and no guard was on the model"),
        ("Judged by", f"{detector['name']}; {errors}"),
        ("Measured on", "; ".join(filter(None, [asked, left_out(settings)]))),
    ]
    return _facts(facts)


def _prose(text: str) -> str:
    """Text as HTML, in which no number loses its percent sign to the next line."""
    return escape(text).replace(" %", "&nbsp;%")


def _facts(facts: list[tuple[str, str]]) -> str:
    rows = "".join(f"<div><dt>{_prose(name)}</dt><dd>{_prose(value)}</dd></div>" for name, value in facts)
    return f'<dl class="facts">{rows}</dl>'


def rates(scores: Mapping[str, Any]) -> str:
    """All rates, and the measures that are no rates."""
    note = "The share of clips in which the detector sees it. In brackets: where the true share lies, with 95 % confidence."
    head = "".join(f"<th>{cell}</th>" for cell in ("", "before", "after", "clips"))
    rows = "".join(_row(scores["concept"], *row) for row in table(scores))
    body = f"<table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table>"
    return f'<p>{_prose(note)}</p><div class="wide">{body}</div>{_facts(_measures(scores))}'


def _row(concept: str, what: str, before: str, after: str, bounds: str, clips: str) -> str:
    what = what.replace("shows it", f"shows {concept}", 1)
    cells = (escape(what), escape(before), f"{escape(after)} <small>({escape(bounds)})</small>", escape(clips))
    return f"<tr>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>"


def _measures(scores: Mapping[str, Any]) -> list[tuple[str, str]]:
    quality, drift = scores["quality"], scores["drift"]
    measures = [
        ("Motion of other concepts' clips, against before (mean change from frame to frame)", _ratio(scores["motion"]["kept"])),
        ("Motion of clips that ask for it, against before", _ratio(scores["motion"]["concept"])),
        ("Sharpness, against before (below 1 is blur, above 1 is noise)", _ratio(quality["sharpness"])),
        ("Detector's confidence on other concepts, against before", _ratio(quality["confidence"])),
    ]
    if drift:
        found = f"likeness (SSIM) {drift['ssim']:.3f}, mean difference {drift['l1']:.3f}"
        measures.append(("Clips of other concepts beside themselves before, same seeds", found))
    return measures


def _ratio(value: Mapping[str, Any]) -> str:
    if value["ratio"] is None:
        return "not measured"
    low, high = value["interval"]
    return f"{value['ratio']:.2f} ({low:.2f} to {high:.2f})"


def by_frame(scores: Mapping[str, Any]) -> str:
    """The rate over the frames of a clip: a concept may come back late in it."""
    rate = scores["erased"]["by_frame"]
    if not rate:
        return ""
    said = "it comes back late in the clip" if rate["trend"] > LATE else "it does not come back late in the clip"
    trend = f"From the first frame to the last the rate after erasing changes by {100 * rate['trend']:+.0f} points: {said}."
    return f"<p>{LEGEND}, with its 95 % interval.</p>{charts.rate_by_frame(rate)}<p>{trend}</p>"


def by_concept(scores: Mapping[str, Any]) -> str:
    """What is kept, concept by concept."""
    kept = scores["kept"]["concepts"]
    return f"<p>{LEGEND}.</p>{charts.bars_by_concept(kept['by_concept'])}" if kept else ""


def never_knew(scores: Mapping[str, Any]) -> str:
    """The erased model beside one that was trained without the concept."""
    never = scores.get("never_knew")
    if not never or not never["erased"]["all"]:
        return ""
    rate = never["erased"]["all"]
    text = (
        f"A model that was trained without “{scores['concept']}” ({never['model']}) shows it in {percent(rate['rate'])} of "
        f"{rate['clips']} clips ({interval(rate['interval'])}). The erased model differs by {difference(rate['against'])}."
    )
    kept = never["kept"] and never["kept"]["relative"]
    if kept and kept["ratio"] is not None:
        text += f" It shows other concepts {with_interval(kept['ratio'], kept['interval'])} as often as the model before."
    return _paragraph(text)


def comes_back(scores: Mapping[str, Any]) -> str:
    """What the attacks brought back, each in words, with its controls and its budget."""
    if not any(scores["comes_back"].values()):
        return "<p>Not tried: no attack was asked for. The rates above are those of prompts that ask openly.</p>"
    return "".join(_attack(name, attack) for name, attack in scores["comes_back"].items())


def _attack(name: str, attack: Mapping[str, Any] | None) -> str:
    title, meaning = ATTACKS[name]
    if attack is None:
        return f"<h3>{escape(title)}</h3>{_paragraph(f'Not tried ({meaning}).')}"
    shown = f"{percent(attack['after'])} of {attack['clips']} clips ({interval(attack['interval'])})"
    beside = "; ".join(f"{where}: {found}" for where, found in controls_of(attack))
    against = "".join(f" Against {what} that is {found}." for what, found in differences_of(attack))
    text = f"Here {meaning}. The concept is then in {shown}; the same attack {beside}.{against}"
    small = "; ".join(filter(None, [f"Budget: {attack['budget']}", attack.get("note")]))
    head = f"<h3>{escape(title)}: {_prose(percent(attack['after']))}</h3>"
    return f"{head}{_paragraph(text)}<p><small>{escape(small)}.</small></p>"


def _paragraph(text: str) -> str:
    return f"<p>{_prose(text)}</p>"


def loss(erasure: Erasure) -> str:
    """The course of a training, where the erasure's file tells it."""
    losses = erasure.training.get("losses")
    return f"<p>{escape(erasure.method)}</p>{charts.loss_curve(losses)}" if losses else ""


def settings(scores: Mapping[str, Any]) -> str:
    """What an engineer needs to measure the same again; the scores themselves lie in the page as JSON."""
    found = scores["settings"]
    prompts = found["prompts"]
    hashes = [
        ("Model, before", found["before_hash"]),
        ("Model, as measured", found["after_hash"]),
        ("Base that erasures name", found["base_hash"]),
        (f"Prompts {prompts['name']}", prompts["sha256"]),
    ]
    text = json.dumps({**found, "seconds": scores["seconds"]}, indent=1, ensure_ascii=False)
    every = json.dumps(scores, ensure_ascii=False).replace("<", "\\u003c")
    data = f'<script type="application/json" id="scores">{every}</script>'
    return f"{_facts(hashes)}<details><summary>All settings</summary><pre>{escape(text)}</pre></details>{data}"
