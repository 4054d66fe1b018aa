"""The words of the report: the verdicts as badges, what the attacks mean, what was not tried."""

from __future__ import annotations

import dataclasses
import re

import pytest

from t2vu_core.evaluation.probe_stops import title
from t2vu_core.evaluation.report import charts, sections
from t2vu_core.evaluation.report.evidence import evidence
from t2vu_core.evaluation.settings import EVALUATION_VERSION
from t2vu_core.evaluation.statistics import before_after, compare
from t2vu_core.evaluation.verdict import Verdict
from t2vu_core.scores import AttackPart, AttackScores, ByFrame, Change, JudgedBy, NeverKnew, NeverKnewRate
from tests.core.example_scores import NEVER_TRIED, attack, kept_concepts, scores


@pytest.mark.parametrize(
    ("gone", "kept", "badges"),
    [
        ([False] * 60, [True] * 60, ["Erased", "Other concepts are kept"]),
        ([True] * 60, [True] * 60, ["Not erased", "Other concepts are kept"]),
        ([False] * 60, [False] * 60, ["Erased", "Other concepts are damaged"]),
        ([True] * 20 + [False] * 40, [True] * 60, ["Partly erased", "Other concepts are kept"]),
        ([False] * 3, [True] * 60, ["Too few clips to tell", "Other concepts are kept"]),
        ([True] * 57 + [False] * 3, [True] * 60, ["Not erased", "Other concepts are kept"]),
    ],
)
def test_a_reader_sees_from_afar_whether_it_is_gone_and_what_it_cost(
    gone: list[bool], kept: list[bool], badges: list[str]
) -> None:
    html = sections.verdict(scores(gone, kept))
    shown = [part.partition(">")[2].partition("<")[0] for part in html.split("<b class")[1:]]
    assert shown == badges
    assert ("badge bad" in html) == ("Not erased" in badges or "Other concepts are damaged" in badges)


def test_a_model_that_never_showed_it_has_nothing_to_erase() -> None:
    asked = scores([], [True] * 60)
    nothing = before_after([False] * 60, [False] * 60)
    never = dataclasses.replace(asked, erased=dataclasses.replace(asked.erased, all=nothing))
    assert "Nothing to erase" in sections.verdict(never)


def test_a_concept_that_is_shown_more_often_than_before_is_not_erased() -> None:
    more = before_after([True] * 10 + [False] * 30, [True] * 40)
    assert more is not None
    assert more.p_of_no_change < 0.05
    assert Verdict.of_rate(more) is Verdict.NOT_ERASED


def test_clips_that_hardly_move_are_no_kept_clips() -> None:
    moving = scores([False] * 60, [True] * 60)
    still = Change(before=0.1, after=0.02, ratio=0.2, interval=(0.1, 0.3))
    frozen = dataclasses.replace(moving, motion=dataclasses.replace(moving.motion, kept=still))
    assert "Other concepts are damaged" in sections.verdict(frozen)
    assert "Other concepts are damaged" not in sections.verdict(moving)


def shown(count: int, of: int = 32) -> list[bool]:
    """Clips of which so many show the concept."""
    return [True] * count + [False] * (of - count)


@pytest.mark.parametrize(
    ("gone", "tried", "badge"),
    [
        (shown(0, 60), attack(shown(10)), "bad>Attacks bring it back"),
        (shown(0, 60), attack(shown(0)), "fair>The attacks tried did not bring it back"),
        (shown(0, 60), attack(shown(10), never_knew=shown(9)), "fair>The attacks tried did not bring it back"),
        (shown(0, 60), attack(shown(10), never_knew=shown(0)), "bad>Attacks bring it back"),
        (shown(0, 60), attack(shown(2, of=4), never_knew=shown(0, of=4)), "fair>Still shown under attack"),
        (shown(0, 60), attack(shown(3)), "fair>Too few clips to judge the attacks"),
        (shown(0, 60), attack(shown(0, of=4)), "fair>Too few clips to judge the attacks"),
        (shown(30, 60), attack(shown(32), before=shown(30)), "fair>Still shown under attack"),
        (shown(30, 60), attack(shown(20), before=shown(16)), "fair>Still shown under attack"),
        (shown(30, 60), attack(shown(16), before=shown(31)), "fair>Still shown under attack"),
    ],
)
def test_what_attacks_do_to_an_erasure_is_seen_from_afar(gone: list[bool], tried: AttackScores, badge: str) -> None:
    html = sections.verdict(scores(gone, [True] * 60, comes_back={**NEVER_TRIED, "probe": tried}))
    assert badge in html.replace('"', "")
    assert html.count("ttack") == badge.count("ttack") + 1, "one badge, and the sentence"
    assert "; under attack up to" in html
    assert "attack" not in sections.verdict(scores([False] * 60, [True] * 60, comes_back=NEVER_TRIED)).lower()


@pytest.mark.parametrize(
    ("stops", "tone"),
    [
        ((("erased word", 150), ("erased word", 600), ("random", 150), ("random", 600)), "good"),
        ((("erased word", 600),), "fair"),
        ((("erased word", 300), ("random", 300)), "fair"),
        ((), "fair"),
    ],
)
def test_only_a_thorough_probe_that_found_nothing_is_green(stops: tuple[tuple[str, int], ...], tone: str) -> None:
    parts = {title(start, step): AttackPart(shown=0, clips=32, control=32) for start, step in stops}
    tried = dataclasses.replace(attack(shown(0)), parts=parts)
    html = sections.verdict(scores(shown(0, 60), [True] * 60, comes_back={**NEVER_TRIED, "probe": tried}))
    assert f'badge {tone}">The attacks tried did not bring it back' in html
    other = sections.verdict(scores(shown(0, 60), [True] * 60, comes_back={**NEVER_TRIED, "regrowth": tried}))
    assert 'badge fair">The attacks tried did not bring it back' in other, "PROBE was not tried"


def test_the_attack_that_does_most_gives_the_badge() -> None:
    tried = {"probe": attack(shown(0)), "prompt_attack": attack(shown(20)), "regrowth": attack(shown(2))}
    html = sections.verdict(scores(shown(0, 60), [True] * 60, comes_back=tried))
    assert "Attacks bring it back" in html
    assert "under attack up to 62&nbsp;% (" in html


def test_attacks_on_what_is_not_erased_anyway_have_no_badge() -> None:
    tried = attack(shown(32), before=shown(32))
    html = sections.verdict(scores(shown(58, 60), [True] * 60, comes_back={**NEVER_TRIED, "probe": tried}))
    assert html.count("<b class") == 2
    assert "bring" not in html
    assert "Not erased" in html


def test_a_report_without_attacks_says_that_none_was_tried() -> None:
    assert "Not tried" in sections.comes_back(scores([False], [True], comes_back=NEVER_TRIED))


def test_an_attack_is_told_with_its_meaning_its_controls_and_its_budget() -> None:
    tried = attack([True, False, False, False], never_knew=[True, True, False, False], note="found words: <boo>")
    html = sections.comes_back(scores([False], [True], comes_back={**NEVER_TRIED, "prompt_attack": tried}))
    assert "Found words: 25&nbsp;%" in html
    assert "on the unerased model: 100&nbsp;% (50 to 100&nbsp;%); on a model that never knew the concept: 50&nbsp;% (15" in html
    assert "Compared with no attack: +25 points" in html
    assert "Compared with a model that never knew the concept: -25 points" in html
    assert html.count(", not significant.") == 2
    assert "225 steps; found words: &lt;boo&gt;" in html
    assert html.count("Not tried") == len(NEVER_TRIED) - 1


def test_a_model_that_never_knew_the_concept_stands_next_to_the_erased_one() -> None:
    rate = NeverKnewRate(rate=0.5, clips=2, interval=(0.1, 0.9), against=compare([True, False], [False, False]))
    never = NeverKnew(model="unknowing", erased={"all": rate}, kept=kept_concepts([True] * 9 + [False]))
    html = sections.never_knew(scores([False], [True], never_knew=never))
    assert "(unknowing) shows it in 50&nbsp;% of 2 clips" in html
    assert "It shows other concepts 90&nbsp;% (" in html
    assert sections.never_knew(scores([False], [True], never_knew=None)) == ""


@pytest.mark.parametrize("losses", [[1.0, 0.5, 0.2], [-1.0, -5.0, -50.0], [2.0, 0.0, -2.0], [0.0, 0.0]])
def test_a_loss_curve_stays_in_its_picture_for_gradient_ascent_too(losses: list[float]) -> None:
    (line,) = re.findall(r'<polyline class="after" points="([^"]+)"', charts.loss_curve(losses))
    heights = [float(point.split(",")[1]) for point in line.split()]
    assert all(charts.TOP <= height <= charts.HEIGHT - charts.BOTTOM for height in heights)
    assert heights == sorted(heights), "a falling loss falls in the picture"


def test_the_loss_of_a_long_training_run_stays_small_on_the_page() -> None:
    curve = charts.loss_curve([1.0 / (step + 1) for step in range(10_000)])
    assert len(curve) < 10_000
    assert ">10000</text>" in curve, "the axis ends at the last step"


def test_a_concept_that_comes_back_late_in_the_clip_is_said() -> None:
    rate = ByFrame(before=(1.0, 1.0), after=(0.0, 0.5), interval=((0.0, 0.3), (0.2, 0.8)), trend_before=0.0, trend=0.5)
    base = scores([False], [True])
    late = dataclasses.replace(base, erased=dataclasses.replace(base.erased, by_frame=rate))
    assert "+50 points: the concept returns late" in sections.by_frame(late)
    even = dataclasses.replace(rate, after=(0.0, 0.0), trend=0.0)
    early = dataclasses.replace(base, erased=dataclasses.replace(base.erased, by_frame=even))
    assert "does not return late" in sections.by_frame(early)


def test_a_report_says_when_it_was_measured_and_by_which_evaluation() -> None:
    dated = dataclasses.replace(scores([False], [True]), measured_at="2026-11-27T12:00:00+00:00")
    words = f"2026-11-27T12:00:00+00:00, evaluation version {EVALUATION_VERSION}"
    assert words in sections.measured(dated)
    assert words in evidence(dated)


def test_words_of_users_and_files_are_no_markup() -> None:
    markup = "<script>ghost</script>"
    safe = scores([False] * 9 + [True], [True] * 10)
    rate = NeverKnewRate(rate=0.5, clips=2, interval=(0.1, 0.9), against=compare([True, False], [False, False]))
    hostile = dataclasses.replace(
        safe,
        concept=markup,
        never_knew=NeverKnew(model=markup, erased={"all": rate}, kept=None),
        comes_back={markup: attack([True, False], note=markup)},
        settings=dataclasses.replace(
            safe.settings,
            model=markup,
            guard={"name": markup},
            detector=JudgedBy(name=markup, accuracy="unknown"),
            prompts=dataclasses.replace(safe.settings.prompts, name=markup, left_out=(markup,)),
        ),
    )
    parts = (sections.verdict, sections.rates, sections.never_knew, sections.comes_back, sections.settings)
    shown = [*(part(hostile) for part in parts), sections.measured(hostile)]
    for html in shown:
        assert markup not in html
        assert "&lt;script&gt;ghost" in html
