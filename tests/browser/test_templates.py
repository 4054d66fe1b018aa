"""The templates, the blueprint and the form of app mode as a person meets them in the real frontend."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.chinese import help_pages, templates
from tools.comfyui import ComfyServer
from tools.comfyui.page import (
    NODES_2,
    READY,
    change_setting,
    drop,
    frontend_version,
    open_page,
    pack_templates,
    toggle_app_mode,
)
from tools.comfyui.server import PACK, REPOSITORY

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

SHIPPED = sorted(path.stem for path in (REPOSITORY / "example_workflows").glob("*.json"))
FIRST = (REPOSITORY / "example_workflows" / "erase_a_concept.json").read_text(encoding="utf-8")
WIDTHS = "() => [...document.images].map((i) => i.naturalWidth)"
FORM = ["concept", "instead", "preset", "prompts"]
# What covers the 0 of each number in Nodes 2.0.
COVERS = """() => [...document.querySelectorAll('[node-type=T2VUVelocityErase] input[aria-valuenow="0"]')]
    .map((i) => getComputedStyle(i.parentElement, '::after').content)"""


@pytest.fixture(scope="module")
def page(browser: Browser, comfy: ComfyServer) -> Page:
    return open_page(browser, comfy.url)


def test_the_template_browser_shows_readable_names_and_the_first_graph_first(page: Page) -> None:
    titles = page.evaluate("async (pack) => (await window.comfyAPI.api.api.getWorkflowTemplates())[pack]", PACK)
    assert titles[0] == "Erase a concept"
    assert len(titles) == len(SHIPPED)
    assert not [title for title in titles if "_" in title]


def test_the_template_browser_asks_for_moving_pictures_and_opens_the_graph(page: Page) -> None:
    pack_templates(page)
    page.get_by_text("Erase a concept", exact=True).first.wait_for()
    picture = "(pack) => window.comfyAPI.api.api.apiURL(`/workflow_templates/${pack}/Erase a concept`)"
    assert page.evaluate(picture, PACK).endswith("/erase_a_concept.webp?")
    page.wait_for_function(f"() => ({WIDTHS})().filter((width) => width === 480).length >= 3")
    page.get_by_text("Erase a concept", exact=True).first.click()
    page.wait_for_function("() => app.graph._nodes.some((n) => n.type === 'T2VUVelocityErase')")


def test_the_blueprint_is_one_node_from_load_to_eraser(page: Page) -> None:
    page.evaluate("() => app.graph.clear()")
    page.evaluate("() => app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")
    page.wait_for_timeout(1000)
    page.keyboard.type("Erase")
    page.locator("[role=option]").filter(has_text="Subgraph Blueprints").filter(has_text="Erase").first.click()
    page.wait_for_timeout(500)
    page.mouse.click(900, 500)
    page.wait_for_function("() => app.graph._nodes.length === 1")
    node = page.evaluate(
        "() => { const [n] = app.graph._nodes; return [n.widgets.map((w) => w.name), n.outputs.map((o) => o.type)]; }"
    )
    assert node == [["model", "concept", "instead", "preset", "seed", "name"], ["T2VU_MODEL", "T2VU_ERASER", "STRING"]]
    inside = page.evaluate("async () => Object.values((await app.graphToPrompt()).output).map((n) => n.class_type)")
    assert sorted(inside) == ["T2VULoadModel", "T2VUSaveErasure", "T2VUVelocityErase"]


@pytest.fixture
def nodes_2(page: Page) -> Page:
    """The first template in Nodes 2.0, where the frontend is new enough to have them and app mode."""
    if frontend_version(page) < NODES_2:
        pytest.skip("this frontend has no app mode, and its Nodes 2.0 do not name the node of a widget")
    page.keyboard.press("Escape")
    change_setting(page, "Comfy.VueNodes.Enabled", True)
    page.reload()
    page.wait_for_function(READY)
    page.wait_for_timeout(2000)
    drop(page, FIRST)
    return page


def test_nodes_2_shows_words_in_place_of_zero(nodes_2: Page) -> None:
    nodes_2.evaluate("() => { app.graph._nodes.find((n) => n.type === 'T2VUVelocityErase').showAdvanced = true; }")
    nodes_2.wait_for_function(f"() => ({COVERS})().length >= 5")
    covers = nodes_2.evaluate(COVERS)
    assert covers.count('"as in the preset"') == 2, "steps and learning_rate"
    assert '"as in the model"' in covers


def test_app_mode_asks_for_concept_replacement_preset_and_prompts(nodes_2: Page) -> None:
    toggle_app_mode(nodes_2)
    asked = nodes_2.locator("[data-testid=linear-widgets]").first.inner_text().split("\n")
    assert [word for word in asked if word in FORM] == FORM
    toggle_app_mode(nodes_2)


def test_what_is_chinese_is_up_to_date() -> None:
    """`python -m tools.chinese` writes it."""
    for path, text in {**templates(), **help_pages()}.items():
        assert path.read_text(encoding="utf-8") == text, path.relative_to(REPOSITORY)


def test_a_chinese_browser_gets_chinese_templates(page: Page, comfy: ComfyServer) -> None:
    change_setting(page, "Comfy.VueNodes.Enabled", False)
    change_setting(page, "Comfy.Locale", "zh")
    try:
        titles = page.evaluate("async (pack) => (await window.comfyAPI.api.api.getWorkflowTemplates())[pack]", PACK)
        assert titles[0] == "擦除一个概念"
        url = page.evaluate(
            "([pack, title]) => window.comfyAPI.api.api.apiURL(`/workflow_templates/${pack}/${title}.json`)", [PACK, titles[0]]
        )
        note = page.evaluate(
            "async (url) => (await (await fetch(url)).json()).nodes.find((n) => n.type === 'MarkdownNote')", url
        )
        assert note["title"] == "如何阅读此图"
    finally:
        change_setting(page, "Comfy.Locale", "en")
