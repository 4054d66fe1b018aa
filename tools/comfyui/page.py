"""ComfyUI's real frontend in Chromium: opened, with a graph dropped on it, classic or with Nodes 2.0."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from tools.comfyui.server import PACK

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    # The page must not need anything from outside.
    "--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1",
]
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
# PrimeVue removes a mask at the end of its CSS animation, which may never come in a headless browser, or at once where
# there is none.
NO_FADING = """() => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync('.p-blockui-mask { animation: none !important }');
    document.adoptedStyleSheets = [...document.adoptedStyleSheets, sheet];
}"""
SETTING = """async ([name, value]) => {
    const known = app.ui.settings;
    await (known.setSettingValueAsync ?? known.setSettingValue).call(known, name, value);
}"""
FIT = """() => {
    app.canvas.selectItems?.([...app.graph._nodes]);
    const nodes = app.graph._nodes, title = 34;
    const left = Math.min(...nodes.map((n) => n.pos[0])), top = Math.min(...nodes.map((n) => n.pos[1] - title));
    const right = Math.max(...nodes.map((n) => n.pos[0] + n.size[0]));
    const bottom = Math.max(...nodes.map((n) => n.pos[1] + n.size[1]));
    app.canvas.deselectAll?.();
    const canvas = document.querySelector('#graph-canvas').getBoundingClientRect();
    const [x, y] = [80, 110];
    const scale = Math.min((canvas.width - x - 30) / (right - left), (canvas.height - y - 30) / (bottom - top), 1);
    app.canvas.ds.scale = scale;
    app.canvas.ds.offset[0] = x / scale - left;
    app.canvas.ds.offset[1] = y / scale - top;
    app.canvas.setDirty(true, true);
    return scale;
}"""
NODES_2 = (1, 58)
"""The frontend from which on Nodes 2.0 and app mode were tried."""
CLICK_MS, LOAD_MS = 60_000, 180_000


def open_page(browser: Browser, url: str, size: tuple[int, int] = (1850, 1050)) -> Page:
    """A page with the frontend, ready for a graph; opened again where its startup mask hangs nevertheless."""
    from playwright.sync_api import Error

    page = browser.new_page(viewport={"width": size[0], "height": size[1]})
    page.set_default_timeout(CLICK_MS)
    page.add_init_script(f"({NO_FADING})()")
    for _ in range(3):
        page.goto(url, wait_until="domcontentloaded", timeout=LOAD_MS)
        page.wait_for_function(READY, timeout=LOAD_MS)
        page.wait_for_timeout(1000)
        try:
            page.locator(".p-blockui-mask").first.wait_for(state="detached", timeout=30_000)
        except Error:
            continue
        return page
    raise AssertionError("The frontend stays behind its startup mask.")


def drop(page: Page, graph: str) -> None:
    """Drop a workflow file on the canvas, as a person does, and wait for its nodes."""
    wanted = len(json.loads(graph)["nodes"])
    page.evaluate("() => app.graph.clear()")
    page.evaluate(DROP, graph)
    page.wait_for_function(f"() => app.graph._nodes.length === {wanted}")


def close_dialogs(page: Page) -> None:
    """Close what the frontend opens over a graph: it offers the models that the graph names and that are not there."""
    page.wait_for_timeout(300)
    for button in page.locator(".p-dialog-mask .p-dialog-close-button").all():
        button.click()


def change_setting(page: Page, name: str, value: object) -> None:
    """Change a setting of the frontend."""
    page.evaluate(SETTING, [name, value])


def fit(page: Page) -> float:
    """Show the whole graph; returns the zoom."""
    return float(page.evaluate(FIT))


def frontend_version(page: Page) -> tuple[int, ...]:
    """Major and minor version of the frontend."""
    return tuple(map(int, page.evaluate("() => window.__COMFYUI_FRONTEND_VERSION__").split(".")[:2]))


def toggle_app_mode(page: Page) -> None:
    """Change between the graph and the form of app mode, without the tour that the first visit offers."""
    page.evaluate("() => app.extensionManager.command.execute('Comfy.ToggleLinear')")
    page.wait_for_timeout(1000)
    skip = page.get_by_text("Skip", exact=True)
    if skip.count():
        skip.first.click()


def pack_templates(page: Page) -> None:
    """Open the template browser at the pack's templates."""
    page.evaluate("() => app.extensionManager.command.execute('Comfy.BrowseTemplates')")
    page.locator("[role=dialog]").get_by_text(PACK, exact=True).first.click()
