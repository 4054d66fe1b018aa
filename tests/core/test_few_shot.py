"""Few-shot unlearning of text encoders, on tiny models of the real classes: what is trained, kept, and forgotten."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as t
from torch import Tensor, nn

from t2vu_core.erasure import Erasure
from t2vu_core.errors import Cancelled, UserError
from t2vu_core.families.text import Text
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.prompts.two_subjects import both_orders, second_alone
from t2vu_core.text_encoders import kind_of, trained_sites
from t2vu_core.training.checkpoint import Checkpoint, TrainingState
from t2vu_core.training.few_shot.plan import plan_encoder
from t2vu_core.training.few_shot.train import unlearn_encoder
from t2vu_core.training.loop import TrainingDiverged, train
from t2vu_core.training.progress import TrainProgress
from t2vu_core.training.schedule import Schedule
from tests.core.tiny_few_shot import TINY, VIDEO, encoder_state, ghostless, recipe, sample, small, stopped_at, twin
from tests.core.tiny_models import TINY_MODELS, TinyModel
from tests.core.tiny_tokenizers import T5_TABLE, llama_tokenizer


@pytest.mark.parametrize("tiny", TINY_MODELS.values(), ids=lambda tiny: tiny.name)
def test_every_family_trains_its_encoder_through_itself_on_one_frame(tiny: TinyModel) -> None:
    pipeline = tiny.model.family.pipeline
    before = encoder_state(pipeline)
    erasure = unlearn_encoder(tiny.model, "ghost", recipe(steps=2, shots=1, **small(tiny)))
    after = encoder_state(pipeline)
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert not any(
        parameter.requires_grad for encoder in Text.of(pipeline).encoders.values() for parameter in encoder.parameters()
    )
    assert all(tensor.abs().max() > 0 for tensor in erasure.tensors.values())
    frozen = tiny.model.family.encode(["a ghost"]).embeds_BSD
    with tiny.model.with_erasure(erasure).active() as family:
        assert not torch.equal(family.encode(["a ghost"]).embeds_BSD, frozen)
    assert torch.equal(tiny.model.family.encode(["a ghost"]).embeds_BSD, frozen)


@pytest.mark.parametrize("tiny", TINY_MODELS.values(), ids=lambda tiny: tiny.name)
def test_latents_of_a_clip_are_what_the_decoder_takes(tiny: TinyModel) -> None:
    family, size = tiny.model.family, dataclasses.replace(tiny.size, num_frames=1)
    clip = torch.rand(1, 1, 3, size.height, size.width, generator=torch.Generator().manual_seed(0))
    latents = family.latents_of(clip, size)
    assert latents.shape[1:] == family.latent_shape(size)
    vae, seen = family.pipeline.vae, []
    pixels = (clip.transpose(1, 2) if tiny.family not in ("animatediff", "text_to_video_sd") else clip[0]) * 2 - 1
    raw = vae.encode(pixels).latent_dist.mode()
    decode = type(vae).decode

    def spy(self: Any, z: Tensor, *args: Any, **options: Any) -> Any:
        seen.append(z)
        return decode(self, z, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(type(vae), "decode", spy)
        family.decode(latents, size)
    torch.testing.assert_close(seen[0].reshape(raw.shape), raw, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("trained", "expected"),
    [
        ("mlp", {"1.DenseReluDense.wi", "1.DenseReluDense.wo"}),
        ("mlp+last-attention", {"1.DenseReluDense.wi", "1.DenseReluDense.wo"}),
    ],
)
def test_the_papers_layers_are_found_by_their_types(trained: str, expected: set[str]) -> None:
    sites = trained_sites(TINY.model.family.text, trained, lambda: TINY.model.family.encode_with_gradients(["a ghost"]))
    names = {site.name for site in sites}
    mlp = {f"text_encoder.encoder.block.{block}.layer.{name}" for block in range(2) for name in expected}
    last = {f"text_encoder.encoder.block.1.layer.0.SelfAttention.{name}" for name in "qkvo"}
    assert names == (mlp if trained == "mlp" else mlp | last)


def test_all_trains_every_table_and_matrix_that_a_prompt_passes() -> None:
    family = TINY.model.family
    sites = trained_sites(family.text, "all", lambda: family.encode_with_gradients(["a ghost"]))
    names = {site.name for site in sites}
    assert "text_encoder.encoder.block.0.layer.0.SelfAttention.relative_attention_bias" in names
    assert f"text_encoder.{T5_TABLE}" in names
    assert "text_encoder.shared" not in names, "the tied table that is not read"


def test_layers_that_the_pipeline_skips_are_not_trained() -> None:
    family = TINY_MODELS["hunyuan-video"].model.family
    sites = trained_sites(family.text, "mlp+last-attention", lambda: family.encode_with_gradients(["a ghost"]))
    llama = {site.name for site in sites if site.name.startswith("text_encoder.")}
    assert {name.split(".")[2] for name in llama} == {"0"}, "the pipeline reads the third hidden state from the end"
    assert "text_encoder.layers.0.self_attn.o_proj" in llama
    assert any(site.name.startswith("text_encoder_2.") for site in sites)


@pytest.mark.parametrize(
    ("config", "kind"), [(t.MistralConfig, "mistral"), (t.Qwen2Config, "qwen2"), (t.Gemma2Config, "gemma2")]
)
def test_encoders_like_llama_are_known(config: Any, kind: str) -> None:
    encoder = t.AutoModel.from_config(
        config(
            vocab_size=len(llama_tokenizer()), hidden_size=16, intermediate_size=24, num_hidden_layers=1, num_attention_heads=2,
            num_key_value_heads=2, head_dim=8,
        )
    )  # fmt: skip
    assert kind_of(encoder).name == kind


def test_low_rank_factors_are_trained_and_stored_as_such() -> None:
    erasure = unlearn_encoder(TINY.model, "ghost", recipe(trained="lora", rank=3))
    assert {name.rsplit(".", 2)[1] for name in erasure.tensors} == {"lora_A", "lora_B"}
    assert not torch.equal(sample(TINY.model.with_erasure(erasure)), sample(TINY.model))


def test_all_trains_and_applies_tables_too() -> None:
    erasure = unlearn_encoder(TINY.model, "ghost", recipe(trained="all", steps=2))
    assert any(".table." in name for name in erasure.tensors)
    assert not torch.equal(sample(TINY.model.with_erasure(erasure)), sample(TINY.model))


def test_removing_it_restores_the_model_bit_for_bit_and_strength_scales() -> None:
    before = sample(TINY.model)
    erased = TINY.model.with_erasure(ghostless(), 20.0)
    full = sample(erased)
    assert not torch.equal(full, before)
    assert not torch.equal(sample(TINY.model.with_erasure(ghostless(), 10.0)), full)
    assert torch.equal(sample(TINY.model.with_erasure(ghostless(), 0.0)), before)
    assert torch.equal(sample(TINY.model), before)
    assert torch.equal(sample(erased.without_erasures()), before)


def test_it_stacks_with_an_eraser_and_with_another_encoder() -> None:
    eraser = TINY.random_erasure("bottleneck")
    both = TINY.model.with_erasure(ghostless(), 20.0).with_erasure(eraser)
    alone = [sample(TINY.model.with_erasure(erasure, strength)) for erasure, strength in ((ghostless(), 20.0), (eraser, 1.0))]
    stacked = sample(both)
    assert not any(torch.equal(stacked, other) for other in alone)
    clown = unlearn_encoder(both, "clown", recipe(steps=2))
    assert clown.concepts == ("clown",)
    assert not torch.equal(sample(both.with_erasure(clown, 20.0)), stacked)


def test_a_loaded_file_erases_as_the_trained_one_did(tmp_path: Path) -> None:
    erasure = ghostless()
    loaded = Erasure.load(erasure.save(tmp_path / "ghost"))
    assert loaded.describe() == erasure.describe()
    assert torch.equal(sample(TINY.model.with_erasure(loaded, 20.0)), sample(TINY.model.with_erasure(erasure, 20.0)))
    # Two bytes a weight: no file is smaller that says every one of them.
    assert (tmp_path / "ghost.safetensors").stat().st_size < 2 * erasure.training["parameters"] + 20_000


def test_what_the_image_model_forgets_carries_over_to_the_video_model() -> None:
    erasure = unlearn_encoder(VIDEO.model, "ghost", recipe(), image_model=twin())
    assert erasure.training["through"] == "image-twin"
    assert erasure.base.name == "image-twin"
    prompts = ["a ghost", "a ghost over a hill"]
    with VIDEO.model.with_erasure(erasure).active() as family:
        video = family.encode(prompts).embeds_BSD
    frozen = twin().encode(prompts).embeds_BSD
    assert torch.equal(VIDEO.model.family.encode(prompts).embeds_BSD, frozen)
    assert not torch.equal(video, frozen)


def test_users_images_are_the_shots() -> None:
    shown: list[Tensor] = []

    def look(progress: TrainProgress) -> None:
        if progress.stage == "shots":
            assert progress.preview is not None
            shown.append(progress.preview())

    images = torch.rand(3, 3, 20, 40, generator=torch.Generator().manual_seed(0))
    first = unlearn_encoder(VIDEO.model, "ghost", recipe(steps=2), image_model=twin(), images=images, on_progress=look)
    other = unlearn_encoder(VIDEO.model, "ghost", recipe(steps=2), image_model=twin(), images=1 - images)
    assert shown[-1].shape == (3, 1, 3, *twin().size)
    assert first.training["shots"] == "given"
    assert not all(torch.equal(first.tensors[name], other.tensors[name]) for name in first.tensors)


def test_several_concepts_are_forgotten_at_once_and_none_of_them_is_preserved() -> None:
    erasure = unlearn_encoder(TINY.model, ["ghost", "in pixel art style"], recipe(steps=2, prompts=6))
    assert erasure.concepts == ("ghost", "in pixel art style")
    said = [prompt for prompt, _ in erasure.prompts["pairs"]]
    assert sum("ghost" in prompt for prompt in said) == sum("pixel art" in prompt for prompt in said) == 3
    plan = plan_encoder(
        TINY.model, ConceptRequest(("ghost", "dog"), preserve_prompts=["a quiet hill"]), recipe(preserve_prompts=100)
    )
    assert plan.preserve[0] == "a quiet hill"
    assert len(plan.preserve) > 10
    assert not [text for text in plan.preserve if "ghost" in text or " dog" in text]
    neutrals = [pair.neutral for pair in plan.pairs]
    assert not [text for text in neutrals if "ghost" in text or " dog" in text], "they are preserved"


def test_a_concept_that_is_said_after_another_subject_is_erased_there_too() -> None:
    plan = plan_encoder(TINY.model, ConceptRequest.of("ghost"), recipe(prompts=100))
    neutral = {pair.prompt: pair.neutral for pair in plan.pairs}
    assert neutral["a ghost and a dog on a lawn"] == "a dog on a lawn"
    assert neutral["a dog and a ghost on a lawn"] == "a dog on a lawn"
    assert neutral["a ghost in a snowy forest"] == "a snowy forest"


@pytest.mark.parametrize(
    ("context", "swapped"),
    [
        ("{} and a cat sleeping", "a cat and {} sleeping"),
        ("in sepia style, {} and a red car not moving", "in sepia style, a red car and {} not moving"),
        ("the scene opens on {} and an old man. It is dark.", "the scene opens on an old man and {}. It is dark."),
    ],
)
def test_the_concept_is_said_before_another_subject_and_after_it(context: str, swapped: str) -> None:
    assert both_orders([context, "{} on a hill"]) == (context, "{} on a hill", swapped)
    assert both_orders([swapped]) == (swapped, context)


def test_of_two_subjects_the_encoder_leaves_the_other_one_alone() -> None:
    contexts = ("{} and a cat sleeping => a cat and a cat sleeping", "{} on a hill => an empty hill")
    assert second_alone(contexts) == ("{} and a cat sleeping", contexts[1])


def test_of_several_concepts_each_is_noised_from_its_own_shots() -> None:
    plan = plan_encoder(TINY.model, ConceptRequest.of(["ghost", "dog"]), recipe(prompts=6))
    shown = plan.shots_of_pairs(4)
    about = ["ghost" in pair.prompt for pair in plan.pairs]
    assert about == [True, False] * 3
    assert shown.tolist() == [[own == about[shot] for shot in range(4)] for own in about]
    assert plan.shots_of_pairs(1).all(), "a concept that no shot was made for has them all"
    assert plan_encoder(TINY.model, ConceptRequest("ghost", concept_prompts=["boo!"]), recipe()).shots_of_pairs(3).all()


def test_a_training_run_that_does_nothing_says_so() -> None:
    still = unlearn_encoder(TINY.model, "ghost", recipe(steps=1, learning_rate=1e-7))
    assert "did next to nothing" in still.training["warning"]
    strong = unlearn_encoder(TINY.model, "ghost", recipe(steps=25, learning_rate=0.02))
    assert strong.training["warning"] is None


def test_the_concept_is_heard_less_and_the_rest_is_kept_better_with_preserve_prompts() -> None:
    settings = {"steps": 25, "learning_rate": 0.02, "preserve_batch": 4}
    erasure = unlearn_encoder(TINY.model, "ghost", recipe(**settings))
    careless = unlearn_encoder(TINY.model, "ghost", recipe(**settings, preserve_weight=0.0))
    assert erasure.training["remaining"] < 0.7
    assert erasure.training["preserve_moved"] < 0.8 * careless.training["preserve_moved"]


def test_a_trust_region_holds_the_encoder_where_ascent_leaves() -> None:
    settings = {"steps": 25, "learning_rate": 0.05, "preserve_weight": 0.0, "trust_radius": 0.2}
    moved = {
        name: unlearn_encoder(TINY.model, "ghost", recipe(**settings, objective=name)).training["preserve_moved"]
        for name in ("ascent", "ascent_trust_region")
    }
    assert moved["ascent_trust_region"] < 0.7 * moved["ascent"]


def test_training_ends_when_the_concept_is_gone() -> None:
    erasure = unlearn_encoder(TINY.model, "ghost", recipe(steps=200, learning_rate=0.02, stop_at=0.8))
    assert erasure.training["steps"] < 200
    assert erasure.training["steps"] % 5 == 0
    assert erasure.training["remaining"] <= 0.8
    assert erasure.training["ended"] == "the concept is gone"


@pytest.mark.parametrize(
    "changes", [{"steps": 8}, {"steps": 200, "learning_rate": 0.02, "stop_at": 0.8}], ids=["whole", "ended"]
)
def test_a_stopped_training_resumes_bit_for_bit(tmp_path: Path, changes: dict[str, Any]) -> None:
    whole = unlearn_encoder(TINY.model, "ghost", recipe(**changes))
    with pytest.raises(Cancelled):
        unlearn_encoder(TINY.model, "ghost", recipe(**changes), log_folder=tmp_path, on_progress=stopped_at(3))
    for _ in range(2):
        resumed = unlearn_encoder(TINY.model, "ghost", recipe(**changes), log_folder=tmp_path)
        assert all(torch.equal(whole.tensors[name], resumed.tensors[name]) for name in whole.tensors)
        assert whole.training["losses"] == resumed.training["losses"]
    with pytest.raises(UserError, match="another training"):
        unlearn_encoder(TINY.model, "clown", recipe(**changes), log_folder=tmp_path)


def test_the_same_seed_trains_the_same_encoder_and_another_another() -> None:
    again, other = unlearn_encoder(TINY.model, "ghost", recipe()), unlearn_encoder(TINY.model, "ghost", recipe(seed=4))
    assert all(torch.equal(ghostless().tensors[name], again.tensors[name]) for name in again.tensors)
    assert not all(torch.equal(other.tensors[name], again.tensors[name]) for name in again.tensors)


def test_cancelling_leaves_no_hook_on_the_encoder() -> None:
    with pytest.raises(Cancelled):
        unlearn_encoder(TINY.model, "ghost", recipe(), on_progress=stopped_at(2))
    encoder = TINY.model.family.pipeline.text_encoder
    assert not any(module._forward_hooks for module in encoder.modules())


def test_it_works_inside_a_comfyui_node_and_shows_the_concept_as_it_is_now() -> None:
    seen: list[Tensor] = []

    def look(progress: TrainProgress) -> None:
        if progress.stage == "training" and not seen:
            assert progress.preview is not None
            seen.append(progress.preview())

    with torch.inference_mode():
        erasure = unlearn_encoder(TINY.model, "ghost", recipe(steps=1), on_progress=look)
    assert not any(tensor.is_inference() for tensor in erasure.tensors.values())
    assert seen[0].shape[:3] == (1, 1, 3)


def test_a_loss_that_is_not_a_number_keeps_the_last_good_state(tmp_path: Path) -> None:
    weight = nn.Parameter(torch.ones(2))
    checkpoint = Checkpoint(tmp_path / "state.safetensors", "x")
    with pytest.raises(TrainingDiverged, match="step 3"):
        train(
            {"weight": weight}, lambda step: weight.sum() * (float("inf") if step == 3 else 1.0), Schedule(9, 0.1),
            state=TrainingState(checkpoint),
        )  # fmt: skip
    kept, state = nn.Parameter(torch.zeros(2)), TrainingState(checkpoint)
    state.restore({"weight": kept}, torch.optim.Adam([kept]), steps=9)
    assert len(state.losses) == 3
    assert torch.equal(kept, weight)
    assert torch.isfinite(kept).all()
