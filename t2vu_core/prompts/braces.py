"""ComfyUI's dynamic prompts: "a {ghost|cat} runs" stands for "a ghost runs" or "a cat runs"; `\\{` is a brace."""

from __future__ import annotations

import re
from collections.abc import Sequence

from t2vu_core.mentions import says
from t2vu_core.prompts.lines import Line

_INNERMOST = re.compile(r"(?<!\\)\{((?:[^{}\\]|\\.)*)(?<!\\)\}")
"""Braces without braces inside them."""
_MARK = re.compile("\ufdd0(\\d+)\ufdd1")
"""Stands for the braces of that number; noncharacters, which no text has."""
_ESCAPED = re.compile(r"\\([{}])")
MAX_DEPTH = 8
"""Braces within braces beyond which a prompt stays as it is."""
MAX_ALTERNATIVES = 64
"""Of one prompt; others are left out."""


def alternatives(prompt: str) -> list[str]:
    """What a prompt with braces stands for, in texts that together have every alternative; without braces the prompt itself.

    The first text has the first alternative of every pair of braces, and so on; braces with fewer begin again. Spaces become
    single ones, and a `Line` keeps its number. Braces without their other half stay as they are.
    """
    groups: list[list[str]] = []

    def mark(found: re.Match[str]) -> str:
        groups.append(found[1].split("|"))
        return f"\ufdd0{len(groups) - 1}\ufdd1"

    marked, depth = prompt, 0
    while (replaced := _INNERMOST.sub(mark, marked)) != marked:
        marked, depth = replaced, depth + 1
        if depth > MAX_DEPTH:
            return [prompt]
    if not groups:
        return [prompt]
    counts: list[int] = []
    for group in groups:
        # Inner braces have smaller numbers: they are counted before.
        inner = max((counts[int(number)] for option in group for number in _MARK.findall(option)), default=1)
        counts.append(len(group) * inner)

    def chosen(text: str, index: int) -> str:
        def option(found: re.Match[str]) -> str:
            group = groups[int(found[1])]
            return chosen(group[index % len(group)], index // len(group))

        return _MARK.sub(option, text)

    outer = min(MAX_ALTERNATIVES, max(counts[int(number)] for number in _MARK.findall(marked)))
    texts = dict.fromkeys(" ".join(_ESCAPED.sub(r"\1", chosen(marked, index)).split()) for index in range(outer))
    found = [text for text in texts if text] or [prompt]
    return [Line.of(prompt.number, text) for text in found] if isinstance(prompt, Line) else found


def spelled_out(prompts: Sequence[str], names: Sequence[str] = ()) -> list[str]:
    """The prompts without braces. Of the alternatives of a prompt that says one of the names, only those that say one."""
    found = []
    for prompt in prompts:
        texts = alternatives(prompt)
        found += [text for text in texts if says(text, names)] or texts
    return found
