"""The report: one self-contained HTML page, for non-engineers to read and for engineers to check."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from t2vu_core.erasure import Erasure, atomic_path
from t2vu_core.evaluation.cases import KEPT
from t2vu_core.evaluation.evaluate import Evaluation
from t2vu_core.evaluation.records import Record
from t2vu_core.evaluation.report import sections
from t2vu_core.evaluation.report.style import STYLE
from t2vu_core.evaluation.report.wording import REGISTER_TITLES
from t2vu_core.video import to_uint8

# Pairs per register on the page: the first of the prompt set, so that none are picked by result.
SHOWN = {"terse": 2, "synonym": 1, "refined": 1, "two_subject": 1, KEPT: 3}
LOSSLESS_BELOW, LARGEST = 128, 320


def write_report(evaluation: Evaluation, path: Path, *, erasures: Sequence[Erasure] = (), fps: int = 8) -> Path:
    """Write the page atomically; returns its path."""
    with atomic_path(path) as temporary:
        temporary.write_text(page(evaluation, erasures=erasures, fps=fps), encoding="utf-8")
    return path


def page(evaluation: Evaluation, *, erasures: Sequence[Erasure] = (), fps: int = 8) -> str:
    """The whole page as HTML."""
    scores = evaluation.scores
    title = f"Erasure of “{escape(evaluation.concept)}”"
    body = [
        f"<h1>{title}</h1>",
        sections.verdict(scores),
        _section("Before and after with the same seeds", _clips(evaluation, fps)),
        _section("What was measured", sections.measured(scores)),
        _section("Rates", sections.rates(scores)),
        _section("What stands there instead", sections.instead(scores)),
        _section("A second judge", sections.second_judge(scores)),
        _section("Frame by frame", sections.by_frame(scores)),
        _section("Other concepts", sections.by_concept(scores)),
        _section("Compared with a model that never knew it", sections.never_knew(scores)),
        _section("Attacks", sections.comes_back(scores)),
        _section("Training loss", "".join(map(sections.loss, erasures))),
        _section("Settings and hashes", sections.settings(scores)),
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
    note = "The first prompts of each kind in the prompt set, not chosen by result. Left: before. Right: after."
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
    """The clip as an animated WebP data URI: lossless if small, scaled down if large."""
    largest = max(clip_FCHW.shape[-2:])
    if largest > LARGEST:
        clip_FCHW = F.interpolate(clip_FCHW, scale_factor=LARGEST / largest, mode="bilinear", antialias=True)
    frames = [Image.fromarray(frame) for frame in to_uint8(clip_FCHW)]
    file, lossless = io.BytesIO(), largest <= LOSSLESS_BELOW
    options: dict[str, Any] = {"lossless": lossless, "quality": 80}
    frames[0].save(file, "WEBP", save_all=True, append_images=frames[1:], duration=1000 // fps, loop=0, **options)
    return "data:image/webp;base64," + base64.b64encode(file.getvalue()).decode("ascii")
