"""The text encoders of a model: their architectures, and the sites where an unlearned encoder changes them.

Sites are named `<component>.<module>`, for example `text_encoder.encoder.layers.3.mlp.fc1`, without the prefix
`text_model.` that some versions of transformers add for CLIP.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import operator
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from t2vu_core.errors import UserError
from t2vu_core.families.eraser_site import EraserKind, EraserSite, edit_whole, is_linear
from t2vu_core.families.text import Text
from t2vu_core.families.text_condition import TextCondition
from t2vu_core.recipes import Trained

LARGE = 400_000_000
"""Above this number of trained parameters, `auto` trains low-rank factors: Adam would need 16 bytes per parameter."""


@dataclass(frozen=True)
class EncoderKind:
    """The module types of one architecture, by class name."""

    name: str
    feed_forward: tuple[str, ...]
    attention: tuple[str, ...]
    configs: tuple[str, ...] = ()
    """ComfyUI's configurations of this architecture: the module types are the same for all its language models."""


KINDS = (
    EncoderKind("clip", ("CLIPMLP",), ("CLIPAttention",)),
    EncoderKind("t5", ("T5DenseActDense", "T5DenseGatedActDense"), ("T5Attention",)),
    EncoderKind("umt5", ("UMT5DenseActDense", "UMT5DenseGatedActDense"), ("UMT5Attention",)),
    EncoderKind("llama", ("LlamaMLP",), ("LlamaAttention",), ("Llama2Config",)),
    EncoderKind("mistral", ("MistralMLP",), ("MistralAttention",), ("Mistral3Small24BConfig", "Ministral3_3BConfig")),
    EncoderKind("qwen2", ("Qwen2MLP",), ("Qwen2Attention", "Qwen2_5_VLAttention"), ("Qwen25_3BConfig", "Qwen25_7BVLI_Config")),
    EncoderKind("qwen3", ("Qwen3MLP",), ("Qwen3Attention",), ("Qwen3_06BConfig", "Qwen3_4BConfig", "Qwen3_8BConfig")),
    EncoderKind("gemma2", ("Gemma2MLP",), ("Gemma2Attention",), ("Gemma2_2B_Config",)),
    EncoderKind("gemma3", ("Gemma3MLP",), ("Gemma3Attention",), ("Gemma3_4B_Config", "Gemma3_12B_Config")),
)


@dataclass(frozen=True)
class EncoderFacts:
    """Properties that distinguish text encoders."""

    kind: str
    width: int
    layers: int
    vocabulary: int
    tokenizer: str | None = None
    """Hash of the tokenizer's vocabulary; None if the tokenizer is not available."""

    def __str__(self) -> str:
        return f"a {self.kind} text encoder {self.width} wide with {self.layers} layers and {self.vocabulary} tokens"

    def without_tokenizer(self) -> EncoderFacts:
        """The same properties without the tokenizer."""
        return dataclasses.replace(self, tokenizer=None)

    @classmethod
    def of(cls, encoder: nn.Module, tokenizer: Any) -> EncoderFacts:
        kind = kind_of(encoder)
        table = _table(encoder)
        layers = sum(1 for module in encoder.modules() if _is_a(module, kind.feed_forward))
        name = _architecture(encoder, kind)
        return cls(name, table.embedding_dim, layers, table.num_embeddings, _vocabulary_hash(tokenizer))


def _table(encoder: Any) -> Any:
    """The table of the tokens' embeddings."""
    # The layers of ComfyUI's language models come without their outer class, which has that method.
    return encoder.get_input_embeddings() if hasattr(encoder, "get_input_embeddings") else encoder.embed_tokens


def _vocabulary_hash(tokenizer: Any) -> str | None:
    """Hash of a tokenizer's pieces; None if another library's form of it does not list all of them."""
    if not getattr(tokenizer, "whole_vocabulary", True):
        return None
    return hashlib.sha256(json.dumps(sorted(tokenizer.get_vocab().items())).encode()).hexdigest()


def kind_of(encoder: nn.Module) -> EncoderKind:
    """The architecture of a text encoder. Raises UserError if its module types are not known."""
    config = type(getattr(encoder, "config", None)).__name__
    for kind in KINDS:
        # Module types of ComfyUI's language models.
        if config in kind.configs:
            return dataclasses.replace(kind, feed_forward=("MLP",), attention=("Attention",))
        if any(_is_a(module, kind.feed_forward) for module in encoder.modules()):
            return kind
    known = ", ".join(kind.name for kind in KINDS)
    raise UserError(f"The text encoder is a {type(encoder).__name__}, which is not supported; supported are {known}.")


def encoder_layers(encoder: nn.Module) -> list[nn.Module]:
    """The consecutive layers of an encoder: the outermost module list whose items contain feed-forward layers."""
    kind = kind_of(encoder)
    for stack in encoder.modules():
        if isinstance(stack, nn.ModuleList) and any(_is_a(inner, kind.feed_forward) for inner in stack.modules()):
            return list(stack)
    return []


def encoder_facts(text: Text) -> dict[str, EncoderFacts]:
    """The properties of each text encoder."""
    return {name: EncoderFacts.of(encoder, text.tokenizers[name]) for name, encoder in text.encoders.items()}


def encoder_sites(text: Text) -> dict[str, EraserSite]:
    """Every linear layer and every embedding table of the text encoders, by name."""
    return {
        site.name: site
        for component, encoder in text.encoders.items()
        for site in _sites(component, encoder, lambda module: True)
    }


def trained_sites(text: Text, trained: Trained, encode: Callable[[], TextCondition]) -> list[EraserSite]:
    """The sites that `trained` selects by module type, limited to those that affect an encoded prompt.

    `mlp`: the feed-forward layers. `mlp+last-attention`: also the last attention, as in arXiv 2405.07288. `all`: every
    linear layer and embedding table. `lora`: low-rank factors for every linear layer. `auto`: `mlp+last-attention`, or
    `lora` for an encoder with billions of parameters. `encode()` encodes any prompt.
    Raises UserError if the encoders cannot be trained.
    """
    if text.refused:
        raise UserError(text.refused)
    if trained == "auto":
        sites = trained_sites(text, "mlp+last-attention", encode)
        size = sum(weight.numel() for site in sites for weight in site.module.parameters())
        return sites if size <= LARGE else trained_sites(text, "lora", encode)
    passed = {site.name for site in _passed(list(encoder_sites(text).values()), encode)}
    chosen: list[EraserSite] = []
    for component, encoder in text.encoders.items():
        kind = kind_of(encoder)
        if trained in ("all", "lora"):
            found = list(_sites(component, encoder, lambda module: True))
        else:
            found = list(_sites(component, encoder, functools.partial(_is_a, names=kind.feed_forward)))
        if trained == "mlp+last-attention":
            found += _last_attention(component, encoder, kind, passed)
        chosen += [site for site in found if site.name in passed]
    if trained == "lora":
        return [dataclasses.replace(site, kind="lora") for site in chosen if is_linear(site.module)]
    return chosen


def _last_attention(component: str, encoder: nn.Module, kind: EncoderKind, passed: set[str]) -> list[EraserSite]:
    """The sites of the last attention that affects an encoded prompt."""
    attentions = [module for module in encoder.modules() if _is_a(module, kind.attention)]
    for attention in reversed(attentions):
        sites = list(_sites(component, encoder, functools.partial(operator.is_, attention)))
        if any(site.name in passed for site in sites):
            return [site for site in sites if is_linear(site.module)]
    return []


def _sites(component: str, encoder: nn.Module, inside: Callable[[nn.Module], bool]) -> Iterator[EraserSite]:
    """The linear layers and tables inside the modules that `inside` selects, each once."""
    seen: set[int] = set()
    for outer_name, outer in encoder.named_modules():
        if not inside(outer):
            continue
        for name, module in outer.named_modules(prefix=outer_name):
            if (is_linear(module) or isinstance(module, nn.Embedding)) and id(module) not in seen:
                seen.add(id(module))
                layer: Any = module
                kind: EraserKind = "delta"
                width = layer.out_features if is_linear(module) else layer.embedding_dim
                yield EraserSite(f"{component}.{name.removeprefix('text_model.')}", module, width, edit_whole, kind)


def _passed(sites: Sequence[EraserSite], encode: Callable[[], TextCondition]) -> list[EraserSite]:
    """The sites that affect the result of `encode()`: pipelines skip last layers, or one of two tied tables."""
    places = {site.name: next(site.module.parameters()).device for site in sites}
    changes = {name: torch.zeros((), device=place, requires_grad=True) for name, place in places.items()}

    def hook(name: str) -> Callable[..., Tensor]:
        return lambda module, args, output: output + changes[name].to(output.dtype)

    handles = [site.module.register_forward_hook(hook(site.name)) for site in sites]
    try:
        with torch.enable_grad():
            condition = encode()
            parts = [condition.embeds_BSD] + ([] if condition.pooled_BD is None else [condition.pooled_BD])
            torch.stack([part.float().pow(2).sum() for part in parts]).sum().backward()
    finally:
        for handle in handles:
            handle.remove()
    return [site for site in sites if changes[site.name].grad is not None]


def _architecture(encoder: nn.Module, kind: EncoderKind) -> str:
    """The kind's name. ComfyUI has one class for T5 and UMT5; only UMT5 has a table of positions in every layer."""
    tables = sum(name.endswith("relative_attention_bias.weight") for name, _ in encoder.named_parameters())
    return "umt5" if kind.name == "t5" and tables > 1 else kind.name


def _is_a(module: nn.Module, names: tuple[str, ...]) -> bool:
    return any(cls.__name__ in names for cls in type(module).__mro__)
