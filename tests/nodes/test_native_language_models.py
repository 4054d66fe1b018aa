"""Few-shot unlearning of the language models that read HunyuanVideo's prompts, in ComfyUI's own classes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from safetensors.torch import load_file
from torch import Tensor

from t2vu_core.encoder_identity import TouchedWeights, same_weights, site_names
from t2vu_core.erasers import EraserSet
from t2vu_core.erasure import Erasure
from t2vu_core.families.text import Text
from t2vu_core.interchange.encoder_files import clip_names
from t2vu_core.text_encoders import EncoderFacts, encoder_sites
from tests.nodes.scripts import found_by

FAMILIES = {"hunyuan_video": "llama", "hunyuan_video_15": "qwen2"}
CLIPS = {"llama": "llama", "qwen2": "qwen25_7b"}
OTHERS = {
    "Mistral3Small24B": "mistral", "Qwen25_3B": "qwen2", "Qwen3_4B": "qwen3", "Gemma2_2B": "gemma2", "Gemma3_4B": "gemma3",
}  # fmt: skip


@dataclass(frozen=True)
class Found:
    """What one process in ComfyUI's folder found."""

    folder: Path
    embeddings: Mapping[str, Tensor]
    said: Mapping[str, Any]

    def of(self, family: str, what: str) -> Any:
        if f"{family} facts" not in self.said:
            pytest.skip("this copy of ComfyUI lacks Llama's tokenizer")
        return self.said[f"{family} {what}"]

    def erasure(self, family: str) -> Erasure:
        return Erasure.load(self.folder / f"{family}.safetensors")


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Found:
    folder = tmp_path_factory.mktemp("language_models")
    return Found(folder, *found_by("language_models_in_process.py", folder))


@pytest.mark.parametrize("family", FAMILIES)
def test_the_concept_is_found_in_the_prompt_and_layers_that_it_passes_are_trained(found: Found, family: str) -> None:
    assert found.of(family, "concept") == ["ghost"]
    layers = {name.split(".")[2] for name in found.of(family, "sites")}
    assert layers == {"0", "1", "2"}, "the third of five layers from the end is read"
    assert "text_encoder.layers.2.self_attn.o_proj" in found.of(family, "sites")


def test_a_concept_is_found_behind_letters_of_several_bytes(found: Found) -> None:
    """The pieces of Qwen's vocabulary are bytes, of which a letter may have several, in more than one token.

    Llama's is of the same kind, but transformers 5 reads its file in another way than ComfyUI 0.3.75 expects.
    """
    spelt = found.of("hunyuan_video_15", "spelt")
    assert {word: "".join(letters) for word, letters in spelt.items() if word != "幽灵"} == {
        word: word for word in ("Bär", "Café", "ghost")
    }
    assert spelt["幽灵"] == ["\ufffd", "", "灵"]


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_through_encoder_and_denoiser_are_those_of_finite_differences(found: Found, family: str) -> None:
    slope, difference = found.of(family, "gradient")
    assert slope == pytest.approx(difference, rel=0.01)
    assert found.of(family, "recomputed") == pytest.approx(slope, rel=1e-5)
    assert found.of(family, "left behind") == 0


@pytest.mark.parametrize("family", FAMILIES)
def test_a_cancel_inside_the_text_encoder_pauses_the_training(found: Found, family: str) -> None:
    assert found.of(family, "cancelled") == "Paused InterruptProcessingException True"


@pytest.mark.parametrize("name", OTHERS)
def test_other_language_models_are_known_and_have_right_gradients(found: Found, name: str) -> None:
    assert found.said[name] == {"kind": OTHERS[name], "refused": ""}
    slope, difference = found.said[f"{name} gradient"]
    assert slope == pytest.approx(difference, rel=0.01)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_saved_encoder_changes_the_clip_as_trained_and_the_clip_that_came_in_stays(found: Found, family: str) -> None:
    facts = found.of(family, "unlearned")
    assert facts["moved"] > 0.01
    assert facts["off"] < 1e-4
    assert facts["kept"]
    assert found.of(family, "weights")
    assert facts["base"] == FAMILIES[family]
    assert clip_names(found.erasure(family)) == {"text_encoder": CLIPS[FAMILIES[family]]}


@pytest.mark.parametrize("family", FAMILIES)
def test_the_file_serves_the_text_encoder_of_transformers(found: Found, family: str) -> None:
    encoder, erasure = transformers_encoder(found, family), found.erasure(family)
    text = Text({"text_encoder": encoder}, {})
    assert same_weights(erasure, TouchedWeights(text, site_names(erasure)))
    ids, before = found.embeddings[f"{family}.ids"], found.embeddings[f"{family}.before"]

    def read() -> Tensor:
        with torch.no_grad():
            return encoder(ids, output_hidden_states=True).hidden_states[-3][:, -before.shape[1] :]

    torch.testing.assert_close(read(), before, atol=1e-4, rtol=1e-4)
    erasers = EraserSet.from_tensors(erasure.tensors)
    with erasers.attached(erasers.fit(encoder_sites(text))):
        torch.testing.assert_close(read(), found.embeddings[f"{family}.after"], atol=1e-4, rtol=1e-4)


def transformers_encoder(found: Found, family: str) -> Any:
    """With ComfyUI's weights. ComfyUI's sizes of a head and its bases of positions are fixed."""
    facts = EncoderFacts(**found.of(family, "facts"))
    sizes = {
        "vocab_size": facts.vocabulary, "hidden_size": facts.width, "num_hidden_layers": facts.layers, "intermediate_size": 24,
        "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 128, "use_cache": False,
    }  # fmt: skip
    if family == "hunyuan_video":
        encoder: Any = transformers.LlamaModel(transformers.LlamaConfig(**sizes, rope_theta=500_000.0, rms_norm_eps=1e-5))
    else:
        encoder = transformers.Qwen2Model(transformers.Qwen2Config(**sizes, rope_theta=1_000_000.0, rms_norm_eps=1e-6))
    encoder.load_state_dict(load_file(found.folder / f"{family}_weights.safetensors"))
    return encoder.eval()


@pytest.mark.parametrize("family", FAMILIES)
def test_prompts_with_quoted_words_of_other_lengths_do_not_change_a_row(found: Found, family: str) -> None:
    """HunyuanVideo 1.5 also encodes quoted words letter by letter; other prompts have none."""
    assert found.of(family, "rows") < 1e-5
    unquoted, *quoted = found.of(family, "quotes")
    assert unquoted == 0
    assert min(quoted) > 0.1, "the quoted words count"
