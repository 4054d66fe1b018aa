"""EfficientNet-Lite0 without its classifier: frames in, 1280 features out.

EfficientNet is Tan and Le 2019 (arXiv 1905.11946, Table 1); the Lite form has ReLU6 for swish and no squeeze-and-excitation
(TensorFlow's blog, 16 March 2020). Strided convolutions pad as TensorFlow does: the odd row and column come last.
"""

from __future__ import annotations

from typing import NamedTuple

import torch.nn.functional as F
from torch import Tensor, nn

FEATURES = 1280
STEM = 32
NORM_EPS = 1e-3


class Stage(NamedTuple):
    """Blocks of one resolution: how many, kernel, stride of the first, expansion, channels."""

    blocks: int
    kernel: int
    stride: int
    expansion: int
    channels: int


STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)


class EfficientNetLite0(nn.Module):
    """Frames (n, 3, h, w) with values from -1 to 1 -> features (n, 1280)."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.stem_norm = SameConv(3, STEM, 3, stride=2), _norm(STEM)
        blocks: list[nn.Module] = []
        channels = STEM
        for stage in STAGES:
            for index in range(stage.blocks):
                blocks.append(InvertedBottleneck(channels, stage, stage.stride if index == 0 else 1))
                channels = stage.channels
        self.blocks = nn.Sequential(*blocks)
        self.head, self.head_norm = SameConv(channels, FEATURES, 1), _norm(FEATURES)

    def forward(self, frames_NCHW: Tensor) -> Tensor:
        hidden = F.relu6(self.stem_norm(self.stem(frames_NCHW)))
        return F.relu6(self.head_norm(self.head(self.blocks(hidden)))).mean((2, 3))


class InvertedBottleneck(nn.Module):
    """Expand, filter each channel, project; with a residual connection where the shapes allow it."""

    def __init__(self, inputs: int, stage: Stage, stride: int) -> None:
        super().__init__()
        inner = inputs * stage.expansion
        self.expands = stage.expansion != 1
        if self.expands:
            self.expand, self.expand_norm = SameConv(inputs, inner, 1), _norm(inner)
        self.depthwise = SameConv(inner, inner, stage.kernel, stride=stride, groups=inner)
        self.depthwise_norm = _norm(inner)
        self.project, self.project_norm = SameConv(inner, stage.channels, 1), _norm(stage.channels)
        self.residual = stride == 1 and inputs == stage.channels

    def forward(self, hidden: Tensor) -> Tensor:
        inner = F.relu6(self.expand_norm(self.expand(hidden))) if self.expands else hidden
        inner = F.relu6(self.depthwise_norm(self.depthwise(inner)))
        projected: Tensor = self.project_norm(self.project(inner))
        return projected + hidden if self.residual else projected


class SameConv(nn.Conv2d):
    """A convolution whose output has ceil(size / stride) rows and columns."""

    def __init__(self, inputs: int, outputs: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(inputs, outputs, kernel, stride=stride, groups=groups, bias=False)

    def forward(self, hidden: Tensor) -> Tensor:
        step, kernel = self.stride[0], self.kernel_size[0]
        height, width = ((-(-size // step) - 1) * step + kernel - size for size in hidden.shape[-2:])
        rows, columns = max(height, 0), max(width, 0)
        padded = F.pad(hidden, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
        return F.conv2d(padded, self.weight, stride=self.stride, groups=self.groups)


def _norm(channels: int) -> nn.BatchNorm2d:
    return nn.BatchNorm2d(channels, eps=NORM_EPS)
