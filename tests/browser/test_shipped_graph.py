"""The shipped graph on the real frontend in Chromium: dropped, run, and its videos seen."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tools.comfyui import ComfyServer
from tools.comfyui.page import close_dialogs, drop, fit, open_page
from tools.comfyui.server import REPOSITORY

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

GRAPHS = sorted(path.stem for path in (REPOSITORY / "example_workflows").glob("*.json"))
SHORTEN = """() => {
    const set = (node, name, value) => { const w = node.widgets.find((w) => w.name === name); w.value = value; };
    for (const node of app.graph._nodes) {
        if (node.type === 'T2VUVelocityErase') { set(node, 'steps', 1); set(node, 'num_frames', 1); }
        if (node.type === 'T2VUCompare') set(node, 'steps', 8);
    }
}"""
# Only nodes in view are drawn, and with them their videos: the graph's own view shows all of it.
VIDEOS = """() => [...document.querySelectorAll('video')].filter((v) => v.readyState >= 2 && v.videoWidth > 0)
    .map((v) => [v.videoWidth, v.videoHeight, v.duration])"""
RUN_MS = 500_000


@pytest.fixture(scope="module")
def page(browser: Browser, comfy: ComfyServer) -> Page:
    return open_page(browser, comfy.url)


def _drop(page: Page, name: str, folder: Path = REPOSITORY / "example_workflows") -> None:
    drop(page, (folder / f"{name}.json").read_text(encoding="utf-8"))
    close_dialogs(page)


@pytest.mark.parametrize("name", GRAPHS)
def test_the_api_graph_is_the_drawn_graph(page: Page, name: str) -> None:
    """Who queues workflows/api without a browser runs what the template shows."""
    _drop(page, name)
    drawn: dict[str, Any] = page.evaluate("async () => (await app.graphToPrompt()).output")
    shipped = json.loads((REPOSITORY / "workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))
    assert set(drawn) == set(shipped)
    for key, node in shipped.items():
        assert drawn[key]["class_type"] == node["class_type"]
        # ComfyUI's own nodes have other names and inputs in other versions.
        if node["class_type"].startswith("T2VU"):
            assert drawn[key]["inputs"] == node["inputs"]
            assert drawn[key]["_meta"]["title"] == node["_meta"]["title"]


LEAST_ZOOM = 4 / 7
"""Below it, LiteGraph draws boxes in place of text."""
COVERED = """() => {
    const boxes = app.graph._nodes.map((n) => [n.title, n.pos[0], n.pos[1] - 30, n.pos[0] + n.size[0], n.pos[1] + n.size[1]]);
    return boxes.flatMap((a, i) => boxes.slice(i + 1)
        .filter((b) => a[1] < b[3] && b[1] < a[3] && a[2] < b[4] && b[2] < a[4]).map((b) => `${a[0]} and ${b[0]}`));
}"""

# The spline of each wire against the box of each node, but for the last pixels at its own slots.
WIRES_BEHIND_NODES = """() => {
    const {links, _nodes: nodes} = app.graph, found = new Set(), near = (p, q) => Math.hypot(p[0] - q[0], p[1] - q[1]) < 25;
    for (const link of links instanceof Map ? links.values() : Object.values(links)) {
        const [from, to] = [app.graph.getNodeById(link.origin_id), app.graph.getNodeById(link.target_id)];
        const a = [...from.getConnectionPos(false, link.origin_slot)], b = [...to.getConnectionPos(true, link.target_slot)];
        const reach = Math.hypot(a[0] - b[0], a[1] - b[1]) / 4;
        const points = [a, [a[0] + reach, a[1]], [b[0] - reach, b[1]], b];
        for (let t = 0; t < 1; t += 0.01) {
            const weights = [(1 - t) ** 3, 3 * (1 - t) ** 2 * t, 3 * (1 - t) * t * t, t ** 3];
            const [x, y] = [0, 1].map((side) => points.reduce((sum, point, i) => sum + weights[i] * point[side], 0));
            for (const n of nodes)
                if (x > n.pos[0] + 8 && x < n.pos[0] + n.size[0] - 8 && y > n.pos[1] - 26 && y < n.pos[1] + n.size[1] - 4
                    && !(n === from && near([x, y], a)) && !(n === to && near([x, y], b)))
                    found.add(`${from.title} to ${to.title} behind ${n.title}`);
        }
    }
    return [...found];
}"""

NOTES_CUT_OFF = """() => app.graph._nodes.filter((n) => n.type === "MarkdownNote")
    .map((n) => n.widgets[0].element.querySelector(".tiptap")).map((text) => text.scrollHeight - text.clientHeight)"""
"""How many pixels of each note's text are out of sight."""


@pytest.mark.parametrize("name", GRAPHS)
def test_every_node_can_be_read_where_the_graph_fits_the_window(page: Page, name: str) -> None:
    """The frontend makes nodes as wide as their titles and widgets need."""
    _drop(page, name)
    before = page.viewport_size
    for width, height in ((1600, 1000), (1280, 800)):
        page.set_viewport_size({"width": width, "height": height})
        page.wait_for_timeout(500)
        assert fit(page) >= LEAST_ZOOM
    assert page.evaluate(COVERED) == []
    assert page.evaluate(WIRES_BEHIND_NODES) == []
    assert not any(page.evaluate(NOTES_CUT_OFF))
    assert before is not None
    page.set_viewport_size(before)


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


def _words(page: Page, kind: str) -> str:
    """The text that stays on the node of that type, as it is drawn; empty where there is none."""
    script = (
        """(kind) => app.graph._nodes.find((n) => n.type === kind).widgets?.find((w) => w.name === 'result')?.value ?? ''"""
    )
    return str(page.evaluate(script, kind))


def _run(page: Page) -> None:
    page.evaluate(SHORTEN)
    page.locator("[data-testid=queue-button]").first.click()
    training = "() => { const n = app.graph._nodes.find((n) => n.type === 'T2VUVelocityErase'); return n.progress > 0; }"
    page.wait_for_function(training, timeout=RUN_MS)


@pytest.mark.slow
def test_a_person_drops_the_graph_runs_it_and_sees_before_and_after(page: Page, tmp_path: Path) -> None:
    """Slow, because it waits for a browser, a training run and four clips."""
    _drop(page, "erase_a_concept")
    fit(page)
    _run(page)
    page.wait_for_function(f"() => ({VIDEOS})().length === 1", timeout=RUN_MS)
    # The frontend clears what it shows of a running job when the job ends.
    page.wait_for_timeout(3000)
    page.screenshot(path=tmp_path / "graph.png")
    ((width, height, seconds),) = page.evaluate(VIDEOS)
    assert width > 450, "before and after stand side by side, large enough to be seen"
    assert height > 450, "the prompts stand under each other"
    assert seconds >= 1
    assert _words(page, "T2VUSaveErasure") == "saved as ghost.safetensors"
    assert _words(page, "T2VUVelocityErase").startswith("Trained 1 steps in ")
    assert page.evaluate("() => app.lastNodeErrors") in (None, {})


PLAYED = """async () => {
    const canvas = document.querySelector('.t2vu-player canvas');
    const at = () => canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data.reduce((a, b) => a + b, 0);
    const seen = new Set();
    for (let i = 0; i < 12; i++) { seen.add(at()); await new Promise((r) => setTimeout(r, 150)); }
    return [canvas.width, canvas.height, seen.size];
}"""


@pytest.mark.slow
def test_the_player_shows_both_clips_side_by_side_and_under_a_slider(page: Page) -> None:
    """Slow, because it needs the run of the test before."""
    if not page.locator(".t2vu-player canvas").count():
        pytest.skip("the graph has not been run")
    width, height, pictures = page.evaluate(PLAYED)
    assert width == 2 * height >= 480
    assert pictures > 1, "the clip stands still"
    page.locator(".t2vu-player button").first.click()
    assert page.evaluate(PLAYED)[:2] == [height, height], "one clip lies over the other"
    page.locator(".t2vu-player input[type=range]").fill("0")
    page.locator(".t2vu-player select").select_option(index=1)
    page.wait_for_function("() => document.querySelector('.t2vu-player select').selectedIndex === 1")
    page.locator(".t2vu-player button").first.click()


# The training node, its visible widgets, and one of its widgets by name.
ERASE = "app.graph._nodes.find((n) => n.type === 'T2VUVelocityErase')"
SHOWN = f"() => {ERASE}.widgets.filter((w) => {ERASE}.isWidgetVisible(w)).map((w) => w.name)"


def _widget(name: str) -> str:
    return f"{ERASE}.widgets.find((w) => w.name === '{name}')"


@pytest.mark.slow
def test_a_cancelled_training_says_on_its_node_that_run_goes_on(page: Page) -> None:
    """Slow, because it trains until it is cancelled."""
    _drop(page, "erase_a_concept")
    page.evaluate(f"() => {{ {_widget('steps')}.value = 900; {_widget('num_frames')}.value = 1; }}")
    page.locator("[data-testid=queue-button]").first.click()
    page.wait_for_function(f"() => {ERASE}.widgets.some((w) => /training \\d/.test(w.value))", timeout=RUN_MS)
    page.evaluate("() => window.comfyAPI.api.api.interrupt()")
    # Frontend 1.58 shows what a node of this number said in the graph before, until this one says something.
    page.wait_for_function(f"() => {_widget('result')}?.value.startsWith('Cancelled after step')", timeout=RUN_MS)
    assert "Cancelled after step" in page.evaluate(f"() => {_widget('result')}.value")


def test_rarely_used_inputs_are_folded_and_say_what_zero_stands_for(page: Page) -> None:
    _drop(page, "erase_a_concept")
    few = set(page.evaluate(SHOWN))
    assert {"concept", "preset", "seed"} <= few
    assert not {"steps", "eta", "learning_rate", "low_memory", "eta_zero"} & few
    page.evaluate(f"() => {_widget('more settings')}.callback()")
    assert {"steps", "eta", "learning_rate"} <= set(page.evaluate(SHOWN))
    assert page.evaluate(f"() => {_widget('steps')}._displayValue") == "as in the preset"
