"""The text encoders of a pipeline: which they are, and the places where an unlearned encoder changes them.

Places are named `<component>.<module>`, for example `text_encoder.encoder.layers.3.mlp.fc1`, without the prefix
`text_model.` that some versions of transformers put around CLIP.
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import json
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from t2vu_core.erasure import Base, Erasure, hash_tensors
from t2vu_core.errors import UserError
from t2vu_core.families.base import EraserKind, EraserSite, TextCondition, edit_whole
from t2vu_core.recipes import Trained

COMPONENTS = {"text_encoder": "tokenizer", "text_encoder_2": "tokenizer_2", "text_encoder_3": "tokenizer_3"}
LARGE = 400_000_000
"""With more trained parameters than this, `auto` trains low-rank factors: Adam would need 16 bytes for each."""
SKETCH_LENGTH = 65_536
SKETCH_TOLERANCE = 4e-3
"""In root mean square over all tensors: rounding to bf16 moves a sketch by about 1.5e-3, a fine-tune by more."""
SKETCH_OUTLIER = 1.2e-2
"""Of a single tensor: eight times that, which chance gives to none of thousands."""


@dataclass(frozen=True)
class EncoderKind:
    """The module types of one architecture, by the names of their classes."""

    name: str
    feed_forward: tuple[str, ...]
    attention: tuple[str, ...]


KINDS = (
    EncoderKind("clip", ("CLIPMLP",), ("CLIPAttention",)),
    EncoderKind("t5", ("T5DenseActDense", "T5DenseGatedActDense"), ("T5Attention",)),
    EncoderKind("umt5", ("UMT5DenseActDense", "UMT5DenseGatedActDense"), ("UMT5Attention",)),
    EncoderKind("llama", ("LlamaMLP",), ("LlamaAttention",)),
    EncoderKind("mistral", ("MistralMLP",), ("MistralAttention",)),
    EncoderKind("qwen2", ("Qwen2MLP",), ("Qwen2Attention", "Qwen2_5_VLAttention")),
    EncoderKind("gemma2", ("Gemma2MLP",), ("Gemma2Attention",)),
)


@dataclass(frozen=True)
class EncoderFacts:
    """What tells one text encoder from another."""

    kind: str
    width: int
    layers: int
    vocabulary: int
    tokenizer: str | None = None
    """Hash of the tokenizer's pieces; None where the tokenizer is not at hand."""

    def __str__(self) -> str:
        return f"a {self.kind} text encoder {self.width} wide with {self.layers} layers and {self.vocabulary} tokens"

    def without_tokenizer(self) -> EncoderFacts:
        """The architecture alone."""
        return dataclasses.replace(self, tokenizer=None)

    @classmethod
    def of(cls, encoder: nn.Module, tokenizer: Any) -> EncoderFacts:
        kind = kind_of(encoder)
        table = _input_table(encoder)
        layers = sum(1 for module in encoder.modules() if _is_a(module, kind.feed_forward))
        pieces = json.dumps(sorted(tokenizer.get_vocab().items())).encode()
        return cls(kind.name, table.embedding_dim, layers, table.num_embeddings, hashlib.sha256(pieces).hexdigest())


def text_encoders(pipeline: Any) -> dict[str, nn.Module]:
    """The text encoders of a diffusers pipeline by component name."""
    found = {name: getattr(pipeline, name, None) for name in COMPONENTS}
    return {name: module for name, module in found.items() if isinstance(module, nn.Module)}


def kind_of(encoder: nn.Module) -> EncoderKind:
    """The architecture of a text encoder; UserError for one whose module types are not known."""
    for kind in KINDS:
        if any(_is_a(module, kind.feed_forward) for module in encoder.modules()):
            return kind
    known = ", ".join(kind.name for kind in KINDS)
    raise UserError(f"The text encoder is a {type(encoder).__name__}, which is not known here; known are {known}.")


def encoder_layers(encoder: nn.Module) -> list[nn.Module]:
    """The layers that follow each other in an encoder: what holds one feed-forward layer each, in the outermost list."""
    kind = kind_of(encoder)
    for stack in encoder.modules():
        if isinstance(stack, nn.ModuleList) and any(_is_a(inner, kind.feed_forward) for inner in stack.modules()):
            return list(stack)
    return []


def encoder_facts(pipeline: Any) -> dict[str, EncoderFacts]:
    """What is told of each text encoder of a pipeline."""
    return {
        name: EncoderFacts.of(encoder, getattr(pipeline, COMPONENTS[name])) for name, encoder in text_encoders(pipeline).items()
    }


def encoder_sites(pipeline: Any) -> dict[str, EraserSite]:
    """Every linear layer and every embedding table of the text encoders, by name."""
    return {
        site.name: site
        for component, encoder in text_encoders(pipeline).items()
        for site in _sites(component, encoder, lambda module: True)
    }


def trained_sites(pipeline: Any, trained: Trained, encode: Callable[[], TextCondition]) -> list[EraserSite]:
    """The places that a choice of `trained` names, found by module type, among those that an encoded prompt passes.

    `mlp`: the feed-forward layers. `mlp+last-attention`: and the last attention, as in arXiv 2405.07288. `all`:
    every linear layer and embedding table. `lora`: low-rank factors beside every linear layer. `auto`:
    `mlp+last-attention`, or `lora` in an encoder of billions. `encode()` encodes any prompt.
    """
    if trained == "auto":
        sites = trained_sites(pipeline, "mlp+last-attention", encode)
        size = sum(weight.numel() for site in sites for weight in site.module.parameters())
        return sites if size <= LARGE else trained_sites(pipeline, "lora", encode)
    passed = {site.name for site in _passed(list(encoder_sites(pipeline).values()), encode)}
    chosen: list[EraserSite] = []
    for component, encoder in text_encoders(pipeline).items():
        kind = kind_of(encoder)
        if trained in ("all", "lora"):
            found = list(_sites(component, encoder, lambda module: True))
        else:
            found = list(_sites(component, encoder, functools.partial(_is_a, names=kind.feed_forward)))
        if trained == "mlp+last-attention":
            found += _last_attention(component, encoder, kind, passed)
        chosen += [site for site in found if site.name in passed]
    if trained == "lora":
        return [dataclasses.replace(site, kind="lora") for site in chosen if isinstance(site.module, nn.Linear)]
    return chosen


def _last_attention(component: str, encoder: nn.Module, kind: EncoderKind, passed: set[str]) -> list[EraserSite]:
    """The sites of the last attention that a prompt passes."""
    attentions = [module for module in encoder.modules() if _is_a(module, kind.attention)]
    for attention in reversed(attentions):
        sites = list(_sites(component, encoder, functools.partial(operator.is_, attention)))
        if any(site.name in passed for site in sites):
            return [site for site in sites if isinstance(site.module, nn.Linear)]
    return []


def _sites(component: str, encoder: nn.Module, inside: Callable[[nn.Module], bool]) -> Iterator[EraserSite]:
    """The linear layers and tables below the modules that `inside` chooses, each once."""
    seen: set[int] = set()
    for outer_name, outer in encoder.named_modules():
        if not inside(outer):
            continue
        for name, module in outer.named_modules(prefix=outer_name):
            if isinstance(module, nn.Linear | nn.Embedding) and id(module) not in seen:
                seen.add(id(module))
                kind: EraserKind = "delta"
                width = module.out_features if isinstance(module, nn.Linear) else module.embedding_dim
                yield EraserSite(f"{component}.{name.removeprefix('text_model.')}", module, width, edit_whole, kind)


def _passed(sites: Sequence[EraserSite], encode: Callable[[], TextCondition]) -> list[EraserSite]:
    """The sites that change what `encode()` gives: pipelines skip an encoder's last layers, or one of two tied tables."""
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


def _is_a(module: nn.Module, names: tuple[str, ...]) -> bool:
    return any(cls.__name__ in names for cls in type(module).__mro__)


def _input_table(encoder: nn.Module) -> nn.Embedding:
    return next(module for module in encoder.modules() if isinstance(module, nn.Embedding))


# What an unlearned encoder stands on.


def base_of(name: str, weights: Mapping[str, Tensor], facts: Mapping[str, EncoderFacts]) -> Base:
    """Name, kinds and hash of the weights, by site and `weight` or `bias`, that a delta is added to."""
    return Base(name, "+".join(fact.kind for fact in facts.values()), hash_tensors(sorted(weights.items())))


def describe_encoder(facts: Mapping[str, EncoderFacts], weights: Mapping[str, Tensor]) -> dict[str, Any]:
    """Facts and a sketch of the weights as JSON values, for the erasure file."""
    return {
        "components": {name: dataclasses.asdict(fact) for name, fact in facts.items()},
        "sketch": {name: float(f"{sketch(weight):.5g}") for name, weight in sorted(weights.items())},
    }


def touched_weights(sites: Mapping[str, EraserSite], names: Sequence[str]) -> dict[str, Tensor]:
    """The weights and biases of the named sites; UserError if one is not there."""
    missing = [name for name in names if name not in sites]
    if missing:
        raise UserError(f"The unlearned encoder does not fit this model: its encoder has no layer {missing[0]}.")
    return {f"{name}.{key}": value.detach() for name in names for key, value in sites[name].module.named_parameters()}


def sketch(weight: Tensor) -> float:
    """One number in about [-4, 4] that hardly depends on the number format: a projection on fixed random signs."""
    flat = weight.detach().flatten()
    values = flat[:: max(1, len(flat) // SKETCH_LENGTH)].to("cpu", torch.float32)
    signs = torch.randint(0, 2, values.shape, generator=torch.Generator().manual_seed(0)).float() * 2 - 1
    return float(values @ signs / values.norm().clamp_min(1e-12))


def site_names(erasure: Erasure) -> list[str]:
    """The places that an unlearned encoder changes."""
    return sorted({key.rsplit(".", 2)[0] for key in erasure.tensors})


def check_encoder(
    erasure: Erasure, facts: Mapping[str, EncoderFacts], weights: Mapping[str, Tensor], name: str, *, allow_other_base: bool
) -> None:
    """Raise UserError unless an unlearned encoder was trained on this one; the sentence says which it was.

    Other weights and another tokenizer of the same size can be allowed, another architecture cannot.
    """
    assert erasure.encoder is not None
    was = {component: EncoderFacts(**fact) for component, fact in erasure.encoder["components"].items()}
    for component, fact in was.items():
        own = facts.get(component)
        trained_on = f"This unlearned encoder was trained on {erasure.base.name}, {fact}"
        if own is None or own.without_tokenizer() != fact.without_tokenizer():
            has = "none in that place" if own is None else str(own)
            raise UserError(f"{trained_on}; {name} has {has}. It can only serve models that share that encoder.")
        if not allow_other_base and None not in (own.tokenizer, fact.tokenizer) and own.tokenizer != fact.tokenizer:
            raise UserError(f"{trained_on}; the tokenizer of {name} has other pieces, so the same words mean other tokens.")
    if not allow_other_base and not same_weights(erasure, weights):
        raise UserError(
            f"This unlearned encoder was trained on {erasure.base.name} ({erasure.base.hash[:12]}), {_sizes(was)}; the "
            f"encoder of {name} is of that size but its weights differ. Load a model that shares the encoder, or allow "
            "another base explicitly if this one is a fine-tune of it."
        )


def check_pipeline(erasure: Erasure, pipeline: Any, name: str, *, allow_other_base: bool) -> None:
    """`check_encoder` for the text encoders of a diffusers pipeline."""
    sites, facts = encoder_sites(pipeline), encoder_facts(pipeline)
    names = [site for site in site_names(erasure) if site in sites]
    check_encoder(erasure, facts, touched_weights(sites, names), name, allow_other_base=allow_other_base)


def check_shared(
    facts: Mapping[str, EncoderFacts], weights: Mapping[str, Tensor], name: str, pipeline: Any, pipeline_name: str
) -> None:
    """Raise UserError unless the pipeline has the encoders of the image model `name`, whose facts and weights are given."""
    known, sites = encoder_facts(pipeline), encoder_sites(pipeline)
    if any(component not in known or known[component].without_tokenizer() != fact.without_tokenizer()
           for component, fact in facts.items()):  # fmt: skip
        raise UserError(
            f"The image model {name} has {_sizes(facts)}, the model {pipeline_name} has {_sizes(known)}: they share no text "
            "encoder. Take an image model that shares it, or none: the model itself on single frames then gives the gradient."
        )
    if any(known[component].tokenizer != fact.tokenizer for component, fact in facts.items()):
        raise UserError(
            f"The image model {name} and the model {pipeline_name} have text encoders of the same size, but their tokenizers "
            "have other pieces, so the same words mean other tokens. Take an image model that shares the encoder, or none."
        )
    own_weights = touched_weights(sites, sorted({key.rsplit(".", 1)[0] for key in weights}))
    if not _alike({key: sketch(weight) for key, weight in weights.items()}, own_weights):
        raise UserError(
            f"The image model {name} and the model {pipeline_name} have text encoders of the same size with other weights: "
            "what one forgets would not carry over to the other. Take an image model that shares the encoder, or none."
        )


def _alike(known: Mapping[str, float], weights: Mapping[str, Tensor]) -> bool:
    """Whether weights have these sketches, but for the rounding of a number format on either side."""
    away = torch.tensor([sketch(weights[name]) - value for name, value in known.items()], dtype=torch.float64)
    return bool(away.pow(2).mean().sqrt() <= SKETCH_TOLERANCE and away.abs().max() <= SKETCH_OUTLIER)


def _sizes(facts: Mapping[str, EncoderFacts]) -> str:
    return " and ".join(map(str, facts.values()))


def same_weights(erasure: Erasure, weights: Mapping[str, Tensor]) -> bool:
    """Equal in bf16, or equal but for the rounding of a number format."""
    assert erasure.encoder is not None
    known: Mapping[str, float] = erasure.encoder["sketch"]
    if known.keys() != weights.keys():
        return False
    return _alike(known, weights) or hash_tensors(sorted(weights.items())) == erasure.base.hash
