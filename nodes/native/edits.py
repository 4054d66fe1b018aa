"""How an eraser changes a tensor of ComfyUI's denoisers: a part of the tokens, or a part of a fused layer."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

Change = Callable[[Tensor], Tensor]
Edit = Callable[[Any, Change], Any]


def edit_columns(first: int, width: int) -> Edit:
    """Change `width` output channels from `first` on, of a layer that fuses several projections."""

    def edit(output: Tensor, change: Change) -> Tensor:
        before, own, behind = output.split([first, width, output.shape[-1] - first - width], dim=-1)
        return torch.cat([before, change(own), behind], dim=-1)

    return edit


def edit_video_tokens(video_tokens: Callable[[], int], width: int, *, text_first: bool) -> Edit:
    """Change the first `width` channels of the video tokens, in a sequence that also holds the text.

    `video_tokens()` is the number of video tokens in the current pass.
    """

    def edit(output: Tensor, change: Change) -> Tensor:
        count = video_tokens()
        first = output.shape[1] - count if text_first else 0
        before, video, behind = output.split([first, count, output.shape[1] - first - count], dim=1)
        changed = torch.cat([change(video[..., :width]), video[..., width:]], dim=-1)
        return torch.cat([before, changed, behind], dim=1)

    return edit
