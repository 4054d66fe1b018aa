"""Screenshots of ComfyUI's real frontend: graphs, template browser, app mode: `python -m tools.screenshots --out DIR`.

COMFYUI_DIR and COMFYUI_PYTHON choose another ComfyUI, as for ./run. With --run, graphs run first, with few steps, and the form
of app mode runs as it ships.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tools.comfyui import ComfyServer, NoServer
from tools.comfyui.page import (
    CHROMIUM,
    FLAGS,
    NODES_2,
    READY,
    change_setting,
    close_dialogs,
    drop,
    fit,
    frontend_version,
    open_page,
    pack_templates,
    toggle_app_mode,
)
from tools.say import complain, say

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Locator, Page

REPOSITORY = Path(__file__).resolve().parents[1]
TEMPLATES = sorted(path.stem for path in (REPOSITORY / "example_workflows").glob("*.json"))
PLACES = ("graph", "browser", "app")
SHORTEN = """() => {
    for (const node of app.graph._nodes.filter((n) => n.type.startsWith('T2VU')))
        for (const widget of node.widgets ?? [])
            if (widget.name === 'steps') widget.value = node.type === 'T2VUCompare' ? 12 : 3;
}"""
RUNS = "async () => Object.keys(await (await fetch('/history')).json()).length"
RUN_S = 500
SHOWN_MS = 3000
"""What a picture or a clip takes to be shown."""


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    if CHROMIUM is None:
        complain("there is no Chromium on this machine (Debian: apt-get install chromium).")
        return 1
    from playwright.sync_api import sync_playwright

    options.out.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory() as base, ComfyServer(Path(base)) as server, sync_playwright() as driver:
            browser = driver.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
            for nodes in options.nodes:
                _shoot(browser, server.url, nodes, options)
            browser.close()
    except NoServer as error:
        complain(str(error))
        return 1
    return 0


@dataclass(frozen=True)
class _Camera:
    """Takes a picture in each size."""

    page: Page
    options: argparse.Namespace
    end: str
    """What the names of the pictures end with: nodes and theme."""

    def shoot(self, name: str, *, whole_graph: bool = False) -> None:
        # A tooltip would cover something.
        self.page.mouse.move(self.options.size[0][0] // 2, 5)
        for width, height in self.options.size:
            self.page.set_viewport_size({"width": width, "height": height})
            self.page.wait_for_timeout(700)
            zoom = f", zoom {fit(self.page):.2f}" if whole_graph else ""
            self.page.wait_for_timeout(1200)
            path = self.options.out / f"{name}-{self.end}-{width}{'-run' if self.options.run else ''}.png"
            self.page.screenshot(path=path)
            say(f"{path}{zoom}")
        width, height = self.options.size[0]
        self.page.set_viewport_size({"width": width, "height": height})


def _shoot(browser: Browser, url: str, nodes: str, options: argparse.Namespace) -> None:
    """All places in every size, with classic nodes or Nodes 2.0."""
    page = open_page(browser, url, options.size[0])
    change_setting(page, "Comfy.VueNodes.Enabled", nodes == "vue")
    change_setting(page, "Comfy.ColorPalette", options.theme)
    page.reload()
    page.wait_for_function(READY)
    page.wait_for_timeout(1500)
    camera = _Camera(page, options, f"{nodes}-{options.theme}")
    for place in options.places:
        {"graph": _graphs, "browser": _template_browser, "app": _app_mode}[place](camera)
    page.close()


def _graphs(camera: _Camera) -> None:
    page = camera.page
    for name in camera.options.templates:
        drop(page, (REPOSITORY / "example_workflows" / f"{name}.json").read_text(encoding="utf-8"))
        close_dialogs(page)
        if camera.options.run:
            page.evaluate(SHORTEN)
            _run(page, page.locator("[data-testid=queue-button]").first)
        camera.shoot(name, whole_graph=True)


def _template_browser(camera: _Camera) -> None:
    pack_templates(camera.page)
    camera.page.wait_for_timeout(SHOWN_MS)
    camera.shoot("browser")
    camera.page.keyboard.press("Escape")


def _app_mode(camera: _Camera) -> None:
    """The form of the first template, and with --run its clip."""
    page = camera.page
    if frontend_version(page) < NODES_2:
        say("This frontend has no app mode.")
        return
    drop(page, (REPOSITORY / "example_workflows" / "erase_a_concept.json").read_text(encoding="utf-8"))
    toggle_app_mode(page)
    if camera.options.run:
        _run(page, page.locator("[data-testid=linear-run-button]").get_by_text("Run", exact=True))
    camera.shoot("app")
    toggle_app_mode(page)


def _run(page: Page, button: Locator) -> None:
    before = page.evaluate(RUNS)
    button.click()
    for _ in range(RUN_S):
        if page.evaluate(RUNS) > before:
            break
        page.wait_for_timeout(1000)
    page.wait_for_timeout(SHOWN_MS)


def _size(text: str) -> tuple[int, int]:
    width, height = text.split("x")
    return int(width), int(height)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.screenshots", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    parser.add_argument("--places", nargs="+", choices=PLACES, default=PLACES, help="default: all")
    parser.add_argument("--templates", nargs="+", choices=TEMPLATES, default=TEMPLATES, help="graphs; default: all")
    parser.add_argument("--nodes", nargs="+", choices=("classic", "vue"), default=["classic"], help="vue: Nodes 2.0")
    parser.add_argument(
        "--size", nargs="+", type=_size, default=[(1600, 1000), (1280, 800)], help="default: 1600x1000 1280x800"
    )
    parser.add_argument("--theme", choices=("dark", "light"), default="dark")
    parser.add_argument("--run", action="store_true", help="run graphs, with few steps, and the form of app mode")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
