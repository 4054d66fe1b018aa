"""The picture under a node while it works: what of a batch it shows."""

from __future__ import annotations

import importlib.util
from types import ModuleType

import numpy as np
import pytest
import torch

from tools.comfyui.server import REPOSITORY


@pytest.fixture(scope="module")
def pictures() -> ModuleType:
    """The module alone: the pack around it needs ComfyUI."""
    spec = importlib.util.spec_from_file_location("pictures", REPOSITORY / "nodes" / "pictures.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def grey(levels: list[float], frames: int, side: int = 16) -> torch.Tensor:
    """A clip of each level."""
    return torch.tensor(levels).view(-1, 1, 1, 1, 1).expand(-1, frames, 3, side, side)


def test_all_shots_that_are_made_are_seen_and_not_the_first_alone(pictures: ModuleType) -> None:
    picture = np.array(pictures.preview_picture(grey([0.2, 0.4, 0.6, 0.8, 1.0], frames=1)))
    height, width = picture.shape[0] // 2, picture.shape[1] // 3
    middles = [picture[row * height + height // 2, column * width + width // 2, 0] for row in (0, 1) for column in range(3)]
    assert middles == [51, 102, 153, 204, 255, 0]
    assert picture.shape[0] >= 192
    large = pictures.preview_picture(torch.zeros(16, 1, 3, 768, 1024))
    assert max(large.size) <= 2048


def test_of_a_clip_the_first_the_middle_and_the_last_frame_are_seen(pictures: ModuleType) -> None:
    clip = torch.stack([torch.full((3, 16, 16), frame / 8) for frame in range(9)])
    picture = np.array(pictures.preview_picture(torch.stack([clip, 1 - clip])))
    width = picture.shape[1] // 3
    assert [picture[picture.shape[0] // 2, column * width + width // 2, 0] for column in range(3)] == [0, 128, 255]
