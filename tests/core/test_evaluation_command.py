"""`t2vu evaluate`: what it prints and leaves, and how it refuses."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest

from t2vu_core.erasure import Erasure
from t2vu_core.evaluation.attacks import ATTACKS
from tests.core.tiny_models import TINY_MODELS

TINY = TINY_MODELS["cogvideox-2b"]
PROMPTS = 'a red ghost floats\n{"prompt": "a robot", "register": "kept", "concept": "robot"}\n'


@pytest.fixture
def evaluate(t2vu: Callable, tmp_path: Path) -> Callable[..., tuple[int, str, str]]:
    (tmp_path / "prompts.jsonl").write_text(PROMPTS, encoding="utf-8")

    def run(*arguments: object) -> tuple[int, str, str]:
        always = ["--model", TINY.folder, "--device", "cpu", "--out", tmp_path / "out", "--steps", 2]
        always += ["--prompts", tmp_path / "prompts.jsonl"]
        return t2vu("evaluate", *always, *arguments)

    return run


@pytest.fixture
def erasure(tmp_path: Path) -> Path:
    return TINY.random_erasure("bottleneck").save(tmp_path / "ghost")


@pytest.mark.smoke
def test_scores_are_printed_kept_and_put_into_the_file(evaluate: Callable, erasure: Path, tmp_path: Path) -> None:
    code, out, _ = evaluate("--concept", "ghost", "--erasure", erasure, "--json")
    assert code == 0
    printed = json.loads(out)
    assert printed["erased"]["terse"]["clips"] == 1
    assert printed["comes_back"] == dict.fromkeys(ATTACKS)
    assert json.loads((tmp_path / "out" / "scores.json").read_text())["erased"] == printed["erased"]
    assert "data:image/webp" in Path(printed["report"]).read_text()
    scores = Erasure.load(erasure).scores
    assert scores is not None
    assert scores.to_json()["erased"] == printed["erased"]
    code, out, _ = evaluate("--concept", "ghost", "--erasure", erasure)
    assert code == 0
    assert "clips that ask for 'ghost' show it" in out
    assert "report.html" in out


class Scripts(HTMLParser):
    """The content of every script of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: object) -> None:
        if tag == "script":
            self.found.append("")

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.found[-1] += data


def test_a_strangers_erasure_puts_no_script_into_the_report(evaluate: Callable, tmp_path: Path) -> None:
    """The report is opened in a browser, and the concepts in a file are whatever its author wrote."""
    hostile = "</script><script>alert(1)</script><!--<script>"
    foreign = dataclasses.replace(TINY.random_erasure("bottleneck"), concepts=("ghost", hostile)).save(tmp_path / "ghost")
    code, out, _ = evaluate("--concept", "ghost", "--erasure", foreign, "--json")
    assert code == 0
    (data,) = Scripts(Path(json.loads(out)["report"]).read_text(encoding="utf-8")).found
    assert "<" not in data, "a browser ends or nests a script at some tags, whatever stands around them"
    assert hostile in str(json.loads(data)["settings"])


def test_scores_of_a_guarded_or_weakened_erasure_are_not_the_files(evaluate: Callable, erasure: Path) -> None:
    code, out, _ = evaluate("--concept", "ghost", "--erasure", erasure, "--guard", "negative_prompt", "--json")
    assert code == 0
    assert json.loads(out)["settings"]["guard"]["name"] == "negative_prompt"
    assert json.loads(out)["scores_written_to"] is None
    code, _, _ = evaluate("--concept", "ghost", "--erasure", erasure, "--strength", 0.5)
    assert code == 0
    assert Erasure.load(erasure).scores is None


def test_a_guard_that_works_through_guidance_is_measured_with_the_guidance_asked_for(evaluate: Callable) -> None:
    """The own guidance of some models is 1, which is none."""
    arguments = ["--concept", "ghost", "--guard", "negative_prompt", "--json", "--guidance-scale"]
    code, _, err = evaluate(*arguments, 1)
    assert code == 2
    assert "use a guidance scale above 1" in err
    code, out, _ = evaluate(*arguments, 3)
    assert code == 0
    assert json.loads(out)["settings"]["guidance_scale"] == 3


def test_scores_measured_on_other_weights_are_not_the_files(evaluate: Callable, tmp_path: Path) -> None:
    foreign = TINY.random_erasure("bottleneck")
    foreign = dataclasses.replace(foreign, base=dataclasses.replace(foreign.base, hash="0" * 64)).save(tmp_path / "ghost")
    code, out, _ = evaluate("--concept", "ghost", "--erasure", foreign, "--allow-other-base", "--json")
    assert code == 0
    assert json.loads(out)["scores_written_to"] is None
    assert Erasure.load(foreign).scores is None


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--concept", "unicorn"], "does not know the concept 'unicorn'"),
        (["--concept", "robot"], "is for ghost, not for 'robot'"),
        (["--concept", "ghost", "--detector", "oracle"], "no detector 'oracle'"),
        (["--concept", "ghost", "--prompts", "nowhere.txt"], "nowhere.txt cannot be read"),
    ],
)
def test_wrong_input_is_one_sentence(evaluate: Callable, erasure: Path, arguments: list[str], says: str) -> None:
    code, out, err = evaluate("--erasure", erasure, *arguments)
    assert code == 2
    assert out == ""
    assert says in err
    assert "Traceback" not in err
