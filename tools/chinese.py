"""Writes what is Chinese from one source: `python -m tools.chinese`.

The templates in example_workflows/zh have the titles, notes and groups of locales/zh/templates.json; the help pages in
web/docs/<node>/zh.md are made of locales/zh/nodeDefs.json. A text without a translation stays English.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).resolve().parents[1]
TEMPLATES = REPOSITORY / "example_workflows"
LOCALE = REPOSITORY / "locales" / "zh"
HELP = REPOSITORY / "web" / "docs"
NOTES = ("MarkdownNote", "Note")
MORE = "更多说明（运行方式、错误提示）见英文文档 `web/docs/{node}.md`。"


def main() -> None:
    for path, text in {**templates(), **help_pages()}.items():
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def templates() -> dict[Path, str]:
    """The Chinese templates by their paths."""
    words = _json(LOCALE / "templates.json")
    return {
        path.parent / "zh" / path.name: json.dumps(_translated(_json(path), words), indent=1, ensure_ascii=False) + "\n"
        for path in sorted(TEMPLATES.glob("*.json"))
    }


def help_pages() -> dict[Path, str]:
    """The Chinese help pages by their paths."""
    return {HELP / node / "zh.md": _page(node, texts) for node, texts in _json(LOCALE / "nodeDefs.json").items()}


def _translated(graph: dict[str, Any], words: dict[str, str]) -> dict[str, Any]:
    for node in graph["nodes"]:
        if "title" in node:
            node["title"] = words.get(node["title"], node["title"])
        if node["type"] in NOTES:
            paragraphs = node["widgets_values"][0].split("\n\n")
            node["widgets_values"][0] = "\n\n".join(words.get(text.strip(), text) for text in paragraphs)
    for group in graph["groups"]:
        group["title"] = words.get(group["title"], group["title"])
    return graph


def _page(node: str, texts: dict[str, Any]) -> str:
    inputs = [f"- `{name}`（{each['name']}）：{each['tooltip']}" for name, each in texts["inputs"].items()]
    outputs = [f"- {each['name']}" for each in texts["outputs"].values()]
    parts = [f"# {texts['display_name']}", f"![](pictures/zh/{node}.svg)", texts["description"], "## 输入", "\n".join(inputs)]
    if outputs:
        parts += ["## 输出", "\n".join(outputs)]
    return "\n\n".join([*parts, MORE.format(node=node)]) + "\n"


def _json(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
