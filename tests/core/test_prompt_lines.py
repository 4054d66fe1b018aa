"""Prompt files and text fields: one reader for all of them."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from t2vu_core.commands.options import read_prompts
from t2vu_core.errors import UserError
from t2vu_core.evaluation import load_prompt_set
from t2vu_core.evaluation.cases import parse_prompt_set
from t2vu_core.prompts.candidates import PlanSize
from t2vu_core.prompts.english import with_article
from t2vu_core.prompts.lines import MAX_BYTES, MAX_LINES, prompt_lines
from t2vu_core.prompts.pairs import PromptPair
from t2vu_core.prompts.plan import plan_request
from t2vu_core.prompts.prompt_set import prompt_set_for
from t2vu_core.prompts.request import ConceptRequest


def measured(path: str) -> list[str]:
    return [case.prompt for case in load_prompt_set(Path(path), "ghost").cases]


READERS = pytest.mark.parametrize("read", [read_prompts, measured], ids=["training", "measuring"])


@READERS
@pytest.mark.parametrize(
    "content",
    [
        b"a ghost\n(ghost:1.2), {red|blue}\n",
        b"\xef\xbb\xbfa ghost\r\n\r\n  (ghost:1.2), {red|blue}\r\n",
        b"a ghost\r(ghost:1.2), {red|blue}",
    ],
    ids=["plain", "byte order mark and CRLF", "CR"],
)
def test_line_ends_and_marks_of_editors_do_not_reach_a_prompt(
    read: Callable[[str], list[str]], content: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(content)
    assert read(str(path)) == ["a ghost", "(ghost:1.2), {red|blue}"]


@READERS
def test_a_wildcard_at_the_start_is_a_prompt(read: Callable[[str], list[str]], tmp_path: Path) -> None:
    path = tmp_path / "prompts.txt"
    path.write_text("{ghost|cat} running\n", encoding="utf-8")
    assert read(str(path)) == ["{ghost|cat} running"]


@READERS
@pytest.mark.parametrize(
    ("content", "hint"),
    [
        ("a ghost\n".encode("utf-16"), "save it as UTF-8"),
        ("a ghost\n".encode("utf-16-le"), "save it as UTF-8"),
        ("a ghost\na gh\u00f6st\n".encode("latin-1"), "line 2: this is not UTF-8"),
        (b"a ghost\n" * (MAX_LINES + 1), f"at most {MAX_LINES}"),
        (b"x" * (MAX_BYTES + 1), "too large"),
    ],
    ids=["UTF-16", "UTF-16 without a mark", "Latin-1", "too many lines", "too large"],
)
def test_what_is_no_short_utf_8_text_is_refused(
    read: Callable[[str], list[str]], content: bytes, hint: str, tmp_path: Path
) -> None:
    path = tmp_path / "prompts.txt"
    path.write_bytes(content)
    with pytest.raises(UserError, match=hint) as refused:
        read(str(path))
    assert "\n" not in str(refused.value)


@READERS
def test_a_pipe_or_device_is_refused_and_not_waited_for(read: Callable[[str], list[str]], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    refusals: list[str] = []

    def ask(path: Path) -> None:
        with pytest.raises(UserError) as refused:
            read(str(path))
        refusals.append(str(refused.value))

    for path in (tmp_path / "pipe", Path("/dev/zero"), tmp_path):
        asking = threading.Thread(target=ask, args=(path,), daemon=True)
        asking.start()
        asking.join(timeout=20)
    assert len(refusals) == 3
    assert all("not a regular file" in said for said in refusals)


def test_json_lines_are_for_measuring_only() -> None:
    line = '{"prompt": "a ghost at sea", "register": "refined"}'
    assert [case.prompt for case in parse_prompt_set(line, "the field", "ghost").cases] == ["a ghost at sea"]
    with pytest.raises(UserError, match="line 2: this is JSON"):
        prompt_lines(f"a ghost\n{line}", "the field")


@pytest.mark.parametrize("value", ["[" * 100_000, '"a ghost", "seed": ' + "9" * 5000 + "}"], ids=["deep", "long number"])
def test_json_beyond_the_limits_of_the_parser_is_refused_with_its_line(value: str) -> None:
    with pytest.raises(UserError, match="line 2: this JSON"):
        parse_prompt_set('a ghost\n{"prompt": ' + value, "the field", "ghost")


@pytest.mark.parametrize("text", ["a \ud83d ghost", '{"prompt": "a \\ud83d ghost"}'])
def test_half_of_a_character_is_refused(text: str) -> None:
    with pytest.raises(UserError, match="half of a character pair"):
        parse_prompt_set(text, "the field", "ghost")


def test_a_prompt_with_a_weight_goes_to_the_concept_that_it_names() -> None:
    prompts = ("(cat:1.2), running", "a ghost,cat")
    request = ConceptRequest(("ghost", "cat"), concept_prompts=prompts)
    pairs = plan_request(request, prompt_set_for(None), PlanSize(8, 4, 0)).pairs
    assert PromptPair("(cat:1.2), running", "an animal, running") in pairs
    assert PromptPair("(cat:1.2), running", "") not in pairs


@pytest.mark.parametrize(
    ("concept", "synonyms"), [("curly {", ()), ("curly {} brace", ()), ("ghost", ("{}",)), ("ghost", ("{",))]
)
def test_braces_in_a_name_are_letters_like_others(concept: str, synonyms: tuple[str, ...]) -> None:
    plan = plan_request(ConceptRequest((concept,), synonyms=synonyms), prompt_set_for(None), PlanSize(6, 4, 0))
    assert len(plan.pairs) == 6
    assert any(with_article(concept) in pair.prompt for pair in plan.pairs)
    assert all("{" not in pair.neutral for pair in plan.pairs)


def test_a_preserve_prompt_that_says_the_concept_is_named_by_its_line(tmp_path: Path) -> None:
    """Blank lines count, as in every editor."""
    text = "a dog\n\n  \na ghost on a hill\n"
    (tmp_path / "keep.txt").write_text(text, encoding="utf-8")
    for found in (read_prompts(str(tmp_path / "keep.txt")), prompt_lines(text, "A text field")):
        asked = ConceptRequest(("ghost",), preserve_prompts=tuple(found))
        with pytest.raises(UserError, match=r"^Line 4 of the preserve prompts, 'a ghost on a hill', says 'ghost'"):
            plan_request(asked, prompt_set_for(None), PlanSize(2, 2, 0))
