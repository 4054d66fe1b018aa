"""`t2vu verify`: figures in a file are believed only as far as clips that are made again show them."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from t2vu_core.cli import main
from t2vu_core.commands.verify import show
from t2vu_core.erasure import Erasure
from t2vu_core.evaluation.claims import Claim, check_claims
from t2vu_core.evaluation.settings import EVALUATION_VERSION
from t2vu_core.evaluation.statistics import before_after
from t2vu_core.evaluation.verify import Verification
from t2vu_core.scores import Scores
from tests.core.example_scores import scores
from tests.core.tiny_models import TINY_MODELS

TINY = TINY_MODELS["cogvideox-2b"]
PROMPTS = "".join(f"a red ghost floats {place}\n" for place in ("here", "there", "on a hill", "at sea"))
KEPT = "".join(f'{{"prompt": "a robot on hill {place}", "register": "kept", "concept": "robot"}}\n' for place in range(12))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("verify")


@pytest.fixture(scope="module")
def prompts(folder: Path) -> Path:
    path = folder / "prompts.jsonl"
    path.write_text(PROMPTS + KEPT, encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def measured(folder: Path, prompts: Path) -> Path:
    """An erasure file that carries the scores of an evaluation that really ran; no test changes it."""
    path = TINY.random_erasure("bottleneck").save(folder / "ghost")
    options = ["--device", "cpu", "--steps", 2, "--prompts", prompts, "--out", folder / "out"]
    command = ["evaluate", "--model", TINY.folder, "--concept", "ghost", "--erasure", path, *options]
    assert main([str(argument) for argument in command]) == 0
    return path


def changed(path: Path, change: Callable[[Scores], Scores]) -> Path:
    """The same erasure with other scores."""
    erasure = Erasure.load(path)
    assert erasure.scores is not None
    return erasure.with_scores(change(erasure.scores)).save(path.with_name("changed"))


def verify(t2vu: Callable, path: Path, prompts: Path, *options: object) -> tuple[int, str, str]:
    """Runs the command on the tiny model."""
    result: tuple[int, str, str] = t2vu(
        "verify", path, "--model", TINY.folder, "--device", "cpu", "--prompts", prompts, *options
    )
    return result


def test_scores_that_were_measured_hold_when_clips_are_made_again(t2vu: Callable, measured: Path, prompts: Path) -> None:
    code, out, _ = verify(t2vu, measured, prompts, "--share", 1, "--json")
    assert code == 0
    result = json.loads(out)
    assert result["holds"] is None, "a random model shows nothing, and so few clips contradict nothing"
    assert all(claim["holds"] for claim in result["claims"])
    claims = {claim["name"]: claim for claim in result["claims"]}
    assert claims["erased"]["clips"] == 4
    assert claims["kept"]["clips"] == 12
    assert claims["erased"]["measured"] == claims["erased"]["claimed"]
    assert result["not_checked"] == [
        "rates of single registers", "false alarms", "what stands there instead", "motion", "drift and sharpness",
    ]  # fmt: skip
    assert result["base_hash"] == Erasure.load(measured).base.hash
    assert result["seconds"] > 0
    assert result["evaluation_version"] == EVALUATION_VERSION
    assert result["measured_at"] == Erasure.load(measured).scores.measured_at  # type: ignore[union-attr]


def test_a_share_of_the_clips_is_made_and_the_seed_chooses_it(t2vu: Callable, measured: Path, prompts: Path) -> None:
    code, out, _ = verify(t2vu, measured, prompts, "--share", 0.5)
    assert code == 0
    assert "DO NOT HOLD" not in out
    assert "of 2 (" in out
    assert "not a guarantee" in out


def test_files_of_a_single_file_model_are_not_ignored(t2vu: Callable, measured: Path, folder: Path) -> None:
    named = Erasure.load(measured)
    assert named.scores is not None
    settings = dataclasses.replace(named.scores.settings, model="miniature")
    path = named.with_scores(dataclasses.replace(named.scores, settings=settings)).save(folder / "bundled")
    code, _, err = t2vu("verify", path, "--config", folder)
    assert code == 2
    assert "belong to a model in a single file" in err


def test_figures_that_were_made_up_do_not_hold(t2vu: Callable, measured: Path, prompts: Path) -> None:
    """The random model shows nothing, so a file that claims otherwise is contradicted."""

    changed_file = changed(measured, kept_always(12, (0.0, 1.0)))
    code, out, _ = verify(t2vu, changed_file, prompts, "--share", 1, "--json")
    assert code == 0
    assert not json.loads(out)["holds"], "an interval in the file does not excuse it"
    code, out, _ = verify(t2vu, changed_file, prompts, "--share", 1, "--exit-code")
    assert code == 3
    assert "DO NOT HOLD" in out


def kept_always(clips: int, interval: tuple[float, float]) -> Callable[[Scores], Scores]:
    """Scores that say every one of so many clips shows its other concept."""

    def boast(scores: Scores) -> Scores:
        kept = scores.kept.concepts
        assert kept is not None
        always = {**dataclasses.asdict(before_after([True] * clips, [True] * clips)), "interval": interval}
        return dataclasses.replace(scores, kept=dataclasses.replace(scores.kept, concepts=dataclasses.replace(kept, **always)))

    return boast


def without_claims(scores: Scores) -> Scores:
    erased, kept = dataclasses.replace(scores.erased, all=None), dataclasses.replace(scores.kept, concepts=None)
    return dataclasses.replace(scores, erased=erased, kept=kept)


def test_scores_without_claims_or_of_other_clips_are_refused(t2vu: Callable, measured: Path, prompts: Path) -> None:
    code, _, error = verify(t2vu, changed(measured, without_claims), prompts)
    assert code == 2
    assert "claim nothing" in error
    code, _, error = verify(t2vu, changed(measured, kept_always(200, (0.98, 1.0))), prompts)
    assert code == 2
    assert "count 200 clips of the other concepts, but their prompts make 12" in error


def test_clips_too_few_to_contradict_anything_are_no_proof(t2vu: Callable, measured: Path, prompts: Path) -> None:
    code, out, _ = verify(t2vu, measured, prompts, "--share", 0.1, "--exit-code")
    assert code == 0
    assert "nothing could be tested" in out
    assert "too few clips to contradict it" in out
    _, out, _ = verify(t2vu, measured, prompts, "--share", 0.1, "--json")
    result = json.loads(out)
    assert result["holds"] is None
    assert {claim["fails_from"] for claim in result["claims"]} == {claim["finds"] for claim in result["claims"]} == {None}


@pytest.mark.parametrize(
    ("field", "says"),
    [
        ("base_hash", "with the weights"),
        ("before_hash", "open the model that was measured"),
        ("after_hash", "of other tensors"),
        ("preset", "which this version does not have"),
    ],
)
def test_scores_of_something_else_are_refused(t2vu: Callable, measured: Path, prompts: Path, field: str, says: str) -> None:
    def other(scores: Scores) -> Scores:
        return dataclasses.replace(scores, settings=dataclasses.replace(scores.settings, **{field: "0" * 64}))

    code, _, error = verify(t2vu, changed(measured, other), prompts)
    assert code == 2
    assert says in error


def test_other_prompts_than_those_that_were_measured_are_refused(
    t2vu: Callable, measured: Path, prompts: Path, tmp_path: Path
) -> None:
    other = tmp_path / "other.txt"
    other.write_text("a ghost\n", encoding="utf-8")
    code, _, error = verify(t2vu, measured, other)
    assert code == 2
    assert "prompts.jsonl, not with other.txt" in error
    code, _, error = verify(t2vu, measured, prompts, "--share", 0)
    assert code == 2
    assert "above 0" in error


def test_a_file_without_scores_has_nothing_to_verify(t2vu: Callable, tmp_path: Path, prompts: Path) -> None:
    path = TINY.random_erasure("bottleneck").save(tmp_path / "plain")
    code, _, error = verify(t2vu, path, prompts)
    assert code == 2
    assert "t2vu evaluate" in error


def test_a_model_from_a_folder_has_to_be_named(t2vu: Callable, measured: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Scores hold the model's name and no path, so a folder of that name is not opened by chance."""
    monkeypatch.chdir(TINY.folder.parent)
    name = Erasure.load(measured).scores.settings.model  # type: ignore[union-attr]
    assert Path(name).is_dir()
    code, _, error = t2vu("verify", measured)
    assert code == 2
    assert error.strip().endswith(
        f"The scores were measured on '{name}', which is not a bundled model; name its folder or file with --model."
    )


def test_other_weights_of_the_same_name_are_refused_with_what_to_do(t2vu: Callable, measured: Path, prompts: Path) -> None:
    code, _, error = t2vu("verify", measured, "--model", "miniature", "--prompts", prompts)
    assert code == 2
    assert "name the model that was measured (--model of `t2vu verify`)" in error


@pytest.mark.parametrize(("version", "says"), [(None, "an evaluation before version 1"), (10**6, "evaluation version 1000000")])
def test_scores_of_another_version_of_the_evaluation_are_said_to_be_so(version: int | None, says: str) -> None:
    claims: dict[str, Any] = {"file": "f", "holds": True, "base_hash": "b", "claims": [], "not_checked": []}
    assert f"measured by {says}; this program has version" in show({**claims, "evaluation_version": version})
    assert "measured by" not in show({**claims, "evaluation_version": EVALUATION_VERSION})


def test_chance_does_not_contradict_a_claim_and_a_lie_does() -> None:
    gone = Claim("erased", "at most", 0.0, (0.0, 0.06), 64)
    assert gone.p(0, 16) == pytest.approx(1)
    assert gone.p(1, 16) > 0.5
    assert gone.p(8, 16) < 1e-5
    kept = Claim("kept", "at least", 0.98, (0.91, 1.0), 60)
    assert kept.p(15, 15) == pytest.approx(1)
    assert kept.p(13, 15) > 0.1
    assert kept.p(5, 15) < 1e-5


def test_a_claim_fails_from_the_count_that_is_named_and_not_before() -> None:
    right = scores([False] * 40, [True] * 40)
    for row in check_claims(right, right):
        shown, clips, level = row.fails_from, row.clips, 0.05 / 3
        if row.claim.name == "shown before":
            continue
        assert shown is not None
        step = 1 if row.claim.direction == "at most" else -1
        assert row.claim.p(shown, clips) <= level < row.claim.p(shown - step, clips)
    erased = next(row for row in check_claims(right, right) if row.claim.name == "erased")
    assert erased.fails_from is not None
    assert erased.finds is not None
    chances = [erased.claim.chance(erased.fails_from, 40, rate) for rate in (erased.finds - 0.01, erased.finds)]
    assert chances[0] < 0.8 <= chances[1]
    named = [index < erased.fails_from for index in range(40)]
    below = [index + 1 < erased.fails_from for index in range(40)]
    repeated = [
        Verification("ghost", "b", check_claims(right, scores(after, [True] * 40)), [], 1.0, None, EVALUATION_VERSION)
        for after in (below, named)
    ]
    assert [each.holds for each in repeated] == [True, False]
    assert "would contradict it" in show({"file": "f", **repeated[0].to_json()})


def test_scores_are_compared_claim_by_claim() -> None:
    right, wrong = scores([False] * 40, [True] * 40), scores([True] * 40, [True] * 20 + [False] * 20)
    assert [row.holds for row in check_claims(right, right)] == [True, True, True]
    assert {row.claim.name: row.holds for row in check_claims(right, wrong)} == {
        "erased": False,
        "shown before": True,
        "kept": False,
    }
