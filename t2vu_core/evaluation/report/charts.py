"""Curves and bars as inline SVG and HTML: no scripts, no image files, readable in print and on a phone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape

from t2vu_core.scores import ByFrame, Rate

WIDTH, HEIGHT = 520, 230
# Margins for labels of 15 units, their size on a phone.
LEFT, RIGHT, TOP, BOTTOM = 54, 14, 14, 42


def rate_by_frame(by_frame: ByFrame) -> str:
    """Rate over frame index before and after, with the interval of after as a band."""
    count = len(by_frame.after)
    low, high = zip(*by_frame.interval, strict=True)
    band = [*_points(low, count, 1.0), *reversed(_points(high, count, 1.0))]
    shapes = f'<polygon class="band" points="{_join(band)}"/>'
    for name, rates in (("before", by_frame.before), ("after", by_frame.after)):
        shapes += f'<polyline class="{name}" points="{_join(_points(rates, count, 1.0))}"/>'
        shapes += "".join(f'<circle class="{name}" cx="{x}" cy="{y}" r="3"/>' for x, y in _points(rates, count, 1.0))
    ticks = _x_ticks([str(index + 1) for index in range(count)])
    return _frame(shapes + _y_ticks(["0 %", "50 %", "100 %"]) + ticks, "frame", "Rate of clips with the concept, by frame")


def loss_curve(losses: Sequence[float]) -> str:
    """The training loss over the steps; the axis includes zero, and the loss of gradient ascent lies below it."""
    step = max(1, len(losses) // 250)
    shown = list(losses)[::step]
    low, high = min(0.0, *shown), max(0.0, *shown)
    points = _points([loss - low for loss in shown], len(shown), high - low or 1.0)
    line = f'<polyline class="after" points="{_join(points)}"/>'
    ticks = _y_ticks([f"{value:.2g}" for value in (low, (low + high) / 2, high)]) + _x_ticks(["1", str(len(losses))])
    return _frame(line + ticks, "training step", "Training loss")


def bars_by_concept(by_concept: Mapping[str, Rate]) -> str:
    """A pair of bars per concept, before and after, as HTML that stays readable at any width."""
    rows = []
    for name, rate in by_concept.items():
        shares = (("before", rate.before), ("after", rate.after))
        bars = "".join(f'<span class="bar {which}" style="width:{100 * share:.1f}%"></span>' for which, share in shares)
        numbers = f"{100 * rate.before:.0f} → {100 * rate.after:.0f} %"
        rows.append(f'<div class="row"><b>{escape(name)}</b><span class="bars">{bars}</span><i>{numbers}</i></div>')
    return f'<div class="concepts">{"".join(rows)}</div>'


def _points(values: Sequence[float], count: int, top: float) -> list[tuple[float, float]]:
    return [
        (_x(index, count), round(HEIGHT - BOTTOM - value / top * (HEIGHT - TOP - BOTTOM), 1))
        for index, value in enumerate(values)
    ]


def _x(index: int, count: int) -> float:
    return round(LEFT + index / max(1, count - 1) * (WIDTH - LEFT - RIGHT), 1)


def _join(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x},{y}" for x, y in points)


def _y_ticks(labels: Sequence[str]) -> str:
    parts = []
    for index, label in enumerate(labels):
        y = HEIGHT - BOTTOM - index / (len(labels) - 1) * (HEIGHT - TOP - BOTTOM)
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y}" y2="{y}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{y + 4}" text-anchor="end">{label}</text>')
    return "".join(parts)


def _x_ticks(labels: Sequence[str]) -> str:
    step = max(1, len(labels) // 12)
    places = [(index, label) for index, label in enumerate(labels) if index % step == 0]
    return "".join(
        f'<text x="{_x(index, len(labels))}" y="{HEIGHT - BOTTOM + 18}" text-anchor="middle">{label}</text>'
        for index, label in places
    )


def _frame(shapes: str, x_title: str, title: str) -> str:
    name = f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 5}" text-anchor="middle">{x_title}</text>'
    return f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">{shapes}{name}</svg>'
