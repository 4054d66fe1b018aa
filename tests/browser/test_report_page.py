"""The evaluation's report in Chromium, on a phone and on a desk: read without scrolling sideways, with clips that play."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from t2vu_core.evaluation import EvaluationSettings, WorldDetector, evaluate
from t2vu_core.evaluation.cases import parse_prompt_set
from t2vu_core.evaluation.report.evidence import write_evidence
from t2vu_core.evaluation.report.page import write_report
from t2vu_core.miniature.detector import MiniatureDetector
from tests.core.tiny_models import TINY_MODELS

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

TINY = TINY_MODELS["cogvideox-2b"]
LONG_WORD = "donaudampfschifffahrtsgesellschaftskapitaensmuetzenabzeichen"
PROMPTS = [
    {"prompt": f"a red ghost beside a {LONG_WORD}"},
    {"prompt": "a quiet ghost in a long and quiet night, " * 8, "register": "refined"},
    {"prompt": "a ghost and a robot", "register": "two_subject", "facts": {"subject": "robot"}},
    {"prompt": "a robot", "register": "kept", "concept": "robot"},
]
WIDTHS = {"small phone": 320, "phone": 390, "desk": 1280}
# The elements that stick out to the right, unless they are inside of one that scrolls by itself.
# Compared with the screen: a phone's innerWidth grows with the page.
TOO_WIDE = """(width) => [...document.querySelectorAll('main *')]
    .filter((e) => !e.closest('pre') && e.getBoundingClientRect().right > width + 1)
    .map((e) => e.outerHTML.slice(0, 80))"""
LOADED = "() => [...document.images].every((i) => i.complete && i.naturalWidth > 0)"
PAIRS = """() => [...document.querySelectorAll('.pair')].map((pair) => [...pair.querySelectorAll('img')].map((img) => {
    const {left, right, top} = img.getBoundingClientRect();
    return {left, right, top, text: img.alt};
}))"""


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A report of an eraser with a training run behind it, on few prompts."""
    torch.manual_seed(0)
    erasure = TINY.random_erasure("bottleneck")
    erasure = dataclasses.replace(erasure, training={"losses": [1.0, 0.5, 0.7, 0.2]})
    prompts = parse_prompt_set("\n".join(map(json.dumps, PROMPTS)).encode(), "prompts", "ghost")
    evaluation = evaluate(
        TINY.model.with_erasure(erasure),
        "ghost",
        detector=WorldDetector(MiniatureDetector().eval()),
        settings=EvaluationSettings.of("quick", num_inference_steps=2),
        prompts=prompts,
    )
    folder = tmp_path_factory.mktemp("report")
    write_evidence(evaluation.scores, folder / "evidence.html", erasures=[erasure])
    return write_report(evaluation, folder / "report.html", erasures=[erasure])


@pytest.fixture(params=WIDTHS.values(), ids=WIDTHS)
def page(browser: Browser, report: Path, request: pytest.FixtureRequest) -> Iterator[Page]:
    phone = request.param < 500
    page = browser.new_page(viewport={"width": request.param, "height": 800}, is_mobile=phone, has_touch=phone)
    page.goto(report.as_uri())
    page.wait_for_function(LOADED)
    yield page
    page.close()


def test_the_page_does_not_scroll_sideways(page: Page) -> None:
    page.locator("summary").click()
    assert page.viewport_size is not None
    width = page.viewport_size["width"]
    assert page.evaluate(TOO_WIDE, width) == []
    assert page.evaluate("() => document.documentElement.scrollWidth") <= width


def test_the_verdict_is_seen_first(page: Page) -> None:
    assert "clips that ask for 'ghost' show it" in page.locator(".verdict").inner_text()
    below = page.evaluate("() => document.querySelector('.verdict').getBoundingClientRect().bottom")
    assert below < 800, "the verdict is whole on the first screen"


def test_before_and_after_stand_side_by_side_and_play(page: Page) -> None:
    pairs = page.evaluate(PAIRS)
    assert len(pairs) == len(PROMPTS)
    for before, after in pairs:
        assert before["text"].startswith("before")
        assert after["text"].startswith("after")
        assert before["top"] == after["top"]
        assert before["right"] <= after["left"]
    clip = page.locator(".pair img").first
    seen = set()
    for _ in range(12):
        seen.add(clip.screenshot())
        page.wait_for_timeout(130)
    assert len(seen) > 1, "the picture stands still"


def test_small_print_can_be_read(page: Page) -> None:
    """Labels of curves shrink with the picture: on a phone they must not get smaller than nine pixels."""
    heights = page.evaluate("() => [...document.querySelectorAll('svg text')].map((t) => t.getBoundingClientRect().height)")
    assert heights
    assert min(heights) > 9


def test_the_evidence_sheet_prints_to_two_pages_of_a4_at_most(browser: Browser, report: Path, tmp_path: Path) -> None:
    """Chromium takes the paper from the page's own @page rule; its default is Letter."""
    page = browser.new_page()
    page.goto(report.with_name("evidence.html").as_uri())
    printed = page.pdf(path=tmp_path / "evidence.pdf", prefer_css_page_size=True)
    page.close()
    boxes = [[float(side) for side in box.split()] for box in re.findall(rb"/MediaBox\s*\[([^\]]+)\]", printed)]
    assert boxes
    assert all(box == pytest.approx([0, 0, 595, 842], abs=1) for box in boxes), "A4 in points"
    assert 1 <= len(boxes) <= 2
