"""Records the attention from video tokens to text tokens while a frozen model computes.

The queries, keys and masks are the ones that the architecture's own attention passes to
`scaled_dot_product_attention`, after normalisation and rotary embeddings, whichever processor computes them. Only the
columns of the requested text tokens are kept. Shapes: B clips, H heads, N video tokens, K keys.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from t2vu_core.errors import UserError

TextKeys = Literal["before_video", "after_video", "alone"]
"""Position of an attention's text keys: before or after the video tokens, or alone (cross-attention)."""

SCORES_BYTES = 64 * 2**20
"""Queries are processed in blocks, so that even an attention without a fused kernel holds at most this many bytes."""


def text_columns(
    query_BHND: Tensor,
    key_BHKD: Tensor,
    columns: Sequence[Sequence[int]],
    *,
    mask: Tensor | None = None,
    scale: float | None = None,
) -> Tensor:
    """The exact softmax attention of each query to its row's `columns`: the sum over the columns, the mean over heads.

    (B, H, N, D), (B, H, K, D), B lists of key positions -> (B, N) float32. The attention is read with a value that is 1
    at the requested keys and 0 elsewhere, so that memory is linear in N. `mask` is the attention's own mask,
    (B or 1, H or 1, N or 1, K).
    """
    rows, heads, num_queries, width = query_BHND.shape
    value = key_BHKD.new_zeros(rows, 1, key_BHKD.shape[2], width)
    for row, wanted in enumerate(columns):
        value[row, 0, list(wanted), 0] = 1.0
    value = value.expand(-1, heads, -1, -1)
    block = max(1, SCORES_BYTES // (4 * rows * heads * key_BHKD.shape[2]))
    given = torch.empty(rows, num_queries, dtype=torch.float32, device=query_BHND.device)
    for start in range(0, num_queries, block):
        part = slice(start, start + block)
        masked = mask if mask is None or mask.shape[-2] == 1 else mask[..., part, :]
        query = query_BHND[:, :, part].to(key_BHKD.dtype)
        given[:, part] = F.scaled_dot_product_attention(query, key_BHKD, value, masked, scale=scale)[..., 0].float().mean(1)
    return given


Grid = tuple[int, int, int]
"""Layout of a clip's video tokens: frames, rows, columns."""


class TextAttention(TorchFunctionMode):
    """Records the attention of chosen layers: for the first clips of each batch, the sum over their text positions.

    `grids` holds the layers' own token grids. Inside a UNet these are coarser than `grid`, the clip's, and the frames are
    rows of the batch.
    """

    def __init__(
        self, grids: Mapping[nn.Module, Grid], positions: Sequence[Sequence[int]], grid: Grid, text_keys: TextKeys
    ) -> None:
        super().__init__()
        self._grids, self._grid, self._text_keys = grids, grid, text_keys
        self.positions = positions
        self._sum: Tensor | None = None
        self._layers = 0
        self._layer: nn.Module | None = None
        self._seen: list[Tensor] = []
        self._row = 0

    def mean(self) -> Tensor:
        """(B, N) float32: the mean over heads, layers and passes so far, in the order of the clip's token grid."""
        if self._sum is None:
            raise RuntimeError("No layer has computed its attention yet.")
        return self._sum / self._layers

    def enter(self, layer: nn.Module, *_: object) -> None:
        """Called before a chosen layer computes."""
        self._layer, self._row, self._seen = layer, 0, []

    def leave(self, layer: nn.Module, *_: object) -> None:
        """Called after a chosen layer has computed."""
        if not self._seen:
            raise UserError(
                f"{type(layer).__name__} computes its attention without PyTorch's scaled_dot_product_attention, so that the "
                "concept's mask cannot be read: set the model's attention backend to 'native', or mask_source to prediction."
            )
        frames, rows, columns = self._grids[layer]
        given = torch.cat(self._seen).view(len(self.positions), frames, rows, columns)
        if (frames, rows, columns) != self._grid:
            given = F.interpolate(given, self._grid[1:], mode="bilinear")
        self._sum = given.flatten(1) if self._sum is None else self._sum + given.flatten(1)
        self._layer, self._layers = None, self._layers + 1

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if func is F.scaled_dot_product_attention and self._layer is not None:
            self._see(self._layer, *args, **kwargs)
        return func(*args, **kwargs)

    @torch.no_grad()
    def _see(
        self, layer: nn.Module, query: Tensor, key: Tensor, value: Tensor, attn_mask: Tensor | None = None,
        dropout_p: float = 0.0, is_causal: bool = False, scale: float | None = None, enable_gqa: bool = False,
    ) -> None:  # fmt: skip
        """Handles one attention call for some rows of the batch; Mochi computes its rows one by one."""
        tokens = math.prod(self._grids[layer])
        rows_a_clip = tokens // query.shape[2] if self._text_keys == "alone" else 1
        first, self._row = self._row, self._row + len(query)
        clips = range(first, min(self._row, rows_a_clip * len(self.positions)))
        if not clips:
            return
        video = slice(-tokens, None) if self._text_keys == "before_video" else slice(tokens)
        if attn_mask is not None and attn_mask.shape[0] > 1:
            attn_mask = attn_mask[: len(clips)]
        if attn_mask is not None and attn_mask.shape[-2] > 1:
            attn_mask = attn_mask[..., video, :]
        offset = tokens if self._text_keys == "after_video" else 0
        columns = [[offset + position for position in self.positions[row // rows_a_clip]] for row in clips]
        rows = slice(len(clips))
        with torch.autocast(query.device.type, enabled=False):
            self._seen.append(text_columns(query[rows, :, video], key[rows], columns, mask=attn_mask, scale=scale))


@contextlib.contextmanager
def watched_text(
    grids: Mapping[nn.Module, Grid], positions: Sequence[Sequence[int]], grid: Grid, text_keys: TextKeys
) -> Iterator[TextAttention]:
    """Inside this context, the attention of the layers in `grids` is recorded; their results do not change."""
    watch, handles = TextAttention(grids, positions, grid, text_keys), []
    try:
        for layer in grids:
            handles += [layer.register_forward_pre_hook(watch.enter), layer.register_forward_hook(watch.leave)]
        with watch:
            yield watch
    finally:
        for handle in handles:
            handle.remove()


def mask_bytes(*, num_video: int, num_text: int, heads: int, head_dim: int, clips: int = 1, bytes_per_value: int = 4) -> int:
    """Upper bound of the extra memory for the masks of `clips` clips, in bytes: linear in `num_video`.

    It assumes that no kernel is fused: one block of attention scores and their softmax, the block's queries and outputs,
    keys and values once per head, and the (B, N) sums. `num_text` counts the text keys of a joint attention; a
    cross-attention has only these and needs less.
    """
    keys, rows = num_video + num_text, clips * heads
    block = min(num_video, max(1, SCORES_BYTES // (4 * rows * keys)))
    scores = 2 * 4 * rows * block * keys
    queries = 3 * rows * block * head_dim * bytes_per_value
    readers = (2 * rows + clips) * keys * head_dim * bytes_per_value
    return scores + queries + readers + 3 * 4 * clips * num_video
