"""What the keys and values of a denoiser read of the text, collected while the frozen model computes.

D is the width of the input of a projection, S counts text tokens, N rows of inputs.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from t2vu_core.errors import UserError
from t2vu_core.families.base import ClipSize, EraserSite, Family, TextCondition
from t2vu_core.training.closed_form.align import real_tokens

PROJECTIONS = ("to_k", "to_v", "k", "v", "k_proj", "v_proj", "key", "value")
"""The last part of the names of projections to keys and values."""
NO_TEXT = (
    "The closed form changes how keys and values are made from the text, and in this model no projection that can be changed "
    "reads the text. Use --method velocity (in a graph: Velocity Erase Fine-tune)."
)


@dataclass
class Inputs:
    """Statistics of the inputs of one group of projections, which all read the same."""

    moves_DD: Tensor
    """Sum of `(x* - x) x^T` over the tokens of prompts with the concept."""
    apart_DD: Tensor
    """Sum of `(x* - x) (x* - x)^T` over the same tokens."""
    erased_DD: Tensor
    kept_DD: Tensor
    video_DD: Tensor
    counts: dict[str, int] = field(default_factory=lambda: {"erased": 0, "kept": 0, "video": 0})
    concept_ND: list[Tensor] = field(default_factory=list)
    """The inputs at the concept's own tokens, and their targets."""
    target_ND: list[Tensor] = field(default_factory=list)

    @classmethod
    def empty(cls, width: int, device: torch.device) -> Inputs:
        moves, apart, erased, kept, video = (torch.zeros(width, width, device=device) for _ in range(5))
        return cls(moves, apart, erased, kept, video)


@dataclass(frozen=True)
class Alignment:
    """A prompt with the concept and its neutral prompt: tokens, and the token of the other that each one becomes."""

    tokens: Sequence[int]
    becomes: Sequence[int]
    named: Sequence[bool]
    """Which of the tokens belong to the concept's name."""


def key_value_sites(family: Family) -> list[EraserSite]:
    """The projections to keys and values among the sites of LoRA erasers."""
    return [site for site in family.lora_sites() if site.name.rsplit(".", 1)[-1] in PROJECTIONS]


class InputCollector:
    """Collects while it is attached; `pairs` and `mask_BS` describe the rows of the pass that follows."""

    def __init__(self, family: Family, sites: Sequence[EraserSite], size: ClipSize, concept_weight: float) -> None:
        self.groups: dict[str, Inputs] = {}
        self.group_of: dict[str, str] = {}
        self._family, self._sites, self._concept_weight = family, sites, concept_weight
        self._num_video = math.prod(family.token_grid(size))
        self._joint = family.text_keys != "alone"
        self._alignments: Sequence[Alignment] = ()
        self._mask_BS: Tensor | None = None
        self._rows = self._length = 0
        self._seen: dict[int, tuple[str, Tensor]] = {}

    @contextlib.contextmanager
    def attached(self) -> Iterator[None]:
        """Inside this context, every pass adds to the statistics."""
        handles = [site.module.register_forward_pre_hook(self._hook(site)) for site in self._sites]
        try:
            yield
        finally:
            for handle in handles:
                handle.remove()

    def expect(self, alignments: Sequence[Alignment], condition: TextCondition) -> None:
        """The next pass: a row for each pair's prompt, a row for each one's neutral prompt, then rows that must stay."""
        self._alignments, self._mask_BS = alignments, condition.mask_BS
        self._rows, self._length = condition.embeds_BSD.shape[:2]
        self._seen = {}

    def _hook(self, site: EraserSite) -> Callable[..., None]:
        def hook(module: object, args: tuple[Tensor, ...]) -> None:
            group = self._group(site, args[0])
            if group is not None:
                # A pass computes in bf16; sums of many products need more digits.
                with torch.autocast(args[0].device.type, enabled=False):
                    self._add(group, args[0])

        return hook

    def _group(self, site: EraserSite, inputs: Tensor) -> Inputs | None:
        """The statistics that this call adds to; None if another site of the group has added the same inputs in this pass.

        Cross-attentions of all blocks read one tensor; in a joint attention keys and values of a block do.
        """
        known = self.group_of.get(site.name)
        if known is None:
            if inputs.dim() != 3 or len(inputs) % self._rows or (not self._joint and inputs.shape[1] != self._length):
                raise UserError(NO_TEXT)
            seen = self._seen.get(inputs.data_ptr())
            known = self.group_of[site.name] = seen[0] if seen and seen[1].shape == inputs.shape else site.name
            self.groups.setdefault(known, Inputs.empty(inputs.shape[-1], inputs.device))
        if known != site.name:
            return None
        # Held for the rest of the pass, so that no other tensor gets its address.
        self._seen[inputs.data_ptr()] = known, inputs
        return self.groups[known]

    def _add(self, group: Inputs, inputs: Tensor) -> None:
        # A UNet repeats the text for every frame.
        rows = inputs[:: len(inputs) // self._rows].detach().float()
        text, video = self._split(rows)
        count = len(self._alignments)
        for row, alignment in enumerate(self._alignments):
            self._add_pair(group, text[row], text[count + row], alignment)
        for row in range(count, self._rows):
            kept = text[row][real_tokens(self._mask_BS, row, text.shape[1]).to(text.device)]
            group.kept_DD += kept.T @ kept
            group.counts["kept"] += len(kept)
        if video is not None:
            flat = video.flatten(0, 1)
            group.video_DD += flat.T @ flat
            group.counts["video"] += len(flat)

    def _split(self, rows: Tensor) -> tuple[Tensor, Tensor | None]:
        """Text and video tokens of a joint attention; text alone of a cross-attention."""
        if not self._joint:
            return rows, None
        length = rows.shape[1] - self._num_video
        if length < self._length:
            raise UserError(NO_TEXT)
        first, last = rows[:, :length], rows[:, self._num_video :]
        if self._family.text_keys == "before_video":
            return first, rows[:, length:]
        return last, rows[:, : self._num_video]

    def _add_pair(self, group: Inputs, concept: Tensor, neutral: Tensor, alignment: Alignment) -> None:
        inputs, targets = concept[list(alignment.tokens)], neutral[list(alignment.becomes)]
        named = torch.tensor(alignment.named, device=inputs.device)
        weights = torch.where(named, self._concept_weight, 1.0)[:, None]
        moves = (targets - inputs) * weights
        group.moves_DD += moves.T @ inputs
        group.apart_DD += moves.T @ (targets - inputs)
        group.erased_DD += (inputs * weights).T @ inputs
        group.counts["erased"] += int(weights.sum())
        group.concept_ND.append(inputs[named])
        group.target_ND.append(targets[named])
