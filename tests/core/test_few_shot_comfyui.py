"""Unlearned encoders on ComfyUI's own text encoders: by stock Load LoRA, and by our node."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as t
from safetensors.torch import load_file, save_file

from t2vu_core.encoder_identity import TouchedWeights, base_of, describe_encoder
from t2vu_core.erasers import EraserSet
from t2vu_core.erasure import Erasure
from t2vu_core.families.text import Text
from t2vu_core.interchange import export_encoder
from t2vu_core.interchange.encoder_files import comfyui_layer
from t2vu_core.text_encoders import encoder_facts, encoder_sites
from tests.core.test_interchange_export import COMFYUI, REPOSITORY
from tests.core.tiny_models import t5_encoder
from tests.core.tiny_tokenizers import clip_tokenizer, llama_tokenizer, t5_tokenizer

pytestmark = pytest.mark.comfy
STRENGTH = 0.7
T5 = {"d_model": 32, "d_kv": 8, "d_ff": 37, "num_layers": 2, "num_heads": 4}
FEED_FORWARD = {
    "t5": {"is_gated_act": False, "dense_act_fn": "relu"},
    "umt5": {"is_gated_act": True, "dense_act_fn": "gelu_pytorch_tanh"},
}


@dataclass(frozen=True)
class Encoder:
    """A tiny encoder of transformers, and the configuration of ComfyUI's class of the same size."""

    kind: str
    model: Any
    tokenizer: Any
    config: dict[str, Any]
    whole: Any = None
    """The encoder that ComfyUI holds where transformers' is a part of it."""

    @property
    def text(self) -> Text:
        return Text({"text_encoder": self.model}, {"text_encoder": self.tokenizer})

    def weights(self) -> dict[str, torch.Tensor]:
        """By the names of ComfyUI's class."""
        own = {name.removeprefix("text_model."): value for name, value in (self.whole or self.model).state_dict().items()}
        shared = {name: value for name, value in own.items() if name not in ("shared.weight", "embeddings.position_ids")}
        return {comfyui_name(self.kind, name): value.clone() for name, value in shared.items()}

    def random_erasure(self) -> Erasure:
        """Every place changed, as `all` would."""
        sites = {name: site for name, site in encoder_sites(self.text).items() if name != "text_encoder.shared"}
        erasers = EraserSet.create(list(sites.values()), rank=1, seed=0)
        generator = torch.Generator().manual_seed(1)
        for parameter in erasers.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator)
        weights, facts = TouchedWeights(self.text, list(sites)), encoder_facts(self.text)
        tensors = {name: tensor.bfloat16() for name, tensor in erasers.named_tensors().items()}
        return Erasure(
            "unlearned_encoder", ("ghost",), base_of(f"tiny {self.kind}", weights, facts), tensors, "random, for tests",
            encoder=describe_encoder(facts, weights),
        )  # fmt: skip


def comfyui_name(kind: str, name: str) -> str:
    layer, parameter = name.rsplit(".", 1)
    return f"{comfyui_layer(kind, layer)}.{parameter}"


def make(kind: str) -> Encoder:
    torch.manual_seed(5)
    if kind in ("clip", DEEPER):
        config = {
            "num_hidden_layers": 3 if kind == DEEPER else 2, "hidden_size": 32, "intermediate_size": 37,
            "num_attention_heads": 4, "hidden_act": "quick_gelu", "vocab_size": 49408, "max_position_embeddings": 77,
            "eos_token_id": 1, "projection_dim": 8,
        }  # fmt: skip
        # The size of the vocabulary is fixed in ComfyUI's class.
        model = t.CLIPTextModel(t.CLIPTextConfig(**config))
        if kind == "clip":
            return Encoder("clip", model, clip_tokenizer(), config)
        shorter = t.CLIPTextModel(t.CLIPTextConfig(**{**config, "num_hidden_layers": 2}))
        shorter.load_state_dict(model.state_dict(), strict=False)
        return Encoder("clip", shorter, clip_tokenizer(), config, whole=model)
    if kind in ("t5", "umt5"):
        model = t5_encoder() if kind == "t5" else t5_encoder(t.UMT5EncoderModel, t.UMT5Config)
        return Encoder(
            kind, model, t5_tokenizer(), {**T5, **FEED_FORWARD[kind], "vocab_size": len(t5_tokenizer()), "model_type": kind}
        )
    tokenizer = llama_tokenizer()
    config = {
        "vocab_size": len(tokenizer), "hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 64,
    }  # fmt: skip
    # The width of a head is fixed in ComfyUI's class.
    classes: Any = {"llama": (t.LlamaModel, t.LlamaConfig), "qwen2": (t.Qwen2Model, t.Qwen2Config)}[kind]
    return Encoder(kind, classes[0](classes[1](**config, head_dim=128)), tokenizer, config)


CLIPS = {"clip": "clip_l", "t5": "t5xxl", "umt5": "umt5xxl", "llama": "llama", "qwen2": "qwen25_7b"}
DEEPER = "clip with a layer more"
"""As Stable Diffusion 2's: diffusers has no last layer, which nothing reads."""
NAMES = (*CLIPS, DEEPER)


@pytest.fixture(scope="module")
def applied(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Encoder, Erasure, dict[str, Any], Path]]:
    """Every kind of encoder, changed by ComfyUI in one process."""
    if not (COMFYUI / "comfy" / "lora.py").is_file():
        pytest.skip("there is no ComfyUI; ./run setup puts one in place, or COMFYUI_DIR names one")
    folder = tmp_path_factory.mktemp("clips")
    encoders = {name: make(name) for name in NAMES}
    erasures, errors, jobs = {}, {}, []
    for name, encoder in encoders.items():
        erasures[name] = encoder.random_erasure()
        roles = ("weights", "other_weights", "erasure", "lora", "factors", "out")
        files = {role: folder / f"{name}-{role}.safetensors" for role in roles}
        erasures[name].save(files["erasure"])
        export_encoder(erasures[name], files["lora"])
        errors[name] = export_encoder(erasures[name], files["factors"], rank=4).error
        save_file(encoder.weights(), files["weights"])
        save_file({key: value + 0.1 for key, value in encoder.weights().items()}, files["other_weights"])
        paths = {role: str(file) for role, file in files.items()}
        jobs.append({"name": name, "kind": encoder.kind, "config": encoder.config, "strength": STRENGTH, **paths})
    (folder / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
    paths = [str(REPOSITORY / "tools" / "comfyui" / "shim"), os.environ.get("PYTHONPATH", "")]
    answer = subprocess.run(
        [os.environ.get("COMFYUI_PYTHON") or sys.executable, str(Path(__file__).with_name("comfy_clip.py")),
         str(folder / "jobs.json")],
        cwd=COMFYUI, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}, capture_output=True, text=True,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-3000:]
    told = json.loads(answer.stdout.splitlines()[-1])
    told = {name: {**told[name], "error": errors[name]} for name in told}
    return {job["name"]: (encoders[job["name"]], erasures[job["name"]], told[job["name"]], Path(job["out"])) for job in jobs}


@pytest.mark.comfy
@pytest.mark.parametrize("name", NAMES)
def test_load_lora_and_the_node_change_every_layer_as_trained_and_the_clip_that_came_in_stays(applied: Any, name: str) -> None:
    encoder, erasure, told, out = applied[name]
    assert told["leftovers"] == []
    weights, before, kind = load_file(out), encoder.weights(), encoder.kind
    clip = CLIPS[kind]
    expected = {}
    for key, tensor in erasure.tensors.items():
        site, _, parameter = key.rsplit(".", 2)
        expected[comfyui_name(kind, f"{site.split('.', 1)[1]}.{parameter}")] = tensor.float()
    assert len(expected) >= 14
    for layer, came_in in before.items():
        key = f"{clip}.transformer.{layer}"
        assert torch.equal(weights[f"kept.{key}"], came_in), layer
        change = STRENGTH * expected[layer] if layer in expected else torch.zeros_like(came_in)
        torch.testing.assert_close(weights[f"lora.{key}"] - came_in, change, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(weights[f"node.{key}"] - came_in, change, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(weights[f"twice.{key}"] - came_in, 2 * change, atol=1e-5, rtol=1e-4)


@pytest.mark.comfy
@pytest.mark.parametrize("name", NAMES)
def test_low_rank_factors_leave_out_of_the_clip_as_much_as_the_export_says(applied: Any, name: str) -> None:
    encoder, _, told, out = applied[name]
    weights = load_file(out)
    lost = whole = 0.0
    for key in (f"{CLIPS[encoder.kind]}.transformer.{layer}" for layer in encoder.weights()):
        lost += float((weights[f"factors.{key}"] - weights[f"lora.{key}"]).pow(2).sum())
        whole += float((weights[f"lora.{key}"] - weights[f"kept.{key}"]).pow(2).sum())
    assert 0.1 < told["error"] < 1
    assert (lost / whole) ** 0.5 == pytest.approx(told["error"], rel=1e-3)


@pytest.mark.comfy
@pytest.mark.parametrize("name", NAMES)
def test_a_clip_with_another_encoder_is_refused_with_what_it_was(applied: Any, name: str) -> None:
    encoder, _, told, _ = applied[name]
    kind = encoder.kind
    assert f"trained on tiny {kind}, a {kind} text encoder" in told["other"]
    assert "its weights differ" in told["other"]
    assert told["allowed"] is None
    assert "which has other layers" in told["wrong"]
