"""Clips as files and sheets."""

from __future__ import annotations

from pathlib import Path

import av
import pytest
import torch
from PIL import Image

from t2vu_core.errors import UserError
from t2vu_core.video import enlarge, save_video


def clip(height: int = 16, width: int = 24) -> torch.Tensor:
    ramp = torch.linspace(0, 1, width).expand(3, height, width)
    return torch.stack([ramp * level for level in (0.2, 0.6, 1.0)])


@pytest.mark.parametrize(("height", "width"), [(16, 24), (17, 23), (1, 1)])
def test_an_mp4_of_any_size_plays_with_all_its_frames(tmp_path: Path, height: int, width: int) -> None:
    path = save_video(clip(height, width), tmp_path / "a.mp4", fps=8, loops=2)
    with av.open(str(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 6
    assert frames[2].mean() > frames[0].mean() or width == 1


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
def test_pictures_that_move_keep_their_frames(tmp_path: Path, suffix: str) -> None:
    with Image.open(save_video(clip(), tmp_path / f"a{suffix}", fps=8)) as image:
        assert image.n_frames == 3
        assert image.size == (24, 16)


def test_an_unknown_kind_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"end it in \.mp4"):
        save_video(clip(), tmp_path / "a.mov", fps=8)


def test_enlarging_keeps_every_pixel() -> None:
    assert torch.equal(enlarge(clip(), 3)[:, :, ::3, ::3], clip())
