"""Sample Video: frames, video, seeds, progress, previews, cancel."""

from __future__ import annotations

import io

import av
import numpy as np
from PIL import Image

from tests.nodes.graphs import load, node, pixels, sample, sampled
from tools.comfyui import ComfyServer, queue
from tools.comfyui.client import Control, Event


def test_a_clip_goes_to_image_nodes_and_to_save_video(comfy: ComfyServer) -> None:
    graph = sampled(seed=1)
    graph["video"] = node("SaveVideo", video=["sample", 1], filename_prefix="clip", format="mp4", codec="h264")
    result = queue(comfy.url, graph)
    images = pixels(comfy, result)
    with av.open(str(comfy.file(result.files("video")[0]))) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        rate = container.streams.video[0].average_rate
    assert len(images) == len(frames) == 9
    assert images.shape[1:] == frames[0].shape
    assert rate == 8
    # The file is compressed; the picture in it is the same.
    assert np.abs(np.stack(frames).astype(int) - images.astype(int)).mean() < 12


def test_the_seed_decides_the_clip(comfy: ComfyServer) -> None:
    # Another frame rate makes ComfyUI sample again instead of showing what it has kept.
    clips = [pixels(comfy, queue(comfy.url, sampled(seed=seed, fps=fps))) for seed, fps in ((11, 8), (11, 9), (12, 8))]
    assert np.array_equal(clips[0], clips[1])
    assert not np.array_equal(clips[0], clips[2])


def test_size_and_length_can_be_chosen(comfy: ComfyServer) -> None:
    clip = pixels(comfy, queue(comfy.url, sampled(frames=5, width=32, height=32)))
    assert clip.shape == (5, 32, 32, 3)


def test_progress_and_a_preview_are_seen_while_sampling(comfy: ComfyServer) -> None:
    result = queue(comfy.url, sampled(seed=2, steps=6))
    shown = [(event.data["value"], event.data["max"]) for event in result.of("progress") if event.data["node"] == "sample"]
    # Newer ComfyUI leaves out steps that follow each other too fast, never the first or the last.
    # The last step is reported once more, with the finished clip.
    assert list(dict.fromkeys(shown)) == sorted(set(shown))
    assert (shown[0], shown[-1]) == ((1, 6), (6, 6))
    picture = Image.open(io.BytesIO(result.of("preview")[0].payload[4:]))
    assert picture.format == "JPEG"
    assert picture.width > picture.height >= 192


def test_cancel_stops_within_a_step_and_the_next_run_works(comfy: ComfyServer) -> None:
    seen: list[int] = []

    def cancel_soon(event: Event, control: Control) -> None:
        if event.type == "progress":
            seen.append(event.data["value"])
            if len(seen) == 2:
                control.interrupt()

    result = queue(comfy.url, sampled(seed=3, steps=1000), cancel_soon)
    assert result.of("execution_interrupted")
    assert not result.succeeded
    # The request itself takes a moment, in which fast steps go on.
    assert max(seen) < 100
    assert queue(comfy.url, sampled(seed=3)).succeeded


def test_a_prompt_from_another_node_can_be_used(comfy: ComfyServer) -> None:
    """Any node that gives text, such as a language model, can write the prompt."""
    graph = {
        "load": load(),
        "text": node("PrimitiveStringMultiline", value="a cat moving right"),
        "typed": sample(prompt="a cat moving right"),
        "wired": sample(prompt=["text", 0], fps=9.0),
        "a": node("SaveImage", images=["typed", 0], filename_prefix="typed"),
        "b": node("SaveImage", images=["wired", 0], filename_prefix="wired"),
    }
    result = queue(comfy.url, graph)
    assert np.array_equal(pixels(comfy, result, "a"), pixels(comfy, result, "b"))
