"""Our IMAGE and VIDEO in ComfyUI's own nodes: what an artist connects behind Sample Video and Compare Before and After."""

from __future__ import annotations

import io
from typing import Any

import av
import numpy as np
import pytest
from PIL import Image

from tests.nodes.graphs import frames_of, load, node, pixels, sample
from tools.comfyui import ComfyServer, Result, queue
from tools.comfyui.client import Graph

SIZE, FRAMES = 32, 9
COMPARED = {"before": ["load", 0], "after": ["load", 0], "prompts": "a ghost\na cat", "seed": 5, "steps": 2}


def _run(comfy: ComfyServer, **nodes: dict[str, Any]) -> Result:
    """The nodes behind a sampled clip, and those that this ComfyUI has; skips the test where one is missing."""
    for kind in {entry["class_type"] for entry in nodes.values()}:
        if kind not in comfy.get("/object_info"):
            pytest.skip(f"this ComfyUI has no {kind}")
    graph: Graph = {"load": load(), "sample": sample("load", steps=2), **nodes}
    result = queue(comfy.url, graph)
    assert result.succeeded, result.error
    return result


def _video(comfy: ComfyServer, result: Result, key: str) -> tuple[int, int, int]:
    """Width, height and frames of the saved video."""
    (item,) = result.files(key)
    with av.open(str(comfy.file(item))) as container:
        frames = list(container.decode(video=0))
    return frames[0].width, frames[0].height, len(frames)


def test_the_components_of_a_video_are_its_frames(comfy: ComfyServer) -> None:
    parts = node("GetVideoComponents", video=["sample", 1])
    result = _run(comfy, parts=parts, taken=frames_of("parts"), frames=frames_of("sample"))
    assert (pixels(comfy, result, "taken") == pixels(comfy, result, "frames")).all()


def test_a_clip_is_saved_as_webm(comfy: ComfyServer) -> None:
    saved = node("SaveWEBM", images=["sample", 0], filename_prefix="webm", codec="vp9", fps=8.0, crf=32.0)
    assert _video(comfy, _run(comfy, saved=saved), "saved") == (SIZE, SIZE, FRAMES)


def test_a_clip_is_saved_as_an_animated_webp(comfy: ComfyServer) -> None:
    options = {"filename_prefix": "webp", "fps": 8.0, "lossless": True, "quality": 80, "method": "default"}
    result = _run(comfy, saved=node("SaveAnimatedWEBP", images=["sample", 0], **options))
    (item,) = result.files("saved")
    with Image.open(comfy.file(item)) as picture:
        assert (picture.size, getattr(picture, "n_frames", 1)) == ((SIZE, SIZE), FRAMES)


def test_one_frame_can_be_taken_out_of_a_clip(comfy: ComfyServer) -> None:
    one = node("ImageFromBatch", image=["sample", 0], batch_index=3, length=1)
    result = _run(comfy, one=one, taken=frames_of("one"), frames=frames_of("sample"))
    assert (pixels(comfy, result, "taken")[0] == pixels(comfy, result, "frames")[3]).all()


def test_a_video_can_be_cut(comfy: ComfyServer) -> None:
    cut = node("Video Slice", video=["sample", 1], start_time=0.25, duration=0.5, strict_duration=False)
    saved = node("SaveVideo", video=["cut", 0], filename_prefix="cut", format="mp4", codec="h264", **{"format.codec": "h264"})
    assert 3 <= _video(comfy, _run(comfy, cut=cut, saved=saved), "saved")[2] <= 5


def test_compared_clips_are_one_captioned_video_and_their_frames(comfy: ComfyServer) -> None:
    saved = node(
        "SaveVideo", video=["compare", 0], filename_prefix="pairs", format="mp4", codec="h264", **{"format.codec": "h264"}
    )
    frames = {name: node("SaveImage", images=["compare", index], filename_prefix=name) for name, index in (("b", 2), ("a", 3))}
    result = _run(comfy, compare=node("T2VUCompare", **COMPARED), saved=saved, **frames)
    width, height, count = _video(comfy, result, "saved")
    assert count == FRAMES
    assert width > 480, "two clips next to each other"
    assert height > 480, "two prompts under each other"
    before, after = pixels(comfy, result, "b"), pixels(comfy, result, "a")
    assert len(before) == 2 * FRAMES
    assert (before == after).all(), "the same model on both sides"
    assert not (before[:FRAMES] == before[FRAMES:]).all(), "two prompts"
    played = result.outputs["compare"]["pairs"]
    assert [(item["prompt"], item["titles"]) for item in played] == [
        ("a ghost", ["before", "after"]),
        ("a cat", ["before", "after"]),
    ]
    assert all(comfy.file(item).is_file() for item in played)


def test_an_erasure_is_compared_without_applying_it_first(comfy: ComfyServer, eraser_name: str) -> None:
    inputs = {**COMPARED, "after": ["file", 0], "after_2": ["load", 0], "prompts": "a ghost", "strength": 3.0}
    frames = {name: node("SaveImage", images=["compare", index], filename_prefix=name) for name, index in (("b", 2), ("a", 3))}
    file = node("T2VULoadErasure", file=eraser_name)
    result = _run(comfy, file=file, compare=node("T2VUCompare", **inputs), **frames)
    assert not (pixels(comfy, result, "b") == pixels(comfy, result, "a")).all()
    assert result.outputs["compare"]["pairs"][0]["titles"] == ["before", "eraser", "model"]


def test_the_last_preview_is_of_the_finished_clip(comfy: ComfyServer) -> None:
    """A noisy one would stay under the node."""
    # A seed of its own: a clip that ComfyUI has kept is not sampled again.
    result = _run(comfy, sample=sample("load", steps=2, seed=77), frames=frames_of("sample"))
    last = result.of("preview")[-1].payload
    at = last.find(b"\xff\xd8")
    picture = Image.open(io.BytesIO(last[at:])).convert("RGB")
    middle = pixels(comfy, result)[FRAMES // 2].astype(float)
    third = picture.width // 3
    shown = np.array(picture.crop((third, 0, 2 * third, picture.height)).resize((SIZE, SIZE), Image.Resampling.BOX)).astype(
        float
    )
    assert abs(shown - middle).mean() < 12
