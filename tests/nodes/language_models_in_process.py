"""Run inside ComfyUI's folder: `python language_models_in_process.py FOLDER` unlearns in ComfyUI's own language models.

Writes the trained encoders to FOLDER/<family>.safetensors, the weights that they were trained on to
FOLDER/<family>_weights.safetensors, and what it found to FOLDER/found.safetensors and found.json.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from in_comfyui import folder

# isort: split
import comfy.model_management
import comfy.ops
import comfy.text_encoders.llama as llama
import torch
from language_models import SIZES, WIDTH, clip_of, has_tokenizer, model_of, randomise
from safetensors.torch import save_file
from stand_ins import LetterClip, PlainPixels
from t2vu_pack.nodes import comfy_bridge
from t2vu_pack.nodes.native import Sampled, model_from_comfyui, with_encoder
from t2vu_pack.nodes.native.differentiable import freeze, frozen_linears, training_mode
from t2vu_pack.nodes.native.in_place import CopyOnWrite
from t2vu_pack.nodes.native.text import NativeText
from torch import Tensor

from t2vu_core import Erasure, FewShotRecipe, unlearn_encoder
from t2vu_core.text_encoders import encoder_facts, encoder_layers, kind_of, trained_sites

PROMPT = 'a red ghost in a house, "boo"'
SPELT = "ein Bär über dem\nCafé, 幽灵 und ein ghost"
WORDS = ("Bär", "Café", "幽灵", "ghost")
SHAPES = {"hunyuan_video": (16, 1, 4, 4), "hunyuan_video_15": (32, 1, 4, 4)}
TRAINED = {"hunyuan_video": "lora", "hunyuan_video_15": "mlp+last-attention"}
"""What encoders with billions of weights get, and small ones."""
ENCODERS = ("Mistral3Small24B", "Qwen25_3B", "Qwen3_4B", "Gemma2_2B", "Gemma3_4B")
said: dict[str, Any] = {}
found: dict[str, Tensor] = {}


def encoded(clip: Any, prompt: str = PROMPT) -> Tensor:
    with torch.inference_mode():
        return clip.encode_from_tokens_scheduled(clip.tokenize(prompt))[0][0].clone()


def made(family: str, clip: Any) -> Any:
    latent = {"samples": torch.zeros(1, *SHAPES[family])}
    return model_from_comfyui([model_of(family)], clip, PlainPixels(16, 4, SHAPES[family][0]), Sampled(2, 1.0), latent=latent)


def slope(layer: Any, loss: Callable[[], Tensor]) -> tuple[float, float]:
    """The derivative of a loss along a change of a layer's output: by autograd, and by a finite difference."""
    along = torch.randn(layer.out_features, generator=torch.Generator().manual_seed(1))
    moved = torch.zeros((), requires_grad=True)
    handle = layer.register_forward_hook(lambda module, args, output: output + (moved * along).to(output))
    with torch.enable_grad():
        loss().backward()
    values = []
    for step in (1e-2, -1e-2):
        moved.data.fill_(step)
        with torch.no_grad():
            values.append(float(loss()))
    handle.remove()
    assert moved.grad is not None
    return float(moved.grad), (values[0] - values[1]) / 2e-2


def gradients(family: str, model: Any) -> None:
    """Of a feed-forward layer, through the rest of the encoder and the denoiser."""
    own, layer = model.family, model.family.text.encoder.layers[0].mlp.up_proj
    latents = torch.randn(1, *SHAPES[family], generator=torch.Generator().manual_seed(0))

    def loss() -> Tensor:
        condition = own.encode_with_gradients([PROMPT])
        return own.predict(latents, torch.tensor([0.7]), condition, own.defaults.size).double().pow(2).sum()

    said[f"{family} gradient"] = slope(layer, loss)
    with own.text.recomputed(encoder_layers(own.text.encoder)):
        said[f"{family} recomputed"] = slope(layer, loss)[0]
    said[f"{family} left behind"] = sum("forward" in vars(part) for part in own.text.encoder.modules())


def unlearned(family: str, clip: Any, model: Any) -> None:
    weights = {name: value.clone() for name, value in clip.cond_stage_model.state_dict().items()}
    before = encoded(clip)
    recipe = FewShotRecipe.preset("quick", steps=1, shots=1, prompts=2, preserve_prompts=2, trained=TRAINED[family])
    unlearn_encoder(model, "ghost", recipe).save(folder / family)
    erasure = Erasure.load(folder / f"{family}.safetensors")
    applied = encoded(with_encoder(clip, erasure, 1.0, allow_other_base=False))
    erased = model.with_erasure(erasure)
    with erased.active():
        attached = erased.family.encode([PROMPT]).embeds_BSD[:, : applied.shape[1]]
    said[f"{family} unlearned"] = {
        "moved": float((applied - before).norm() / before.norm()),
        "off": float((applied - attached).norm() / (applied - before).norm()),
        "kept": torch.equal(encoded(clip), before),
        "base": erasure.base.family,
    }
    found[f"{family}.after"] = applied
    found[f"{family}.before"] = before
    now = clip.cond_stage_model.state_dict()
    said[f"{family} weights"] = all(torch.equal(now[name], value) for name, value in weights.items())
    inside = clip.tokenizer.llama if family == "hunyuan_video" else clip.tokenizer.qwen25_7b
    template = clip.tokenizer.llama_template.format(PROMPT)
    (row,) = inside.tokenize_with_weights(template, disable_weights=True)
    found[f"{family}.ids"] = torch.tensor([[token for token, _ in row]])
    save_file({name: value.contiguous() for name, value in model.family.text.encoder.state_dict().items()},
              folder / f"{family}_weights.safetensors")  # fmt: skip


def cancelled(model: Any) -> str:
    """What a cancel becomes that a layer of the text encoder takes while it is trained, and while a clip is sampled."""
    answers = []
    for trained in (True, False):
        comfy.model_management.interrupt_current_processing()
        try:
            with torch.set_grad_enabled(trained):
                (model.family.encode_with_gradients if trained else model.family.encode)([PROMPT])
        except comfy_bridge.Cancelled as error:
            answers.append(type(error).__name__)
    return " ".join([*answers, str(comfy_bridge.take_cancel())])


def family(name: str) -> None:
    clip = clip_of(name)
    model = made(name, clip)
    text = model.family.text
    said[f"{name} facts"] = vars(encoder_facts(text)["text_encoder"])
    pieces = model.family.token_pieces(PROMPT)
    said[f"{name} concept"] = [pieces[place] for place in model.family.concept_positions(PROMPT, "ghost")]
    spelt = model.family.token_pieces(SPELT)
    said[f"{name} spelt"] = {word: [spelt[place] for place in model.family.concept_positions(SPELT, word)] for word in WORDS}
    sites = trained_sites(text, "mlp+last-attention", lambda: model.family.encode_with_gradients([PROMPT]))
    said[f"{name} sites"] = [site.name for site in sites]
    gradients(name, model)
    unlearned(name, clip, model)
    rows(name, model.family)
    said[f"{name} cancelled"] = cancelled(model)


@torch.no_grad()
def rows(name: str, own: Any) -> None:
    """Prompts with and without quoted words, in one batch and each alone."""
    prompts = ["a ghost", 'a "boo" ghost', 'a cat says "good night"']
    latents = torch.randn(3, *SHAPES[name], generator=torch.Generator().manual_seed(0))
    sigmas = torch.tensor([0.7, 0.5, 0.6])
    together = own.predict(latents, sigmas, own.encode(prompts), own.defaults.size)
    apart = [own.predict(latents[row : row + 1], sigmas[row : row + 1], own.encode([prompt]), own.defaults.size)
             for row, prompt in enumerate(prompts)]  # fmt: skip
    unquoted = own.predict(latents, sigmas, own.encode([prompt.replace('"', "") for prompt in prompts]), own.defaults.size)
    said[f"{name} rows"] = float((together - torch.cat(apart)).norm() / together.norm())
    said[f"{name} quotes"] = [float(off) for off in (together - unquoted).flatten(1).norm(dim=1)]


def encoder(name: str) -> None:
    """A language model of another kind, by itself: what it is taken for, and its gradient."""
    network = getattr(llama, name)(
        {**SIZES, "vocab_size": 64, "hidden_size": WIDTH}, torch.float32, "cpu", comfy.ops.manual_cast
    )
    randomise(network)
    clip: Any = LetterClip(WIDTH)
    clip.cond_stage_model.letters.transformer = network
    text = NativeText(clip).text
    ids = torch.arange(6)[None]
    freeze(network)

    def loss() -> Tensor:
        with training_mode(), frozen_linears(network), CopyOnWrite():
            return network(ids)[0].double().pow(3).sum()

    said[name] = SimpleNamespace(kind=kind_of(text.encoder).name, refused=text.refused).__dict__
    said[f"{name} gradient"] = slope(network.model.layers[0].mlp.up_proj, loss)


for name in SHAPES:
    if has_tokenizer(name):
        family(name)
for name in ENCODERS:
    encoder(name)
save_file(found, folder / "found.safetensors")
(folder / "found.json").write_text(json.dumps(said), encoding="utf-8")
