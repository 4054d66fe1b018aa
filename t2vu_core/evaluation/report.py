"""The report: one HTML page that holds everything it shows, for a lawyer to read and an engineer to check."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from t2vu_core.erasure import Erasure, atomic_path
from t2vu_core.evaluation import charts
from t2vu_core.evaluation.cases import KEPT
from t2vu_core.evaluation.evaluate import Evaluation
from t2vu_core.evaluation.records import Record
from t2vu_core.evaluation.report_style import STYLE
from t2vu_core.evaluation.verdict import REGISTER_TITLES, sentences, table
from t2vu_core.video import to_uint8

# Pairs of each register on the page: the first of the prompt set, so that nobody picks the pretty ones.
SHOWN = {"terse": 2, "synonym": 1, "refined": 1, "two_subject": 1, KEPT: 3}
LOSSLESS_BELOW, LARGEST = 128, 320


def write_report(evaluation: Evaluation, path: Path, *, erasures: Sequence[Erasure] = (), fps: int = 8) -> Path:
    """Write the page, whole or not at all."""
    with atomic_path(path) as temporary:
        temporary.write_text(page(evaluation, erasures=erasures, fps=fps), encoding="utf-8")
    return path


def page(evaluation: Evaluation, *, erasures: Sequence[Erasure] = (), fps: int = 8) -> str:
    """The whole page as HTML."""
    scores = evaluation.scores
    title = f"Erasure of “{escape(evaluation.concept)}”"
    body = [
        f"<h1>{title}</h1>",
        f'<p class="verdict">{escape(sentences(scores))}</p>',
        _section("Before and after, same seeds", _clips(evaluation, fps)),
        _section("Rates", _rates(scores)),
        _section("Frame by frame", _by_frame(scores)),
        _section("Other concepts", _by_concept(scores)),
        _section("Comes back", _comes_back(scores)),
        _section("Loss of the training", "".join(map(_loss, erasures))),
        _section("Settings and hashes", _settings(scores)),
    ]
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{STYLE}</style></head>'
        f"<body><main>{''.join(body)}</main></body></html>"
    )


def _section(title: str, content: str) -> str:
    return f"<section><h2>{title}</h2>{content}</section>" if content else ""


def _clips(evaluation: Evaluation, fps: int) -> str:
    chosen = []
    for register, count in SHOWN.items():
        chosen += [record for record in evaluation.records if record.case.register == register][:count]
    note = "The first prompts of each kind in the prompt set, not chosen by result. Left before, right after."
    return f'<p>{note}</p><div class="pairs">{"".join(_pair(evaluation, record, fps) for record in chosen)}</div>'


def _pair(evaluation: Evaluation, record: Record, fps: int) -> str:
    figures = []
    for which, key, seen in (("before", record.before_key, record.before), ("after", record.after_key, record.after)):
        source = webp_data_uri(evaluation.clips.get(key), fps)
        text = which
        if record.concept:
            found = "shows" if seen.judgement.shown[record.concept] else "does not show"
            text = f"{which}: {found} {escape(record.concept)}"
        figures.append(f'<figure><img src="{source}" alt="{text}"><figcaption>{text}</figcaption></figure>')
    kind = REGISTER_TITLES.get(record.case.register, "another concept")
    words = f"{escape(record.case.prompt)} <small>({kind}, seed {record.case.seed})</small>"
    return f'<div class="pair"><div>{"".join(figures)}</div><p>{words}</p></div>'


def webp_data_uri(clip_FCHW: Tensor, fps: int) -> str:
    """A playing clip that needs no file: small ones lossless, large ones made smaller."""
    largest = max(clip_FCHW.shape[-2:])
    if largest > LARGEST:
        clip_FCHW = F.interpolate(clip_FCHW, scale_factor=LARGEST / largest, mode="bilinear", antialias=True)
    frames = [Image.fromarray(frame) for frame in to_uint8(clip_FCHW)]
    file, lossless = io.BytesIO(), largest <= LOSSLESS_BELOW
    options: dict[str, Any] = {"lossless": lossless, "quality": 80}
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:], duration=1000 // fps, loop=0, **options)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")


def _rates(scores: dict[str, Any]) -> str:
    head = "".join(f"<th>{cell}</th>" for cell in ("", "before", "after", "95 % interval", "clips"))
    rows = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in table(scores))
    motion, drift, quality = scores["motion"], scores["drift"], scores["quality"]
    facts = [
        ("motion against base (mean change from frame to frame)", _ratio(motion)),
        ("sharpness against base (mean Laplacian; below 1 is blur, above 1 is noise)", _ratio(quality["sharpness"])),
        ("detector's confidence on other concepts, against base", _ratio(quality["confidence"])),
    ]
    if drift:
        facts.append(("same-seed drift of other clips", f"SSIM {drift['ssim']:.3f}, mean difference {drift['l1']:.3f}"))
    measures = "".join(f"<tr><td>{name}</td><td colspan=4>{value}</td></tr>" for name, value in facts)
    return f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}{measures}</tbody></table></div>'


def _ratio(value: dict[str, Any]) -> str:
    if value["ratio"] is None:
        return "-"
    low, high = value["interval"]
    return f"{value['ratio']:.2f} ({low:.2f} to {high:.2f})"


def _by_frame(scores: dict[str, Any]) -> str:
    by_frame = scores["erased"]["by_frame"]
    if not by_frame:
        return ""
    trend = f"{100 * by_frame['trend']:+.0f} points from the first frame to the last"
    legend = '<span class="key before"></span> before <span class="key after"></span> after, with its 95 % interval'
    return f"{charts.rate_by_frame(by_frame)}<p>{legend}. Trend after: {trend}.</p>"


def _by_concept(scores: dict[str, Any]) -> str:
    kept = scores["kept"]["concepts"]
    return charts.bars_by_concept(kept["by_concept"]) if kept else ""


def _comes_back(scores: dict[str, Any]) -> str:
    rows = [(name, attack) for name, attack in scores["comes_back"].items()]
    lines = []
    for name, attack in rows:
        if attack is None:
            lines.append(f"<li>{name.replace('_', ' ')}: not asked</li>")
            continue
        low, high = (100 * bound for bound in attack["interval"])
        rate = f"{100 * attack['after']:.0f} % of {attack['clips']} clips ({low:.0f} to {high:.0f} %)"
        control = f"the same attack on the unerased model: {100 * attack['control']:.0f} %"
        lines.append(f"<li>{name.replace('_', ' ')}: {rate}; {control}. Budget: {escape(attack['budget'])}.</li>")
    return f"<ul>{''.join(lines)}</ul>"


def _loss(erasure: Erasure) -> str:
    losses = erasure.training.get("losses")
    return f"<p>{escape(erasure.method)}</p>{charts.loss_curve(losses)}" if losses else ""


def _settings(scores: dict[str, Any]) -> str:
    text = json.dumps({**scores["settings"], "seconds": scores["seconds"]}, indent=1, ensure_ascii=False)
    every = json.dumps(scores, ensure_ascii=False).replace("<", "\\u003c")
    data = f'<script type="application/json" id="scores">{every}</script>'
    return f"<details><summary>All settings</summary><pre>{escape(text)}</pre></details>{data}"
