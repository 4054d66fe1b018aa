"""How an eraser changes a tensor of ComfyUI's denoisers: a part of the tokens, a part of a fused layer, or a layer's input."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

Change = Callable[[Tensor], Tensor]
Edit = Callable[[Any, Change], Any]


class InputOf:
    """The input of a module, where ComfyUI has no module that outputs it. Erasers attach to it as to a module's output."""

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def register_forward_hook(self, hook: Callable[..., Any]) -> Any:
        return self._module.register_forward_pre_hook(lambda module, args: (hook(module, args, args[0]), *args[1:]))


def edit_columns(first: int, width: int) -> Edit:
    """Change `width` output channels from `first` on, of a layer that fuses several projections."""

    def edit(output: Tensor, change: Change) -> Tensor:
        before, own, behind = output.split([first, width, output.shape[-1] - first - width], dim=-1)
        return torch.cat([before, change(own), behind], dim=-1)

    return edit


def edit_video_tokens(count: int, width: int, *, text_first: bool) -> Edit:
    """Change the first `width` channels of the `count` video tokens, in a sequence that also holds the text."""

    def edit(output: Tensor, change: Change) -> Tensor:
        first = output.shape[1] - count if text_first else 0
        before, video, behind = output.split([first, count, output.shape[1] - first - count], dim=1)
        changed = torch.cat([change(video[..., :width]), video[..., width:]], dim=-1)
        return torch.cat([before, changed, behind], dim=1)

    return edit
