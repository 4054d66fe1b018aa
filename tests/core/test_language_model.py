"""Prompts that a local language model writes: real, tiny models that know a handful of words."""

from __future__ import annotations

import gc
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as t
from tokenizers import Tokenizer, models, pre_tokenizers

from t2vu_core.errors import Cancelled, UserError
from t2vu_core.prompts.asked_neighbours import neighbours_in
from t2vu_core.prompts.candidates import PlanSize
from t2vu_core.prompts.common_concepts import common_concept
from t2vu_core.prompts.concept import Concept, understand
from t2vu_core.prompts.language_model import write_prompts
from t2vu_core.prompts.plan import plan_request
from t2vu_core.prompts.prompt_set import prompt_set_for
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.prompts.written import Written
from t2vu_core.recipes import VelocityRecipe
from t2vu_core.training.velocity.train import erase_velocity
from tests.core.tiny_models import TINY_MODELS

WORDS = ["a", "the", "ghost", "phantom", "floats", "over", "quiet", "green", "hill", "at", "night", "slowly", ".", ","]
CPU = torch.device("cpu")
TINY = TINY_MODELS["cogvideox-2b"]
CHAT = "{% for message in messages %}{{ message['role'] }} {{ message['content'] }} {% endfor %}"


def language_model(folder: Path, chat_template: str | None = None) -> Path:
    """A Llama with random weights: it says its words at random, so most of its answers say the concept."""
    vocabulary = {word: index for index, word in enumerate(["<unk>", "</s>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = t.PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="<unk>", eos_token="</s>")
    fast.chat_template = chat_template
    fast.save_pretrained(folder)
    torch.manual_seed(0)
    config = t.LlamaConfig(
        vocab_size=len(vocabulary), hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=1024, eos_token_id=None, bos_token_id=None,
    )  # fmt: skip
    t.LlamaForCausalLM(config).save_pretrained(folder)
    return folder


@pytest.fixture(params=[None, CHAT], ids=["plain", "chat"])
def folder(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return language_model(tmp_path / "llm", request.param)


def write(folder: Path, *names: str, count: int = 1, seed: int = 0, **options: Any) -> tuple[str, ...]:
    """The prompts of one concept, whose name is the first."""
    concepts = concepts_of(names[0], synonyms=names[1:])
    return write_prompts(folder, concepts, count=count, seed=seed, device=CPU, **options)[names[0]].prompts


def concepts_of(*concepts: str, **asked: Any) -> tuple[Concept, ...]:
    return understand(ConceptRequest(concepts, **asked), prompt_set_for(None))


def test_it_writes_different_prompts_that_say_the_concept(folder: Path) -> None:
    written = write(folder, "ghost", "phantom", count=6)
    assert len(set(written)) == 6
    assert all("ghost" in text or "phantom" in text for text in written)
    assert all(len(text.split()) >= 8 for text in written)
    assert written == write(folder, "ghost", "phantom", count=6)
    assert written != write(folder, "ghost", "phantom", count=6, seed=1)


def test_it_is_opened_once_for_several_concepts_and_each_gets_what_it_would_get_alone(folder: Path) -> None:
    alone = {name: write(folder, name, count=3) for name in ("ghost", "hill")}

    def take_away(done: int, count: int) -> None:
        (folder / "model.safetensors").unlink(missing_ok=True)

    written = write_prompts(folder, concepts_of(*alone), count=3, seed=0, device=CPU, on_step=take_away)
    assert {name: each.prompts for name, each in written.items()} == alone
    assert not (folder / "model.safetensors").exists()


def test_neighbours_are_read_from_every_way_in_which_a_model_lists_them() -> None:
    answers = [
        "a zombie, a friendly ghost, A vampire.",
        '1. a zombie\n2. "a white sheet"\n- ghosts',
        "Sure! Here are some: a lamp",
    ]
    assert neighbours_in(answers, ["ghost"]) == ["a zombie", "A vampire", "a white sheet"]
    request = ConceptRequest(("ghost",))
    written = {"ghost": Written((), ("a zombie", "a lamp", "fog"))}
    made = plan_request(request, prompt_set_for(None), PlanSize(8, 8, 0), written)
    assert made.concepts[0].neighbours == ("a zombie", "a lamp", "fog")
    assert len(made.near) == 4
    own = plan_request(replace(request, neighbours=("robot",)), prompt_set_for(None), PlanSize(8, 8, 0), written)
    assert own.concepts[0].neighbours == ("robot",), "the user's come first"


def test_it_is_gone_before_the_training_needs_its_memory(folder: Path) -> None:
    write(folder, "ghost")
    assert not [part for part in gc.get_objects() if type(part) is t.LlamaForCausalLM]


def test_the_hosts_random_numbers_are_left_alone(folder: Path) -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    write(folder, "ghost")
    assert torch.equal(torch.rand(3), expected)


def test_cancel_takes_effect_between_answers(folder: Path) -> None:
    def cancel(done: int, count: int) -> None:
        raise Cancelled

    with pytest.raises(Cancelled):
        write(folder, "ghost", count=50, on_step=cancel)


def test_a_model_that_never_says_the_concept_is_named(folder: Path) -> None:
    with pytest.raises(UserError, match=r"wrote no prompt that contains 'clown' in 16 answers"):
        write(folder, "clown", count=4)


def test_a_folder_that_holds_no_language_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere is not a folder with a language model: it has no config\.json"):
        write(tmp_path / "nowhere", "ghost")
    with pytest.raises(UserError, match="cannot be loaded"):
        write(TINY.folder / "vae", "ghost")


def test_pickled_weights_are_not_opened(tmp_path: Path) -> None:
    folder = language_model(tmp_path / "llm")
    weights = folder / "model.safetensors"
    torch.save({"anything": torch.zeros(1)}, folder / "pytorch_model.bin")
    weights.unlink()
    with pytest.raises(UserError, match="cannot be loaded"):
        write(folder, "ghost")


def test_what_it_wrote_is_trained_on_and_stored_in_the_file(tmp_path: Path) -> None:
    recipe = VelocityRecipe(
        concept_trajectories=4, preserve_trajectories=1, trajectory_steps=1, steps=1, rank=2, augmentation="none"
    )
    stages: list[str] = []
    erasure = erase_velocity(
        TINY.model,
        ConceptRequest(("ghost",), concept_prompts=("my ghost",), language_model=language_model(tmp_path / "llm")),
        recipe,
        on_progress=lambda done: stages.append(done.stage),
    )
    assert erasure.prompts["sources"] == {"own": 1, "language_model": 2, "name": 1}
    assert erasure.prompts["language_model"] == "llm"
    assert stages[0] == "prompts"
    assert erasure.recipe["augmentation"] == "none"
    near = erasure.prompts["neighbours"]
    assert near, "the language model's, since the user names none"
    assert not set(near) & set(common_concept("ghost").neighbours)  # type: ignore[union-attr]
    assert not any("ghost" in name for name in near)
    # What takes the concept's place in a written prompt is neutral too.
    assert not any("ghost" in neutral for _, neutral in erasure.prompts["pairs"])
