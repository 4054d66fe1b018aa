"""`./run demo`, with fewer prompts."""

from __future__ import annotations

import json
from pathlib import Path

import av
import pytest
from PIL import Image

from tools.demo import main


@pytest.mark.slow
def test_a_newcomer_sees_the_ghost_go_and_the_others_stay(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Slow, because it trains a whole eraser: whether a concept is gone shows only then."""
    assert main(["--pairs", "4", "--out", str(tmp_path)]) == 0
    report = json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert report["concept"] == "ghost"
    assert report["erased"]["before"] >= 0.75
    assert report["erased"]["after"] <= 0.25
    assert report["kept"]["before"] >= 0.75
    assert report["kept"]["after"] >= 0.75
    assert report["clips"] == 16
    assert report["seconds"] > 0
    assert Image.open(tmp_path / "side_by_side.png").width > 800
    for name in ("before.mp4", "after.mp4"):
        with av.open(str(tmp_path / name)) as container:
            assert sum(1 for _ in container.decode(video=0)) >= 9
    printed = capsys.readouterr().out
    assert str(tmp_path / "side_by_side.png") in printed
    assert "Clips that show the ghost" in printed
