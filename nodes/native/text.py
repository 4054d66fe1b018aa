"""Prompts through ComfyUI's CLIP, as rows of one batch."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
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
from .digest import digest
from .in_place import CopyOnWrite, recomputed
from .loaded_weights import LoadedWeights
from .words import Words, encoder_name, literal, network_of

MASKED, COUNTS = 2, 3
"""In a mask of `Rows.keep_padding`. Prompts without a mask have ones there, and padding of the batch zeros."""
Encoded = tuple[Tensor, dict[str, Any]]
"""What a CLIP gives for one prompt: embeddings (1, S, D), and the other parts of its CONDITIONING."""


@dataclass(frozen=True)
class Rows:
    """How prompts of different length become rows of a batch."""

    shortest: int = 0
    """Shorter ones are padded to this number of tokens."""
    keep_padding: bool = False
    """Whether the mask tells tokens that the CLIP leaves out (MASKED), and those that it counts (COUNTS), from the batch's."""


AS_GIVEN = Rows()


class NativeText:
    """A CLIP as the methods need it."""

    def __init__(self, clip: Any, rows: Rows = AS_GIVEN, settings: dict[str, Any] | None = None) -> None:
        """Raises LookupError if no text encoder is known.

        `settings` gets what the CLIP says about every prompt, such as how LTX-2 reads its embeddings.
        """
        self.clip, self.words, self.rows = clip, Words(clip), rows
        self._settings = {} if settings is None else settings
        encoder = network_of(clip)
        parts = {"text_encoder": encoder}, {"text_encoder": self.words}
        self.text = Text(*parts, recomputed, _refused(encoder), _note(clip), _reader(clip))

    def describe(self) -> dict[str, Any]:
        """What decides embeddings besides the weights: LoRAs, and what nodes such as CLIP Set Last Layer set."""
        options = {"layer": getattr(self.clip, "layer_idx", None), "tokenizer": getattr(self.clip, "tokenizer_options", None)}
        given = {name: value for name, value in options.items() if value}
        return {"patches": digest(self.clip.patcher.patches), **({"options": digest(given)} if given else {})}

    @torch.no_grad()
    def encode(self, prompts: Sequence[str]) -> TextCondition:
        """Encode prompts as CLIP Text Encode does, taking their letters literally."""
        return _batch([self._encoded(prompt) for prompt in prompts], self.rows)

    def encode_with_gradients(self, prompts: Sequence[str]) -> TextCondition:
        """`encode`, with gradients to what is trained on the text encoder."""
        self.clip.load_model()
        encoder = self.clip.cond_stage_model
        freeze(encoder)
        with comfy_bridge.pausing(), training_mode(), frozen_linears(encoder), CopyOnWrite():
            return _batch([self._encoded(prompt) for prompt in prompts], self.rows)

    def _encoded(self, prompt: str) -> Encoded:
        ((embeds, parts), *_) = self.clip.encode_from_tokens_scheduled(self.clip.tokenize(literal(prompt)))
        self._settings.update((name, value) for name, value in parts.items() if isinstance(value, bool | int | float | str))
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


def _batch(encoded: Sequence[Encoded], rows: Rows) -> TextCondition:
    """Shorter prompts are padded and masked."""
    longest = max(rows.shortest, *(embeds.shape[1] for embeds, _ in encoded))
    whole = TextCondition.cat([_row(embeds, parts, rows) for embeds, parts in encoded])
    return whole if whole.embeds_BSD.shape[1] == longest else whole.padded(longest)


def _row(embeds: Tensor, parts: Mapping[str, Any], rows: Rows) -> TextCondition:
    """One prompt. Integer masks: LTX takes others for biases."""
    mask, pooled, glyphs = (parts.get(name) for name in ("attention_mask", "pooled_output", "conditioning_byt5small"))
    own = (None if part is None else part.clone() for part in (pooled, glyphs))
    if mask is not None:
        mask = mask.long() + MASKED if rows.keep_padding else mask.long()
    return TextCondition(embeds.clone(), mask, *own)


def own_mask(mask_BS: Tensor | None) -> Tensor | None:
    """The mask that the CLIP has given, of a mask of `Rows.keep_padding` without padding of the batch; None if it gave none."""
    return None if mask_BS is None or int(mask_BS.max()) < MASKED else (mask_BS == COUNTS).long()
