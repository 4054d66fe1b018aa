"""The words of the report: the verdict seen from afar, what the attacks mean, what was not tried."""

from __future__ import annotations

import re
from typing import Any

import pytest

from t2vu_core.evaluation.report import charts, sections
from t2vu_core.evaluation.scoring import score
from t2vu_core.evaluation.statistics import before_after, compare, paired_ratio

NEVER_TRIED = {"probe": None, "prompt_attack": None, "regrowth": None}


def scores(gone: list[bool], kept: list[bool], **more: Any) -> dict[str, Any]:
    """Scores of clips that all showed the concept, or what they should, before."""
    before = [True] * len(gone)
    concepts = {**(before_after([True] * len(kept), kept) or {}), "relative": paired_ratio([True] * len(kept), kept)}
    erased = {**dict.fromkeys(("terse", "synonym", "refined", "two_subject")), "all": before_after(before, gone)}
    empty = score([], "ghost")
    return {**empty, "concept": "ghost", "erased": erased, "kept": {**empty["kept"], "concepts": concepts}, **more}


@pytest.mark.parametrize(
    ("gone", "kept", "badges"),
    [
        ([False] * 60, [True] * 60, ["Erased", "The rest is kept"]),
        ([True] * 60, [True] * 60, ["Not erased", "The rest is kept"]),
        ([False] * 60, [False] * 60, ["Erased", "The rest is damaged"]),
        ([True] * 20 + [False] * 40, [True] * 60, ["Partly erased", "The rest is kept"]),
        ([False] * 3, [True] * 60, ["Too few clips to tell", "The rest is kept"]),
        ([True] * 57 + [False] * 3, [True] * 60, ["Not erased", "The rest is kept"]),
    ],
)
def test_a_reader_sees_from_afar_whether_it_is_gone_and_what_it_cost(
    gone: list[bool], kept: list[bool], badges: list[str]
) -> None:
    html = sections.verdict(scores(gone, kept))
    shown = [part.partition(">")[2].partition("<")[0] for part in html.split("<b class")[1:]]
    assert shown == badges
    assert ("badge bad" in html) == ("Not erased" in badges or "The rest is damaged" in badges)


def test_a_model_that_never_showed_it_has_nothing_to_erase() -> None:
    never = scores([], [True] * 60)
    never["erased"]["all"] = before_after([False] * 60, [False] * 60)
    assert "Nothing to erase" in sections.verdict(never)


def test_clips_that_hardly_move_are_no_kept_clips() -> None:
    still = {"before": 0.1, "after": 0.02, "ratio": 0.2, "interval": [0.1, 0.3]}
    assert "The rest is damaged" in sections.verdict(scores([False] * 60, [True] * 60, motion=still))


def attacked(after: list[bool], never_knew: list[bool] | None = None, before: list[bool] | None = None) -> dict[str, Any]:
    """An attack on a model that, unless another is given, shows nothing unless it is attacked."""
    before = before or [False] * len(after)
    against = None if never_knew is None else compare(never_knew, after)
    return {
        **(before_after(before, after) or {}),
        "gain": compare(before, after),
        "against_never_knew": against,
        "control": 1.0,
    }


def shown(count: int, of: int = 32) -> list[bool]:
    """Clips of which so many show the concept."""
    return [True] * count + [False] * (of - count)


@pytest.mark.parametrize(
    ("gone", "attack", "badge"),
    [
        (shown(0, 60), attacked(shown(10)), "bad>It can be brought back"),
        (shown(0, 60), attacked(shown(0)), "good>Attacks do not bring it back"),
        (shown(0, 60), attacked(shown(10), never_knew=shown(9)), "good>Attacks do not bring it back"),
        (shown(0, 60), attacked(shown(10), never_knew=shown(0)), "bad>It can be brought back"),
        (shown(0, 60), attacked(shown(2, of=4), never_knew=shown(0, of=4)), "fair>Under attack it is there"),
        (shown(0, 60), attacked(shown(3)), "fair>Too few clips to tell what attacks do"),
        (shown(0, 60), attacked(shown(0, of=4)), "fair>Too few clips to tell what attacks do"),
        (shown(30, 60), attacked(shown(32), before=shown(30)), "fair>Under attack it is there"),
        (shown(30, 60), attacked(shown(20), before=shown(16)), "fair>Under attack it is there"),
    ],
)
def test_what_attacks_do_to_an_erasure_is_seen_from_afar(gone: list[bool], attack: dict[str, Any], badge: str) -> None:
    html = sections.verdict(scores(gone, [True] * 60, comes_back={**NEVER_TRIED, "probe": attack}))
    assert badge in html.replace('"', "")
    assert html.count("ttack") == badge.count("ttack") + 1, "one badge, and the sentence"
    assert "under attack it is in up to" in html
    assert "attack" not in sections.verdict(scores([False] * 60, [True] * 60, comes_back=NEVER_TRIED)).lower()


def test_the_attack_that_does_most_gives_the_badge() -> None:
    tried = {"probe": attacked(shown(0)), "prompt_attack": attacked(shown(20)), "regrowth": attacked(shown(2))}
    assert "It can be brought back" in sections.verdict(scores(shown(0, 60), [True] * 60, comes_back=tried))


def test_attacks_on_what_is_not_erased_anyway_have_no_badge() -> None:
    attack = attacked(shown(32), before=shown(32))
    html = sections.verdict(scores(shown(58, 60), [True] * 60, comes_back={**NEVER_TRIED, "probe": attack}))
    assert html.count("<b class") == 2
    assert "bring" not in html
    assert "Not erased" in html


def test_a_report_without_attacks_says_that_none_was_tried() -> None:
    assert "Not tried" in sections.comes_back(scores([False], [True], comes_back=NEVER_TRIED))


def test_an_attack_is_told_with_its_meaning_its_controls_and_its_budget() -> None:
    attack = {
        "after": 0.25, "clips": 4, "interval": [0.05, 0.7], "gain": compare([False] * 4, [True, False, False, False]),
        "control": 1.0, "control_interval": [0.5, 1.0], "never_knew": 0.5, "never_knew_interval": [0.1, 0.9],
        "against_never_knew": compare([True] * 2 + [False] * 2, [True, False, False, False]),
        "note": "found words: <boo>", "budget": "225 steps",
    }  # fmt: skip
    html = sections.comes_back(scores([False], [True], comes_back={**NEVER_TRIED, "prompt_attack": attack}))
    assert "Found words: 25&nbsp;%" in html
    assert "on the unerased model: 100&nbsp;% (50 to 100&nbsp;%); on a model that never knew the concept: 50&nbsp;% (10" in html
    assert "Against no attack that is +25 points" in html
    assert "Against a model that never knew the concept that is -25 points" in html
    assert html.count("no clear difference") == 2
    assert "225 steps; found words: &lt;boo&gt;" in html
    assert html.count("Not tried") == 2


def test_a_model_that_never_knew_the_concept_stands_beside_the_erased_one() -> None:
    beside = {"rate": 0.5, "clips": 2, "interval": [0.1, 0.9], "against": compare([True, False], [False, False])}
    kept = {"relative": {"ratio": 0.9, "interval": [0.8, 1.0]}}
    never = {"model": "unknowing", "erased": {"all": beside}, "kept": kept}
    html = sections.never_knew(scores([False], [True], never_knew=never))
    assert "(unknowing) shows it in 50&nbsp;% of 2 clips" in html
    assert "It shows other concepts 90&nbsp;% (80 to 100&nbsp;%) as often" in html
    assert sections.never_knew(scores([False], [True], never_knew=None)) == ""


@pytest.mark.parametrize("losses", [[1.0, 0.5, 0.2], [-1.0, -5.0, -50.0], [2.0, 0.0, -2.0], [0.0, 0.0]])
def test_a_loss_curve_stays_in_its_picture_for_gradient_ascent_too(losses: list[float]) -> None:
    (line,) = re.findall(r'<polyline class="after" points="([^"]+)"', charts.loss_curve(losses))
    heights = [float(point.split(",")[1]) for point in line.split()]
    assert all(charts.TOP <= height <= charts.HEIGHT - charts.BOTTOM for height in heights)
    assert heights == sorted(heights), "a falling loss falls in the picture"


def test_a_concept_that_comes_back_late_in_the_clip_is_said() -> None:
    rate = {"before": [1.0, 1.0], "after": [0.0, 0.5], "interval": [[0.0, 0.3], [0.2, 0.8]], "trend": 0.5}
    late = scores([False], [True])
    late["erased"]["by_frame"] = rate
    assert "+50 points: it comes back late" in sections.by_frame(late)
    late["erased"]["by_frame"] = {**rate, "after": [0.0, 0.0], "trend": 0.0}
    assert "does not come back late" in sections.by_frame(late)
