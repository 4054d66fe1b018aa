"""The shipped graph on the real frontend in Chromium: dropped, run, and its videos seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tools.comfyui import ComfyServer
from tools.comfyui.server import REPOSITORY

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

GRAPHS = ["erase_a_concept", "few_shot_encoder", "both_methods_side_by_side"]
READY = "() => window.app?.graph && window.LiteGraph?.registered_node_types['T2VULoadModel']"
DROP = """(text) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([text], 'erase_a_concept.json', {type: 'application/json'}));
    const canvas = document.querySelector('#graph-canvas');
    const {x, y, width, height} = canvas.getBoundingClientRect();
    const at = {bubbles: true, cancelable: true, composed: true, clientX: x + width / 2, clientY: y + height / 2};
    for (const type of ['dragenter', 'dragover', 'drop'])
        canvas.dispatchEvent(new DragEvent(type, {...at, dataTransfer: transfer}));
}"""
SHORTEN = """() => {
    const set = (node, name, value) => { const w = node.widgets.find((w) => w.name === name); w.value = value; };
    for (const node of app.graph._nodes) {
        if (node.type === 'T2VUVelocityErase') set(node, 'steps', 1);
        if (node.type === 'T2VUSampleVideo') set(node, 'steps', 8);
    }
}"""
# Only nodes in view are drawn, and with them their videos: the graph's own view shows all of it.
VIDEOS = """() => [...document.querySelectorAll('video')].filter((v) => v.readyState >= 2 && v.videoWidth > 0)
    .map((v) => [v.videoWidth, v.videoHeight, v.duration])"""
# PrimeVue removes a mask at the end of its CSS animation, which may never come in a headless browser, or at once where
# there is none.
NO_FADING = """() => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync('.p-blockui-mask { animation: none !important }');
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
}"""
CLICK_MS, LOAD_MS, RUN_MS = 60_000, 180_000, 500_000


@pytest.fixture(scope="module")
def page(browser: Browser, comfy: ComfyServer) -> Page:
    page = browser.new_page(viewport={"width": 1850, "height": 1050})
    page.set_default_timeout(CLICK_MS)
    page.add_init_script(f"({NO_FADING})()")
    _open(page, comfy.url)
    return page


def _open(page: Page, url: str) -> None:
    """Open the frontend, and again where its startup mask hangs nevertheless."""
    from playwright.sync_api import Error

    for _ in range(3):
        page.goto(url, wait_until="domcontentloaded", timeout=LOAD_MS)
        page.wait_for_function(READY, timeout=LOAD_MS)
        page.wait_for_timeout(1000)
        try:
            page.locator(".p-blockui-mask").first.wait_for(state="detached", timeout=30_000)
        except Error:
            continue
        return
    raise AssertionError("The frontend stays behind its startup mask.")


def _drop(page: Page, name: str, folder: Path = REPOSITORY / "example_workflows") -> None:
    page.evaluate("() => app.graph.clear()")
    page.evaluate(DROP, (folder / f"{name}.json").read_text(encoding="utf-8"))
    page.wait_for_function("() => app.graph._nodes.some((node) => node.type === 'T2VUSampleVideo')")


@pytest.mark.parametrize("name", GRAPHS)
def test_the_api_graph_is_the_drawn_graph(page: Page, name: str) -> None:
    """Who queues workflows/api without a browser runs what the template shows."""
    _drop(page, name)
    drawn: dict[str, Any] = page.evaluate("async () => (await app.graphToPrompt()).output")
    shipped = json.loads((REPOSITORY / "workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))
    assert {key: node["_meta"] for key, node in drawn.items()} == {key: node["_meta"] for key, node in shipped.items()}
    for key, node in shipped.items():
        # ComfyUI's own nodes have other inputs in other versions.
        if node["class_type"].startswith("T2VU"):
            assert drawn[key] == node


@pytest.mark.parametrize("name", ["erase_a_concept", "both_methods_side_by_side"])
def test_a_graph_saved_by_0_1_opens_with_its_values(page: Page, name: str) -> None:
    """Inputs that came later have their defaults."""
    folder = REPOSITORY / "tests" / "data" / "v0_1" / "workflows"
    _drop(page, name, folder)
    drawn: dict[str, Any] = page.evaluate("async () => (await app.graphToPrompt()).output")
    saved = json.loads((folder / "api" / f"{name}.json").read_text(encoding="utf-8"))
    assert set(drawn) == set(saved)
    for key, node in saved.items():
        if node["class_type"].startswith("T2VU"):
            assert drawn[key]["class_type"] == node["class_type"]
            assert {name: drawn[key]["inputs"].get(name) for name in node["inputs"]} == node["inputs"]


@pytest.mark.slow
def test_a_person_drops_the_graph_runs_it_and_sees_before_and_after(page: Page, tmp_path: Path) -> None:
    """Slow, because it waits for a browser, a training and four clips."""
    _drop(page, "erase_a_concept")
    page.evaluate(SHORTEN)
    page.locator("[data-testid=queue-button]").first.click()
    training = "() => { const n = app.graph._nodes.find((n) => n.type === 'T2VUVelocityErase'); return n.progress > 0; }"
    page.wait_for_function(training, timeout=RUN_MS)
    page.wait_for_function(f"() => ({VIDEOS})().length === 2", timeout=RUN_MS)
    page.screenshot(path=tmp_path / "graph.png")
    for width, height, seconds in page.evaluate(VIDEOS):
        assert width > height > 150, "before and after stand side by side, large enough to be seen"
        assert seconds > 1
    assert page.evaluate("() => app.lastNodeErrors") in (None, {})
