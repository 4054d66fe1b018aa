"""Screenshots of the templates in ComfyUI's real frontend: `python -m tools.screenshots --out DIR`.

COMFYUI_DIR and COMFYUI_PYTHON choose another ComfyUI, as for ./run. With --run the graph is run first, with few steps.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from tools.comfyui import ComfyServer, NoServer
from tools.comfyui.page import CHROMIUM, FLAGS, change_setting, drop, fit, open_page
from tools.say import complain, say

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

REPOSITORY = Path(__file__).resolve().parents[1]
TEMPLATES = sorted(path.stem for path in (REPOSITORY / "example_workflows").glob("*.json"))
SHORTEN = """() => {
    for (const node of app.graph._nodes.filter((n) => n.type.startsWith('T2VU')))
        for (const widget of node.widgets ?? [])
            if (widget.name === 'steps') widget.value = node.type === 'T2VUCompare' ? 12 : 3;
}"""
RUNS = "async () => Object.keys(await (await fetch('/history')).json()).length"
RUN_S = 500


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


def _shoot(browser: Browser, url: str, nodes: str, options: argparse.Namespace) -> None:
    """Each template in every size, with classic nodes or Nodes 2.0."""
    page = open_page(browser, url, options.size[0])
    change_setting(page, "Comfy.VueNodes.Enabled", nodes == "vue")
    change_setting(page, "Comfy.ColorPalette", options.theme)
    page.reload()
    page.wait_for_function("() => window.app?.graph && window.LiteGraph?.registered_node_types['T2VULoadModel']")
    page.wait_for_timeout(1500)
    for name in options.templates:
        drop(page, (REPOSITORY / "example_workflows" / f"{name}.json").read_text(encoding="utf-8"))
        if options.run:
            _run(page)
        for width, height in options.size:
            _picture(
                page,
                options.out / f"{name}-{nodes}-{options.theme}-{width}{'-run' if options.run else ''}.png",
                (width, height),
            )
    page.close()


def _run(page: Page) -> None:
    page.evaluate(SHORTEN)
    before = page.evaluate(RUNS)
    page.locator("[data-testid=queue-button]").first.click()
    for _ in range(RUN_S):
        if page.evaluate(RUNS) > before:
            break
        page.wait_for_timeout(1000)
    page.wait_for_timeout(3000)


def _picture(page: Page, path: Path, size: tuple[int, int]) -> None:
    page.set_viewport_size({"width": size[0], "height": size[1]})
    page.wait_for_timeout(700)
    zoom = fit(page)
    page.wait_for_timeout(1200)
    page.screenshot(path=path)
    say(f"{path}, zoom {zoom:.2f}")


def _size(text: str) -> tuple[int, int]:
    width, height = text.split("x")
    return int(width), int(height)


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tools.screenshots", description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="folder for the pictures")
    parser.add_argument("--templates", nargs="+", choices=TEMPLATES, default=TEMPLATES, help="default: all")
    parser.add_argument("--nodes", nargs="+", choices=("classic", "vue"), default=["classic"], help="vue: Nodes 2.0")
    parser.add_argument(
        "--size", nargs="+", type=_size, default=[(1600, 1000), (1280, 800)], help="default: 1600x1000 1280x800"
    )
    parser.add_argument("--theme", choices=("dark", "light"), default="dark")
    parser.add_argument("--run", action="store_true", help="run the graph first, with few steps")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
