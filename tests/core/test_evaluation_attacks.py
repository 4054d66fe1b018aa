"""Attacks on real, tiny pipelines: the loss is the model's own, only the attacker's tokens move, and nothing stays behind."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch

from t2vu_core.errors import Cancelled, UserError
from t2vu_core.evaluation import MEASURING_SEEDS, WorldDetector, load_prompt_set
from t2vu_core.evaluation.attacks import ATTACKS, AttackBudget, AttackTask, Target, run_attacks
from t2vu_core.evaluation.attacks.base import Outcome, compare_with_controls
from t2vu_core.evaluation.attacks.clip_start import continued
from t2vu_core.evaluation.attacks.denoising import clip_latents
from t2vu_core.evaluation.attacks.probe import STARTS, learn_tokens, probe
from t2vu_core.evaluation.attacks.prompt_attack import allowed_tokens, nearest, spellings, straight_through
from t2vu_core.evaluation.attacks.regrowth import fine_tuned, with_fresh_lora
from t2vu_core.evaluation.attacks.run import budget_of
from t2vu_core.evaluation.cases import parse_prompt_set
from t2vu_core.evaluation.clip_store import weights_hash
from t2vu_core.evaluation.session import attack_budget
from t2vu_core.evaluation.settings import EVALUATION_PRESETS, EvaluationSettings
from t2vu_core.miniature.detector import MiniatureDetector
from t2vu_core.model import load_model
from t2vu_core.training.noising import NUM_TIMESTEPS, add_noise, denoising_loss
from t2vu_core.training.pseudo_tokens import Placeholder, input_embeddings, replaced, token_ids
from tests.core.tiny_few_shot import ghostless
from tests.core.tiny_models import TINY_MODELS, TinyModel

TINY = TINY_MODELS["cogvideox-2b"]
BUDGET = AttackBudget(steps=8, batch_size=2, tokens=3, target_clips=4, sampling_steps=2, measured_clips=2)
ONE_DENOISER = ["cogvideox-2b", "wan-2.1", "ltx-video", "mochi", "hunyuan-video"]


@pytest.fixture
def target(tmp_path: Path) -> Target:
    torch.manual_seed(0)
    path = tmp_path / "prompts.txt"
    path.write_text("a red ghost floats\na ghost in the rain\n", encoding="utf-8")
    prompts = load_prompt_set(path, "ghost")
    return AttackTask("ghost", "ghost", WorldDetector(MiniatureDetector().eval()), prompts, BUDGET).target(TINY.model)


@pytest.fixture(params=ONE_DENOISER)
def tiny(request: pytest.FixtureRequest) -> TinyModel:
    return TINY_MODELS[request.param]


@pytest.mark.parametrize("preset", EVALUATION_PRESETS)
def test_a_single_prompt_is_attacked_on_seeds_that_no_training_uses(target: Target, tmp_path: Path, preset: str) -> None:
    path = tmp_path / "one.txt"
    path.write_text("a ghost\n", encoding="utf-8")
    budget = AttackBudget(measured_clips=EVALUATION_PRESETS[preset].attack_clips)
    one = AttackTask("ghost", "ghost", target.detector, load_prompt_set(path, "ghost"), budget).target(TINY.model)
    seeds = {case.seed for case in one.cases}
    assert len(seeds) == budget.measured_clips
    assert seeds <= set(MEASURING_SEEDS)


def test_an_attack_samples_as_the_evaluation_does() -> None:
    asked = EvaluationSettings.of("quick", num_inference_steps=30, guidance_scale=1.5)
    assert attack_budget(asked, TINY.model).describe().endswith("clips sampled in 30 steps with guidance 1.5")
    full = attack_budget(EVALUATION_PRESETS["full"], TINY.model)
    assert full.sampling_steps == TINY.model.family.defaults.num_inference_steps
    assert full.guidance_scale is None


def test_finished_attacks_of_the_quick_preset_are_found_again() -> None:
    """Their files are named after these facts."""
    facts = {"steps": 150, "batch_size": 4, "tokens": 5, "target_clips": 24, "measured_clips": 32, "seed": 0}
    assert attack_budget(EVALUATION_PRESETS["quick"], TINY.model).facts() == {**facts, "sampling_steps": 12}


def probed(target: Target, monkeypatch: pytest.MonkeyPatch, *shown: int) -> Outcome:
    """PROBE from three starts with stops after two and three steps, where so many of three clips show the concept in turn."""
    left = iter(shown)

    def success(self: Target, model: object, prompts: list[str]) -> list[bool]:
        count = next(left)
        return [index < count for index in range(3)]

    monkeypatch.setattr(Target, "success", success)
    budget = dataclasses.replace(BUDGET, steps=3, starts=3, curve=(2, 9))
    outcome = probe(TINY.model, dataclasses.replace(target, budget=budget))
    assert list(left) == []
    return outcome


def test_probe_from_three_starts_counts_the_best_and_tells_how_the_rate_grows(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = probed(target, monkeypatch, 1, 0, 2, 1, 0, 0)
    assert outcome.found == [True, True, False], "the second start's, before its last step: an attacker keeps the best vectors"
    assert outcome.parts == {
        "erased word, 2 steps": [1, 3], "erased word, 3 steps": [0, 3], "random, 2 steps": [2, 3], "random, 3 steps": [1, 3],
        "another subject, 2 steps": [0, 3], "another subject, 3 steps": [0, 3],
    }  # fmt: skip
    assert outcome.note == ""


def test_probe_ends_at_the_first_stop_that_nothing_can_surpass_and_says_so(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = probed(target, monkeypatch, 1, 2, 3)
    assert outcome.found == [True] * 3
    assert outcome.parts == {"erased word, 2 steps": [1, 3], "erased word, 3 steps": [2, 3], "random, 2 steps": [3, 3]}
    assert "no later stop or start was tried" in outcome.note


def test_the_starts_of_probe_are_different_and_the_first_is_the_concepts_own(target: Target) -> None:
    vectors = {}
    for start in STARTS:
        none = dataclasses.replace(target, budget=dataclasses.replace(BUDGET, steps=1))
        vectors[start] = learn_tokens(TINY.model, none, lambda soft: soft, start=start)[1]
    assert not torch.equal(vectors["erased word"], vectors["random"])
    assert not torch.equal(vectors["erased word"], vectors["another subject"])
    own = learn_tokens(TINY.model, dataclasses.replace(target, budget=dataclasses.replace(BUDGET, steps=1)), lambda soft: soft)
    assert torch.equal(own[1], vectors["erased word"])


def test_measuring_on_the_way_does_not_change_what_probe_learns(target: Target) -> None:
    plain, curved = (
        learn_tokens(
            TINY.model, dataclasses.replace(target, budget=dataclasses.replace(BUDGET, curve=curve)), lambda soft: soft
        )
        for curve in ((), (2, 5))
    )
    assert torch.equal(plain[1], curved[1])


def test_the_settings_of_probe_reach_it_alone_and_the_cheap_form_says_what_it_is(target: Target) -> None:
    budget = attack_budget(EvaluationSettings.of("quick", probe_steps=600, probe_starts=3), TINY.model)
    own = budget_of("probe", budget)
    assert (own.steps, own.starts, own.curve) == (600, 3, (150, 300))
    assert "600 steps" in own.describe()
    assert "best of 3 starts" in own.describe()
    assert budget_of("regrowth", budget) == budget_of("regrowth", attack_budget(EvaluationSettings.of("quick"), TINY.model))
    assert probe(TINY.model, target).note == "one start of 8 steps: a lower bound"
    for wrong in ({"probe_starts": 4}, {"probe_starts": 0}, {"probe_steps": 0}):
        with pytest.raises(UserError, match="must be"):
            EvaluationSettings.of("quick", **wrong)


def test_guidance_changes_the_clips_of_an_attack(target: Target) -> None:
    options = {"steps": 2, "guidance_scale": 1.0}
    plain = clip_latents(TINY.model, ["a ghost"], [1], **options)
    torch.testing.assert_close(clip_latents(TINY.model, ["a ghost"], [1], **{**options, "guidance_scale": 0.5}), plain)
    guided = dataclasses.replace(target, budget=dataclasses.replace(BUDGET, guidance_scale=9.0))
    assert (guided.latents_of_base(["a ghost"], 1) - target.latents_of_base(["a ghost"], 1)).abs().max() > 1e-3
    assert (guided.latents_of_base(["a ghost"], 1) - plain).abs().max() > 1e-3


def test_noising_is_the_schedulers_own_way_back(tiny: TinyModel) -> None:
    """With the true target as prediction, one step of the scheduler leads to the next noised latents."""
    family = tiny.model.family
    shape = (1, *family.latent_shape(tiny.size))
    generator = torch.Generator().manual_seed(0)
    clean, eps = torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)
    scheduler = family.make_scheduler(NUM_TIMESTEPS, tiny.size)
    for place in (NUM_TIMESTEPS // 2, NUM_TIMESTEPS - 2):
        scheduler = family.make_scheduler(NUM_TIMESTEPS, tiny.size)
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(place)
        latents, target = add_noise(scheduler, clean, eps, torch.tensor([place]))
        following, _ = add_noise(scheduler, clean, eps, torch.tensor([place + 1]))
        stepped = family.step(scheduler, target, scheduler.timesteps[place], latents)
        torch.testing.assert_close(stepped, following, atol=2e-3, rtol=1e-2)
        assert (stepped - latents).abs().max() > 5e-3


def test_pseudo_tokens_with_a_words_embedding_read_as_that_word() -> None:
    family, tokenizer = TINY.model.family, TINY.model.family.pipeline.tokenizer
    placeholder = Placeholder.choose(tokenizer, ["a red ghost"], 1)
    assert placeholder.word not in "a red ghost"
    word = "ghost"
    assert len(token_ids(tokenizer, word)) == 1
    assert placeholder.word != word
    vector = input_embeddings(family).weight[token_ids(tokenizer, word)]
    with replaced(family, placeholder, vector):
        read = family.encode([f"a {placeholder.text} floats"]).embeds_BSD
    torch.testing.assert_close(read, family.encode([f"a {word} floats"]).embeds_BSD)
    assert (read - family.encode([f"a {placeholder.text} floats"]).embeds_BSD).abs().max() > 1e-4


def test_the_placeholder_stands_where_the_concept_was_said() -> None:
    placeholder = Placeholder("thing", 7, 2)
    assert placeholder.instead_of(["ghost"], "there is a ghost at night") == "there is thing thing at night"
    assert placeholder.instead_of(["ghost"], "a ghostly night") == "a ghostly night thing thing"
    assert placeholder.instead_of(["noir", "in noir style"], "a cat in noir style") == "a cat thing thing"
    assert placeholder.instead_of(["ghost"], "two ghosts, (ghost:1.2)") == "two ghosts, (thing thing:1.2)"
    assert placeholder.instead_of(["ghost"], "two ghosts at night") == "two thing thing at night"
    assert placeholder.instead_of(["spider man"], "Spider-Man on a roof") == "thing thing on a roof"


def test_gradients_reach_the_text_encoders_input_through_every_family(tiny: TinyModel) -> None:
    family = tiny.model.family
    tokenizer = family.pipeline.tokenizer
    placeholder = Placeholder.choose(tokenizer, ["a red ghost"], 2)
    table = input_embeddings(family).weight
    soft = table[:2].detach().float().clone().requires_grad_()
    with torch.enable_grad(), replaced(family, placeholder, soft):
        family.encode_with_gradients([f"a {placeholder.text}"]).embeds_BSD.pow(2).sum().backward()
    assert soft.grad is not None
    assert (soft.grad.abs().sum(1) > 0).all()
    assert table.grad is None


def test_inversion_repeats_and_leaves_the_model_alone(target: Target) -> None:
    model = TINY.model.with_erasure(TINY.random_erasure("bottleneck"))
    before = weights_hash(model.family)
    placeholder, vectors, loss = learn_tokens(model, target, lambda soft: soft)
    again = learn_tokens(model, target, lambda soft: soft)
    torch.testing.assert_close(again[1], vectors, atol=0, rtol=0)
    start = input_embeddings(model.family).weight[token_ids(model.family.pipeline.tokenizer, "ghost")[:1]]
    assert vectors.shape == (placeholder.count, start.shape[1])
    assert (vectors[:1] - start).abs().max() > 1e-3
    assert loss == pytest.approx(again[2])
    assert len(loss) == 2, "the first and the last"
    assert weights_hash(model.family) == before
    assert all(parameter.grad is None for parameter in model.family.pipeline.transformer.parameters())


def test_the_tokens_that_inversion_learns_denoise_clips_of_the_concept_better(target: Target) -> None:
    more = dataclasses.replace(target, budget=dataclasses.replace(BUDGET, steps=25))
    model = TINY.model.with_erasure(TINY.random_erasure("bottleneck"))
    family, size = model.family, model.clip_size()
    pairs = more.training_prompts()
    clean = clip_latents(more.base, [pair[0] for pair in pairs], range(len(pairs)), steps=2)
    placeholder, learned, _ = learn_tokens(model, more, lambda soft: soft)
    own = token_ids(family.pipeline.tokenizer, "ghost")
    start = input_embeddings(family).weight[[own[index % len(own)] for index in range(placeholder.count)]]

    def loss(vectors: torch.Tensor) -> float:
        """On the same noise at the same places, with clips of other seeds than were learned from."""
        generator = torch.Generator().manual_seed(9)
        with torch.no_grad(), model.active(), replaced(family, placeholder, vectors):
            condition = family.encode([pair[1].format(placeholder.text) for pair in pairs])
            return sum(float(denoising_loss(family, clean, condition, size, generator)) for _ in range(4))

    assert loss(learned) < loss(start) - 1e-4


def test_a_prompt_attack_may_not_say_the_concept(target: Target) -> None:
    allowed = allowed_tokens(TINY.model, target)
    tokenizer = TINY.model.family.pipeline.tokenizer
    assert not set(token_ids(tokenizer, "ghost")) & set(allowed.tolist())
    assert not set(tokenizer.all_special_ids) & set(allowed.tolist())
    assert len(allowed) > 50


def test_a_prompt_attack_may_not_say_the_concept_in_capitals_or_in_the_plural() -> None:
    assert {"van", "gogh", "goghs", "ghosts", "witches"} <= spellings("Van Gogh ghost witch")
    assert {"pony", "ponies", "ghost"} <= spellings("pony ghosts")
    model = load_model(TINY.folder, device="cpu")
    tokenizer = model.family.pipeline.tokenizer
    tokenizer.add_tokens(["▁Ghosts", "GHOST", "▁Nights", "▁ghastly"])
    model.family.pipeline.text_encoder.resize_token_embeddings(len(tokenizer))
    prompts = parse_prompt_set(b"a ghost at night", "the list", "ghost night")
    asked = AttackTask("ghost night", "ghost night", WorldDetector(MiniatureDetector().eval()), prompts, BUDGET).target(model)
    allowed = tokenizer.convert_ids_to_tokens(allowed_tokens(model, asked).tolist())
    assert not {"▁Ghosts", "GHOST", "▁Nights", "▁night", "▁ghost"} & set(allowed)
    assert "▁ghastly" in allowed


def test_the_words_of_a_prompt_attack_are_looked_up_where_the_table_of_embeddings_lies(target: Target) -> None:
    model = load_model(TINY.folder, device="cpu")
    model.family.pipeline.text_encoder.to("meta")
    assert allowed_tokens(model, target).device.type == "meta"


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU to attack on")
def test_every_attack_runs_on_a_gpu(target: Target) -> None:
    base = load_model(TINY.folder, device="cuda")
    on_gpu = dataclasses.replace(target, base=base, made={})
    results = run_attacks(ATTACKS, base.with_erasure(TINY.random_erasure("bottleneck")), on_gpu)
    assert all(result is not None and result.clips == BUDGET.measured_clips for result in results.values())


def test_hard_words_pass_the_gradient_to_the_vectors_behind_them() -> None:
    words = torch.eye(4)
    soft = torch.tensor([[0.1, 0.9, 0.0, 0.0]], requires_grad=True)
    hard = straight_through(soft, words)
    assert nearest(soft.detach(), words).tolist() == [1]
    torch.testing.assert_close(hard, words[1:2])
    hard.sum().backward()
    torch.testing.assert_close(soft.grad, torch.ones(1, 4))


def test_regrowth_changes_the_erasers_of_a_copy_only(target: Target) -> None:
    erasure = TINY.random_erasure("bottleneck")
    tensors = {name: value.clone() for name, value in erasure.tensors.items()}
    model = TINY.model.with_erasure(erasure)
    grown, _ = fine_tuned(model, target)
    assert all(torch.equal(tensors[name], value) for name, value in model.erasures[0].erasure.tensors.items())
    assert any(not torch.equal(tensors[name], value) for name, value in grown.erasures[0].erasure.tensors.items())


def test_regrowth_fine_tunes_an_unlearned_encoder_as_well(target: Target) -> None:
    erasure = ghostless()
    grown, _ = fine_tuned(TINY.model.with_erasure(erasure), target)
    after = grown.erasures[0].erasure
    assert after.kind == "unlearned_encoder"
    assert any(not torch.equal(after.tensors[name].bfloat16(), value) for name, value in erasure.tensors.items())


def test_a_model_without_an_erasure_is_fine_tuned_too(target: Target) -> None:
    fresh = with_fresh_lora(TINY.model, target)
    options = {"seeds": 1, "num_inference_steps": 2}
    assert torch.equal(fresh.sample("a ghost", **options), TINY.model.sample("a ghost", **options)), "it changes nothing yet"
    grown, _ = fine_tuned(fresh, target)
    assert (grown.sample("a ghost", **options) - TINY.model.sample("a ghost", **options)).abs().max() > 1e-5


def test_an_attack_stops_when_told_to(target: Target) -> None:
    def stop() -> None:
        raise Cancelled

    for name in ATTACKS:
        with pytest.raises(Cancelled):
            run_attacks([name], TINY.model, dataclasses.replace(target, on_step=stop))


def test_every_attack_says_its_budget_and_its_control(target: Target) -> None:
    model = TINY.model.with_erasure(TINY.random_erasure("bottleneck"))
    results = run_attacks(ATTACKS, model, target, never_knew=TINY.model)
    for name, result in results.items():
        assert result is not None, name
        assert 0 <= result.interval[0] <= result.after <= result.interval[1] <= 1
        assert result.control is not None
        assert result.never_knew is not None
        assert result.against_never_knew is not None
        assert set(result.loss) == {"erased", "control", "never_knew"}
        learns = name in ("probe", "prompt_attack", "regrowth")
        assert ("steps of 2 on 4 clips" if learns else "no training") in result.budget
        assert "clips sampled in 2 steps" in result.budget
        assert ("but with another" in result.budget) == name.startswith("other_")
        assert sum(part.clips for part in result.parts.values()) == (0 if learns else result.clips)
        assert all(part.control is not None for part in result.parts.values())
    assert results["prompt_attack"].note.startswith("found words: ")  # type: ignore[union-attr]
    assert list(results["clip_start"].parts) == ["33% of the steps skipped"]  # type: ignore[union-attr]
    assert run_attacks([], model, target) == dict.fromkeys(ATTACKS)
    with pytest.raises(UserError, match="no attack 'magic'"):
        run_attacks(["magic"], model, target)


def test_an_attack_that_diverged_has_no_loss_and_its_rates_all_the_same() -> None:
    """JSON has no NaN, and a file with one could not be read again."""
    diverged, fine = Outcome([True], (1.0, float("nan"))), Outcome([False], (2.0, 1.0))
    result = compare_with_controls(Outcome([False]), diverged, fine, None, "a budget")
    assert result.loss == {"erased": None, "control": (2.0, 1.0), "never_knew": None}
    assert (result.before, result.after, result.control) == (0.0, 1.0, 0.0)


def test_a_prompt_search_may_spend_half_as_many_steps_again() -> None:
    budget = AttackBudget(steps=100)
    steps = {name: budget_of(name, budget).steps for name in ("nothing", "probe", "prompt_attack", "regrowth")}
    assert steps == {"nothing": 0, "probe": 100, "prompt_attack": 150, "regrowth": 100}


def test_a_clip_that_starts_late_is_close_to_the_clip_it_starts_from(target: Target) -> None:
    """Otherwise the attack would measure noise."""
    clean = clip_latents(TINY.model, ["a ghost", "a ghost"], [1, 2], steps=6)
    budget = dataclasses.replace(target.budget, sampling_steps=6)
    late = dataclasses.replace(target, budget=budget)
    with TINY.model.active() as family:
        given = family.decode_or_tile(clean, TINY.model.clip_size())
    kept, lost = (
        (continued(TINY.model, clean, ["a ghost"] * 2, depth, late, 0) - given).abs().mean() for depth in (5 / 6, 1 / 6)
    )
    assert kept < lost
