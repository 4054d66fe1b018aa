"""Prompts through ComfyUI's CLIP, as rows of one batch."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from t2vu_core import UserError
from t2vu_core.families.text import Text
from t2vu_core.families.text_condition import TextCondition
from t2vu_core.quantised_weights import StoredWeight
from t2vu_core.text_encoders import kind_of

from .. import comfy_bridge
from .differentiable import freeze, frozen_linears, training_mode
from .in_place import CopyOnWrite, recomputed
from .loaded_weights import LoadedWeights
from .words import Words, encoder_name, literal, network_of

Encoded = tuple[Tensor, dict[str, Any]]
"""What a CLIP gives for one prompt: embeddings (1, S, D), and the other parts of its CONDITIONING."""


class NativeText:
    """A CLIP as the methods need it."""

    def __init__(self, clip: Any, shortest: int = 0) -> None:
        """Prompts of fewer than `shortest` tokens are padded to that. Raises LookupError if no text encoder is known."""
        self.clip, self.words, self.shortest = clip, Words(clip), shortest
        encoder = network_of(clip)
        parts = {"text_encoder": encoder}, {"text_encoder": self.words}
        self.text = Text(*parts, recomputed, _refused(encoder), _note(clip), _reader(clip))

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> TextCondition:
        """Encode prompts as CLIP Text Encode does, taking their letters literally."""
        return _batch([self._encoded(prompt) for prompt in prompts], self.shortest)

    def encode_with_gradients(self, prompts: Sequence[str]) -> TextCondition:
        """`encode`, with gradients to what is trained on the text encoder."""
        self.clip.load_model()
        encoder = self.clip.cond_stage_model
        freeze(encoder)
        with comfy_bridge.pausing(), training_mode(), frozen_linears(encoder), CopyOnWrite():
            return _batch([self._encoded(prompt) for prompt in prompts], self.shortest)

    def _encoded(self, prompt: str) -> Encoded:
        ((embeds, parts), *_) = self.clip.encode_from_tokens_scheduled(self.clip.tokenize(literal(prompt)))
        return embeds, parts


def _refused(encoder: nn.Module) -> str:
    """Why an encoder cannot be trained; empty if it can."""
    try:
        kind_of(encoder)
    except UserError:
        return (
            f"The text encoder of this CLIP ({type(encoder).__name__}) cannot be trained on ComfyUI's own models: CLIP, T5, "
            "UMT5, Llama, Mistral, Qwen and Gemma encoders can. Load the model's diffusers folder, or train the denoiser with "
            "Velocity Erase Fine-tune."
        )
    return ""


def _reader(clip: Any) -> Callable[[nn.Module, str], StoredWeight]:
    """Reads a parameter of one of the encoder's modules as it was loaded."""
    outer = clip.cond_stage_model
    weights = LoadedWeights(clip.patcher, outer, prefix="")
    paths = {id(module): path for path, module in outer.named_modules()}
    return lambda module, name: weights.stored(f"{paths[id(module)]}.{name}")


def _note(clip: Any) -> str:
    """Which encoders of a CLIP are not trained; empty if it has one only."""
    outer = clip.cond_stage_model
    trained = encoder_name(outer)
    others = [name for name, part in outer.named_children() if name != trained and hasattr(part, "transformer")]
    if not others:
        return ""
    return (
        f"Of this CLIP, only {trained} is trained. The others ({', '.join(others)}) stay as they are and may still represent "
        "the concept: compare before and after."
    )


def _batch(rows: Sequence[Encoded], shortest: int) -> TextCondition:
    """Shorter prompts are padded and masked."""
    longest = max(shortest, *(embeds.shape[1] for embeds, _ in rows))
    whole = TextCondition.cat([_row(embeds, parts) for embeds, parts in rows])
    return whole if whole.embeds_BSD.shape[1] == longest else whole.padded(longest)


def _row(embeds: Tensor, parts: Mapping[str, Any]) -> TextCondition:
    """One prompt. Integer masks: LTX takes others for biases."""
    mask, pooled, glyphs = (parts.get(name) for name in ("attention_mask", "pooled_output", "conditioning_byt5small"))
    own = (None if part is None else part.clone() for part in (pooled, glyphs))
    return TextCondition(embeds.clone(), None if mask is None else mask.long(), *own)
