"""Rounds of learned tokens while velocity erasing trains: what they search for, what they change, and how they go on."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from t2vu_core.memory.activations import rows_of
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.recipes import LOW_MEMORY, VelocityRecipe
from t2vu_core.training.loop import StopEarly, step_generator
from t2vu_core.training.progress import TrainProgress
from t2vu_core.training.run import Run
from t2vu_core.training.velocity.batches import draw_batch
from t2vu_core.training.velocity.gapped_prompts import TOKENS
from t2vu_core.training.velocity.probe_rounds import STATE, ProbeRounds, starts_of_rounds
from t2vu_core.training.velocity.train import erase_velocity
from tests.core.tiny_models import TINY_MODELS
from tests.core.tiny_training import points_of, recipe

TINY = TINY_MODELS["cogvideox-2b"]


def rounds(**changes: object) -> VelocityRecipe:
    return recipe(**{"probe_rounds": 2, "probe_steps": 3, "steps": 8, "learning_rate": 1e-2, **changes})


def test_the_rounds_are_spread_over_the_steps_and_leave_some_after_the_last() -> None:
    assert starts_of_rounds(rounds(steps=400, probe_rounds=4)) == [100, 150, 200, 250]
    assert starts_of_rounds(rounds(steps=1, probe_rounds=3)) == [0, 0, 1]
    assert starts_of_rounds(recipe()) == []


def test_each_round_learns_other_tokens_with_which_the_prompts_no_longer_name_the_concept() -> None:
    asked = rounds(concept_trajectories=4)
    points, run = points_of(TINY, asked), Run(TINY.model.family, asked)
    gapped = points.prompts.gapped
    assert gapped is not None
    assert all("ghost" not in text and text.count(gapped.placeholder.word) == TOKENS for text in gapped.texts)
    found = ProbeRounds(run, points)
    assert [len(found.until(step)) for step in (0, 1, 2, 7)] == [0, 0, 1, 2]
    first, second = (run.state.extra[f"{STATE}{number}"] for number in (0, 1))
    assert first.shape == second.shape == (TOKENS, TINY.model.family.text.encoder.get_input_embeddings().embedding_dim)
    assert not torch.equal(first, second)
    texts = [learned.condition.embeds_BSD for learned in found.until(7)]
    assert [len(text) for text in texts] == [4, 4]
    assert not torch.equal(texts[0], texts[1])


def test_half_of_the_points_with_the_concept_get_learned_tokens_once_there_are_some() -> None:
    asked = rounds(concept_batch=4, mixed_share=0.0, adversarial_steps=1)
    points = points_of(TINY, asked)
    before = draw_batch(points, asked, step_generator(0, 5))
    with_tokens = dataclasses.replace(points, learned=ProbeRounds(Run(TINY.model.family, asked), points).until(7))
    after = draw_batch(with_tokens, asked, step_generator(0, 5))
    pairs = zip(before.erase.condition.embeds_BSD, after.erase.condition.embeds_BSD, strict=True)
    changed = torch.tensor([not torch.equal(own, other) for own, other in pairs])
    assert int(changed.sum()) == 2
    assert torch.equal(before.erase.target, after.erase.target), "they become what the concept becomes"
    assert after.erase.hardened is not None
    assert not (after.erase.hardened & changed).any(), "the concept's places in the text are those of its own prompt"


@pytest.mark.parametrize("changes", [{}, {"refresh_every": 2}], ids=["once", "on-policy"])
@pytest.mark.parametrize("at", [1, 2, 3, 6])
def test_a_training_that_stops_around_its_rounds_resumes_bit_for_bit(tmp_path: Path, changes: dict[str, int], at: int) -> None:
    class Stopped(Exception):
        pass

    def stop(done: TrainProgress) -> None:
        # Of the reports with that step, the last is inside the round, if there is one there.
        if done.stage == "training" and done.step == at and (at != 2 or done.note.endswith("step 2 of 3 of learned tokens")):
            raise Stopped

    asked = rounds(**changes)
    whole = erase_velocity(TINY.model, "ghost", asked)
    with pytest.raises(Stopped):
        erase_velocity(TINY.model, "ghost", asked, log_folder=tmp_path, on_progress=stop)
    resumed = erase_velocity(TINY.model, "ghost", asked, log_folder=tmp_path)
    assert whole.training["losses"] == resumed.training["losses"]
    assert all(torch.equal(whole.tensors[name], resumed.tensors[name]) for name in whole.tensors)


def test_a_stop_within_a_round_keeps_what_was_trained_before_it() -> None:
    def stop(done: TrainProgress) -> None:
        if "round 1 of 2" in done.note:
            raise StopEarly

    erasure = erase_velocity(TINY.model, "ghost", rounds(), on_progress=stop)
    assert len(erasure.training["losses"]) == 2
    assert erasure.partial


def test_rounds_search_for_each_of_several_concepts_in_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    searched: list[set[int]] = []
    own = ProbeRounds._learn

    def learn(self: ProbeRounds, number: int, step: int, rows: list[int]) -> torch.Tensor:
        gapped = self._points.prompts.gapped
        assert gapped is not None
        searched.append({gapped.concepts[row] for row in rows})
        return own(self, number, step, rows)

    monkeypatch.setattr(ProbeRounds, "_learn", learn)
    request = ConceptRequest(("ghost", "in watercolor style"))
    erase_velocity(TINY.model, request, rounds(concept_trajectories=4, neutral_share=0.0))
    assert searched == [{0}, {1}]


@pytest.mark.parametrize("name", sorted(TINY_MODELS))
def test_every_architecture_trains_against_learned_tokens(name: str) -> None:
    tiny = TINY_MODELS[name]
    size = {"num_frames": tiny.num_frames, "height": tiny.height, "width": tiny.width}
    told: list[TrainProgress] = []
    asked = rounds(steps=4, probe_rounds=1, probe_steps=1, **size)
    erasure = erase_velocity(tiny.model, "ghost", asked, on_progress=told.append)
    assert [done.note for done in told if "learned tokens" in done.note] == ["round 1 of 1: step 1 of 1 of learned tokens"]
    assert all(torch.isfinite(tensor).all() for tensor in erasure.tensors.values())
    assert len(erasure.training["losses"]) == 4


def test_only_the_thorough_preset_pays_for_rounds_and_low_memory_leaves_them_out() -> None:
    presets = {name: VelocityRecipe.preset(name).probe_rounds for name in VelocityRecipe.presets()}
    assert presets == {"quick": 0, "balanced": 0, "thorough": 8, "paper": 0}
    small = VelocityRecipe.preset("thorough", **LOW_MEMORY)
    assert (small.probe_rounds, rows_of(small)) == (0, 3)
