"""The one reader of prompts, one per line: files of options and fields of nodes."""

from __future__ import annotations

import json
import re
from pathlib import Path

from t2vu_core.errors import UserError, has_surrogate
from t2vu_core.input_files import read_bounded

MAX_LINES = 10_000
MAX_BYTES = 16 * 2**20
MAX_CHARACTERS = 20_000
"""Of one prompt; text encoders read a few thousand at most."""
_UTF_16 = (b"\xff\xfe", b"\xfe\xff")
_LINE_END = re.compile("\r\n|\r|\n")
_JSON = re.compile(r'\s*\{\s*"')


class Line(str):
    """A line of a user's text, which knows its number there."""

    number: int

    @classmethod
    def of(cls, number: int, text: str) -> Line:
        """The line of that number, from 1."""
        line = cls(text)
        line.number = number
        return line


def read_file(path: Path) -> bytes:
    """The content of a prompt file. Raises UserError unless it is a regular file of at most MAX_BYTES."""
    return read_bounded(path, f"The prompts in {path} cannot be read", "Name a text file.", MAX_BYTES)


def numbered_lines(content: bytes | str, name: str) -> list[tuple[int, str]]:
    """The lines that are not empty, without surrounding space, with their numbers; errors call the content `name`.

    A byte order mark is skipped. Braces, weights and all other characters stay as they are. Raises UserError for text that
    is not UTF-8, for more than MAX_LINES lines, and for a line of more than MAX_CHARACTERS.
    """
    text = content if isinstance(content, str) else _decoded(content, name)
    lines = [(number, line.strip()) for number, line in enumerate(_LINE_END.split(text.removeprefix("\ufeff")), 1)]
    found = [(number, line) for number, line in lines if line]
    if len(found) > MAX_LINES:
        raise UserError(f"{name} has {len(found)} prompts; at most {MAX_LINES} are read. Shorten it.")
    for number, line in found:
        if len(line) > MAX_CHARACTERS and not is_json(line):
            raise UserError(f"{name}, line {number}: {len(line)} characters are too many for a prompt; shorten it.")
        if has_surrogate(line):
            raise UserError(f"{name}, line {number}: half of a character pair stands alone; type the text again.")
    return found


def prompt_lines(content: bytes | str, name: str) -> list[Line]:
    """Prompts, one per line, with the numbers of their lines.

    Raises UserError for JSON Lines, which only prompt sets for measuring are written in.
    """
    found = numbered_lines(content, name)
    for number, line in found:
        if is_json(line) and _is_object(line):
            raise UserError(f"{name}, line {number}: this is JSON, but only the prompt is expected; write one per line.")
    return [Line.of(number, line) for number, line in found]


def is_json(line: str) -> bool:
    """Whether a line is meant as a JSON object: a brace and a quote. "{red|blue} ghost" is a prompt."""
    return bool(_JSON.match(line))


def _is_object(line: str) -> bool:
    try:
        return isinstance(json.loads(line), dict)
    except json.JSONDecodeError:
        return False
    except (ValueError, RecursionError):
        # Whole up to a number that is too long, or a depth that is too great.
        return True


def _decoded(content: bytes, name: str) -> str:
    if content.startswith(_UTF_16) or b"\0" in content:
        raise UserError(f"{name} is not UTF-8 text, but UTF-16 or a binary file; save it as UTF-8.")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        raise UserError(f"{name}, line {line}: this is not UTF-8 text; save the file as UTF-8.") from error
