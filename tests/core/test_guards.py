"""Guards: the published formulas on numbers worked out by hand, and real pipelines sampled under them."""

from __future__ import annotations

import pytest
import torch

from t2vu_core.errors import UserError
from t2vu_core.guards import GUARDS, SAFREE, Guard, NegativePrompt, VideoEraser, make_guard
from t2vu_core.guards.prompt_adjustment import _pooled, adjust_prompts
from t2vu_core.guards.safree import guarded_steps
from t2vu_core.guards.subspace import (
    authors_share,
    moved,
    orthonormal_basis,
    papers_share,
    project,
    safe_embeddings,
    trigger_words,
)
from t2vu_core.guards.video_eraser import concept_guidance
from t2vu_core.model import T2VModel
from tests.core.tiny_models import TINY_MODELS

PROMPT = "a red ghost floats over a quiet green hill"


@pytest.fixture(params=["cogvideox-2b", "wan-2.1"])
def model(request: pytest.FixtureRequest) -> T2VModel:
    return TINY_MODELS[request.param].model


def sample(model: T2VModel, prompt: str = PROMPT, guard: Guard | None = None, **options: object) -> torch.Tensor:
    settings = {"num_frames": 9, "height": 32, "width": 32, "num_inference_steps": 4, "guidance_scale": 3.0}
    return model.with_guard(guard).sample(prompt, seeds=3, **{**settings, **options})  # type: ignore[arg-type]


def test_projection_is_the_papers_matrix() -> None:
    generator = torch.Generator().manual_seed(0)
    span, x = torch.randn(3, 16, generator=generator), torch.randn(5, 16, generator=generator)
    c = span.T
    matrix = c @ torch.linalg.inv(c.T @ c) @ c.T
    torch.testing.assert_close(project(x, orthonormal_basis(span)), x @ matrix.T)
    doubled = torch.cat([span, span[:1] + span[1:2]])
    assert len(orthonormal_basis(doubled)) == 3


@pytest.mark.skipif(not torch.backends.mps.is_available(), reason="there is no Apple GPU")
def test_the_span_of_a_concept_is_the_same_on_an_apple_gpu() -> None:
    span = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    basis = orthonormal_basis(span.to("mps"))
    assert basis.device.type == "mps"
    torch.testing.assert_close(basis.cpu(), orthonormal_basis(span))


def test_the_word_whose_absence_leaves_the_concept_is_the_trigger() -> None:
    concept = orthonormal_basis(torch.tensor([[1.0, 0, 0, 0]]))
    # Pooled prompts with one word left out: without word 1 nothing of the concept's direction remains.
    without = torch.tensor([[0.9, 0.4, 0, 0], [0.0, 1.0, 0, 0], [0.9, 0.0, 0.4, 0]])
    assert trigger_words(without, concept, alpha=0.01).tolist() == [False, True, False]
    # All words alike: none stands out; a large alpha lets nothing stand out.
    assert trigger_words(without[[0, 0, 0]], concept, alpha=0.01).tolist() == [False] * 3
    assert trigger_words(without, concept, alpha=2.0).tolist() == [False] * 3
    assert trigger_words(without[:1], concept, alpha=0.01).tolist() == [False]


def test_a_safe_embedding_has_nothing_of_the_concept_and_stays_in_the_prompts_span() -> None:
    concept = orthonormal_basis(torch.tensor([[1.0, 0, 0, 0]]))
    prompt = orthonormal_basis(torch.tensor([[1.0, 0, 0, 0], [0, 1.0, 0, 0]]))
    safe = safe_embeddings(torch.tensor([[2.0, 3.0, 4.0, 0.0]]), concept, prompt)
    torch.testing.assert_close(safe, torch.tensor([[0.0, 3.0, 0.0, 0.0]]))
    assert papers_share(moved(torch.ones(4), torch.ones(4))) == pytest.approx(0.5)
    assert papers_share(moved(torch.ones(4), -torch.ones(4))) == pytest.approx(0.8808, abs=1e-4)
    # The authors' sigmoid is steep: a prompt that is moved little is hardly guarded, one that is moved far is guarded fully.
    assert authors_share(0.2) < 1e-6
    assert authors_share(0.5333) == pytest.approx(0.5, abs=1e-3)
    assert authors_share(1.0) > 1 - 1e-6


def test_prompts_are_guarded_in_the_first_steps_only_and_longer_where_more_was_changed() -> None:
    assert guarded_steps([None, 0.5, 0.88], 50, 0.26).tolist() == [0, 6, 11]
    assert guarded_steps([None, 1.0, 1.0], 50, 0.26).tolist() == [0, 13, 13]
    # Under the authors' mapping a prompt that is changed little is not guarded at all.
    assert guarded_steps([0.001, 0.001], 50, 0.26, at_least=0).tolist() == [0, 0]
    assert guarded_steps([0.001, 0.001], 50, 0.26).tolist() == [1, 1]


def test_concept_guidance_acts_only_where_the_prompt_does_not_already_go_away() -> None:
    empty, prompt, concept = torch.zeros(4), torch.tensor([0.0, 0.5, 2.0, 1e-4]), torch.tensor([1.0, 0.5, 0.5, 0.0])
    away = concept_guidance(empty, prompt, concept, weight=1000.0, threshold=1.0)
    # Full where prompt and concept differ; none where they agree, nor at or above the threshold.
    torch.testing.assert_close(away, torch.tensor([1.0, 0.0, 0.0, 0.0]))
    soft = concept_guidance(empty, prompt, concept, weight=0.5, threshold=1.0)
    assert soft[0] == pytest.approx(0.5)


def test_only_the_trigger_words_tokens_change(model: T2VModel) -> None:
    family = model.family
    adjusted = adjust_prompts(family, [PROMPT], ["ghost"], alpha=0.0)
    before, after = family.encode([PROMPT]).embeds_BSD[0], adjusted.condition.embeds_BSD[0]
    changed = set((before != after).any(1).nonzero().flatten().tolist())
    positions = {p for word in adjusted.triggers[0] for p in family.concept_positions(PROMPT, word)}
    assert changed
    assert changed <= positions < set(range(len(before)))


def test_the_distance_of_a_prompt_is_that_of_all_its_tokens_and_not_of_its_trigger_words(model: T2VModel) -> None:
    """As in the authors' code: the filter judges the whole prompt, special tokens included, whatever words are triggers."""
    family, words = model.family, PROMPT.split()
    adjusted = adjust_prompts(family, [PROMPT], ["ghost"], alpha=0.0)
    concept = orthonormal_basis(_pooled(family, ["ghost"]))
    without = _pooled(family, [" ".join(words[:i] + words[i + 1 :]) for i in range(len(words))])
    every = family.encode([PROMPT]).embeds_BSD[0, : len(family.token_pieces(PROMPT))].float()
    safe = safe_embeddings(every, concept, orthonormal_basis(without))
    each = 1 - torch.nn.functional.cosine_similarity(every, safe)
    assert adjusted.distances[0] == pytest.approx(float(each.mean()), abs=1e-5)
    positions = sorted({p for word in adjusted.triggers[0] for p in family.concept_positions(PROMPT, word)})
    assert abs(float(each[positions].mean()) - float(each.mean())) > 1e-3


def test_safree_as_in_its_authors_code_also_has_the_negative_prompt(model: T2VModel) -> None:
    only = SAFREE(("ghost",), alpha=1e6, negative_prompt=True)
    torch.testing.assert_close(sample(model, guard=only), sample(model, guard=NegativePrompt(("ghost",))), atol=0, rtol=0)
    both = SAFREE(("ghost",), negative_prompt=True)
    assert (sample(model, guard=both) - sample(model, guard=only)).abs().max() > 1e-5
    with pytest.raises(UserError, match="guidance scale above 1"):
        sample(model, guard=both, guidance_scale=1.0)


def test_a_negative_prompt_guard_is_the_stock_negative_prompt(model: T2VModel) -> None:
    guarded = sample(model, guard=NegativePrompt(("ghost",)))
    torch.testing.assert_close(guarded, sample(model, negative_prompt="ghost"), atol=0, rtol=0)
    assert (guarded - sample(model)).abs().max() > 1e-4


def test_a_negative_prompt_with_a_guidance_scale_of_its_own_is_sampled_with_it(model: T2VModel) -> None:
    stronger = sample(model, guard=NegativePrompt(("ghost",), guidance_scale=7.0))
    torch.testing.assert_close(stronger, sample(model, negative_prompt="ghost", guidance_scale=7.0), atol=0, rtol=0)
    assert (stronger - sample(model, guard=NegativePrompt(("ghost",)))).abs().max() > 1e-5


def test_safree_under_the_authors_mapping_leaves_a_prompt_that_is_moved_little(model: T2VModel) -> None:
    steep = SAFREE(("ghost",), mapping="authors")
    (distance,) = adjust_prompts(model.family, [PROMPT], ["ghost"], alpha=steep.alpha).distances
    assert distance is not None
    same = torch.equal(sample(model, guard=steep), sample(model))
    assert same == (authors_share(distance) * 0.26 * 4 < 0.5)


@pytest.mark.smoke
@pytest.mark.parametrize("name", GUARDS)
def test_a_guard_changes_its_own_clip_and_no_other(model: T2VModel, name: str) -> None:
    free = sample(model)
    guarded = sample(model, guard=make_guard(name, ["ghost"]))
    assert (guarded - free).abs().max() > 1e-5
    torch.testing.assert_close(sample(model, guard=make_guard(name, ["ghost"])), guarded, atol=0, rtol=0)
    torch.testing.assert_close(sample(model), free, atol=0, rtol=0)


def test_without_its_two_parts_video_eraser_is_plain_guidance(model: T2VModel) -> None:
    nothing = VideoEraser(("ghost",), alpha=1e6, weight=0.0)
    torch.testing.assert_close(sample(model, guard=nothing), sample(model), atol=1e-5, rtol=0)


def test_momentum_carries_guidance_from_step_to_step(model: T2VModel) -> None:
    with_it = sample(model, guard=VideoEraser(("ghost",)))
    assert (with_it - sample(model, guard=VideoEraser(("ghost",), momentum_scale=0.0))).abs().max() > 1e-5


def test_safree_without_trigger_words_changes_nothing(model: T2VModel) -> None:
    torch.testing.assert_close(sample(model, guard=SAFREE(("ghost",), alpha=1e6)), sample(model), atol=0, rtol=0)


def test_every_prompt_of_a_batch_is_guarded_by_itself(model: T2VModel) -> None:
    options = {"num_frames": 9, "height": 32, "width": 32, "num_inference_steps": 4, "guidance_scale": 3.0}
    both = model.with_guard(SAFREE(("ghost",))).sample([PROMPT, "an old clown"], seeds=[3, 4], **options)
    torch.testing.assert_close(both[:1], sample(model, guard=SAFREE(("ghost",))), atol=1e-5, rtol=0)


def test_a_guard_without_a_concept_or_without_guidance_is_refused(model: T2VModel) -> None:
    with pytest.raises(UserError, match="needs a concept"):
        make_guard("safree", [])
    with pytest.raises(UserError, match="needs a concept"):
        make_guard("safree", ["ghost", "  "])
    with pytest.raises(UserError, match="no guard 'magic'"):
        make_guard("magic", ["ghost"])
    for name in ("negative_prompt", "video_eraser"):
        with pytest.raises(UserError, match="guidance scale above 1"):
            sample(model, guard=make_guard(name, ["ghost"]), guidance_scale=1.0)
