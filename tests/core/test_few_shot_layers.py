"""Which layers each choice of `trained` means, on CLIP, T5, UMT5 and Llama encoders, found by the types of their modules."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from t2vu_core.erasure import Erasure
from t2vu_core.recipes import FewShotRecipe
from t2vu_core.text_encoders import encoder_sites, trained_sites
from t2vu_core.training.few_shot.train import unlearn_encoder
from tests.core.tiny_few_shot import recipe, small
from tests.core.tiny_models import TINY_MODELS
from tests.core.tiny_tokenizers import T5_TABLE

CLIP_MLP, CLIP_ATTENTION = ("mlp.fc1", "mlp.fc2"), ("q_proj", "k_proj", "v_proj", "out_proj")
LLAMA_MLP, LLAMA_ATTENTION = ("gate_proj", "up_proj", "down_proj"), ("q_proj", "k_proj", "v_proj", "o_proj")


def named(prefix: str, names: tuple[str, ...] | str) -> set[str]:
    return {f"{prefix}.{name}" for name in names}


def t5(feed_forward: tuple[str, ...]) -> tuple[set[str], set[str]]:
    """The feed-forward layers of both blocks, and the last attention."""
    blocks = [named(f"text_encoder.encoder.block.{block}.layer.1.DenseReluDense", feed_forward) for block in range(2)]
    return blocks[0] | blocks[1], named("text_encoder.encoder.block.1.layer.0.SelfAttention", "qkvo")


LAYERS = {
    "animatediff": (
        named("text_encoder.encoder.layers.0", CLIP_MLP) | named("text_encoder.encoder.layers.1", CLIP_MLP),
        named("text_encoder.encoder.layers.1.self_attn", CLIP_ATTENTION),
    ),
    "cogvideox-2b": t5(("wi", "wo")),
    "wan-2.1": t5(("wi_0", "wi_1", "wo")),
    # The pipeline reads Llama's third hidden state from the end, and CLIP as well.
    "hunyuan-video": (
        named("text_encoder.layers.0.mlp", LLAMA_MLP) | named("text_encoder_2.encoder.layers.0", CLIP_MLP),
        named("text_encoder.layers.0.self_attn", LLAMA_ATTENTION)
        | named("text_encoder_2.encoder.layers.0.self_attn", CLIP_ATTENTION),
    ),
}
BESIDE_MATRICES = {
    "animatediff": {"text_encoder.embeddings.token_embedding", "text_encoder.embeddings.position_embedding"},
    "cogvideox-2b": {
        f"text_encoder.{T5_TABLE}",
        "text_encoder.encoder.block.0.layer.0.SelfAttention.relative_attention_bias",
    },
    "wan-2.1": {
        f"text_encoder.{T5_TABLE}",
        *(f"text_encoder.encoder.block.{block}.layer.0.SelfAttention.relative_attention_bias" for block in range(2)),
    },
    "hunyuan-video": {
        "text_encoder.embed_tokens",
        *named("text_encoder_2.embeddings", ("token_embedding", "position_embedding")),
    },
}
"""The tables that a prompt passes."""


def chosen(name: str, trained: str) -> dict[str, str]:
    """Places and the kind of change at each."""
    family = TINY_MODELS[name].model.family
    sites = trained_sites(family.text, trained, lambda: family.encode_with_gradients(["a ghost"]))  # type: ignore[arg-type]
    return {site.name: site.kind for site in sites}


@pytest.mark.parametrize("name", LAYERS)
def test_the_feed_forward_layers_and_the_last_attention_are_found(name: str) -> None:
    feed_forward, attention = LAYERS[name]
    assert chosen(name, "mlp").keys() == feed_forward
    assert chosen(name, "mlp+last-attention").keys() == feed_forward | attention
    assert chosen(name, "auto") == chosen(name, "mlp+last-attention"), "an encoder of this size needs no factors"


@pytest.mark.parametrize("name", LAYERS)
def test_all_means_matrices_and_tables_and_lora_the_matrices(name: str) -> None:
    everything, factors = chosen(name, "all"), chosen(name, "lora")
    feed_forward, attention = LAYERS[name]
    assert feed_forward | attention <= factors.keys()
    assert everything.keys() - factors.keys() == BESIDE_MATRICES[name]
    assert set(factors.values()) == {"lora"}
    assert everything.keys() <= encoder_sites(TINY_MODELS[name].model.family.text).keys()


@pytest.mark.parametrize("trained", ["mlp", "mlp+last-attention", "all", "lora"])
@pytest.mark.parametrize("name", LAYERS)
def test_only_the_chosen_layers_are_in_the_file_and_every_one_of_them_moves(name: str, trained: str) -> None:
    tiny = TINY_MODELS[name]
    erasure = unlearn_encoder(tiny.model, "ghost", recipe(steps=1, shots=1, trained=trained, rank=2, **small(tiny)))
    assert {key.rsplit(".", 2)[0] for key in erasure.tensors} == chosen(name, trained).keys()
    moved = {key.rsplit(".", 2)[0] for key, tensor in erasure.tensors.items() if "lora_A" not in key and tensor.any()}
    assert moved == chosen(name, trained).keys()


@pytest.mark.parametrize("name", ["animatediff", "cogvideox-2b"])
def test_low_rank_factors_move_a_layer_as_far_in_a_step_as_whole_weights_do(name: str) -> None:
    tiny = TINY_MODELS[name]
    settings = {"steps": 2, "shots": 1, **small(tiny)}
    whole, factors = (
        weight_changes(unlearn_encoder(tiny.model, "ghost", recipe(trained=trained, **settings))) for trained in ("mlp", "lora")
    )
    sites = encoder_sites(tiny.model.family.text)
    share = {name: change.norm() / sites[name].module.weight.float().norm() for name, change in whole.items()}
    ratios = torch.stack([factors[name].norm() / whole[name].norm() for name in whole])
    assert torch.stack(list(share.values())).mean() == pytest.approx(2 * FewShotRecipe().learning_rate, rel=0.5)
    assert 0.5 < ratios.mean() < 2
    assert 0.3 < ratios.min() <= ratios.max() < 3


def weight_changes(erasure: Erasure) -> dict[str, Tensor]:
    """What is added to each weight, by site."""
    tensors = {key: tensor.float() for key, tensor in erasure.tensors.items()}
    low_rank = {
        key.removesuffix(".lora_B.weight"): up @ tensors[key.replace("lora_B", "lora_A")]
        for key, up in tensors.items()
        if key.endswith(".lora_B.weight")
    }
    whole = {key.removesuffix(".delta.weight"): change for key, change in tensors.items() if key.endswith(".delta.weight")}
    return {**whole, **low_rank}
