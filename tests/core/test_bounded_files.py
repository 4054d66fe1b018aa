"""Files that never end, or hold more than anybody needs, are refused in one sentence and never waited for."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from PIL import Image, PngImagePlugin
from safetensors.torch import save_file

from t2vu_core.erasers import EraserSet
from t2vu_core.erasure import MOST_TENSORS, Erasure
from t2vu_core.errors import UserError
from t2vu_core.image_files import MOST_IMAGES, MOST_TOGETHER, read_images
from t2vu_core.interchange import released
from t2vu_core.model import load_model
from t2vu_core.prompts.prompt_set import prompt_set_for
from tests.core.test_library_failures import with_tokenizer
from tests.core.tiny_models import TINY_MODELS

TINY = TINY_MODELS["cogvideox-2b"]
SECONDS = 60
"""More than any refusal takes, much less than a hang."""


@pytest.fixture(params=["fifo", "device", "socket"])
def special(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A path with something that is not a file: opening or reading it would wait for ever."""
    path = tmp_path / "special.safetensors"
    if request.param == "fifo":
        os.mkfifo(path)
        yield path
    elif request.param == "device":
        path.symlink_to("/dev/zero")
        yield path
    else:
        # The path of a socket may have 108 characters.
        monkeypatch.chdir(tmp_path)
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
            yield path


def within_seconds(call: Callable[[], object]) -> list[BaseException]:
    """What the call raises; fails if it does not return."""
    raised: list[BaseException] = []

    def run() -> None:
        try:
            call()
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(SECONDS)
    assert not thread.is_alive(), "it waits"
    return raised


def assert_refused(call: Callable[[], object], hint: str) -> None:
    raised = within_seconds(call)
    assert raised, "it was accepted"
    assert isinstance(raised[0], UserError), raised
    assert hint in str(raised[0])


def test_an_erasure_that_is_not_a_regular_file_is_refused(special: Path) -> None:
    assert_refused(lambda: Erasure.load(special), "not a regular file")


def test_a_release_that_is_not_a_regular_file_is_refused(special: Path) -> None:
    assert_refused(lambda: released.import_released(special), "not a regular file")


def test_nothing_replaces_a_device(t2vu: Callable, special: Path, tmp_path: Path) -> None:
    kind = special.stat().st_mode
    code, _, error = t2vu("erase", "--model", TINY.folder, "--concept", "ghost", "--out", special)
    assert (code, "is a device, a pipe or a socket" in error) == (2, True), error
    video = special.rename(tmp_path / "clip.mp4")
    code, _, error = t2vu("sample", "--model", TINY.folder, "--prompt", "x", "--out", video)
    assert (code, "is a device, a pipe or a socket" in error) == (2, True), error
    assert video.stat().st_mode == kind


@pytest.mark.parametrize("option", ["--log", "--neighbours", "--language-model"])
def test_no_command_waits_for_what_is_no_file(t2vu: Callable, special: Path, tmp_path: Path, option: str) -> None:
    own = ("erase", "--model", TINY.folder, "--concept", "ghost", "--preset", "quick", "--out", tmp_path / "ghost")
    ended: list[tuple[int, str, str]] = []
    assert within_seconds(lambda: ended.append(t2vu(*own, option, special))) == []
    code, _, error = ended[0]
    assert (code, error.count("t2vu: ")) == (2, 1), error
    assert str(special) in error


@pytest.mark.parametrize(
    "place", ["model_index.json", "prompts.json", "transformer/config.json", "tokenizer/tokenizer.json", "vae/extra.bin"]
)
def test_a_pipe_in_a_model_folder_is_refused(place: str, tmp_path: Path) -> None:
    folder = with_tokenizer(tmp_path / "model")
    (folder / place).unlink(missing_ok=True)
    os.mkfifo(folder / place)
    if place == "prompts.json":
        assert_refused(lambda: prompt_set_for(folder), "not a regular file")
    assert_refused(lambda: load_model(folder), "model_index.json" if place == "model_index.json" else "not a regular file")


@pytest.mark.parametrize(
    ("file", "key", "value"),
    [
        ("transformer/config.json", "num_layers", 10**9),
        ("transformer/config.json", "num_layers", 10**400),
        ("transformer/config.json", "patch_size", 0),
        ("transformer/config.json", "sample_height", 10**6),
        ("vae/config.json", "layers_per_block", [10**6]),
        ("text_encoder/config.json", "num_layers", 10**9),
        ("scheduler/scheduler_config.json", "num_train_timesteps", 10**9),
    ],
)
def test_a_configuration_that_would_fill_the_memory_is_refused(file: str, key: str, value: object, tmp_path: Path) -> None:
    folder = with_tokenizer(tmp_path / "model")
    config = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**config, key: value}) if value != 10**400 else f'{{"{key}": 1{"0" * 400}}}')
    start = time.monotonic()
    assert_refused(lambda: load_model(folder), f"{file} has ")
    assert time.monotonic() - start < SECONDS / 2


def test_a_normalizer_that_multiplies_a_text_is_refused(tmp_path: Path) -> None:
    doubling = {"type": "Replace", "pattern": {"String": "a"}, "content": "aaaa"}
    folder = with_tokenizer(tmp_path / "model", normalizer={"type": "Sequence", "normalizers": [doubling] * 20})
    assert_refused(lambda: load_model(folder), "characters for one")


def test_the_limits_take_every_supported_architecture(tmp_path: Path) -> None:
    for name in ("cogvideox-2b", "hunyuan-video", "modelscope"):
        assert load_model(TINY_MODELS[name].folder).family.name


def test_a_hundred_thousand_tensors_are_refused_at_once(tmp_path: Path) -> None:
    erasure = TINY.random_erasure("bottleneck")
    path = tmp_path / "many.safetensors"
    tensors = {f"site{number}.down.weight": torch.zeros(1) for number in range(100_000)}
    save_file(tensors, path, {"t2vu": json.dumps(erasure.describe())})
    assert_refused(lambda: Erasure.load(path), f"at most {MOST_TENSORS}")


def test_many_erasers_are_built_in_linear_time() -> None:
    def seconds(sites: int) -> float:
        shapes = {"down.weight": (2, 4), "down.bias": (2,), "up.weight": (4, 2), "up.bias": (4,)}
        tensors = {f"s{site}.{name}": torch.zeros(shape) for site in range(sites) for name, shape in shapes.items()}
        start = time.process_time()
        EraserSet.from_tensors(tensors)
        return time.process_time() - start

    seconds(100)
    assert seconds(8000) < 30 * seconds(1000), "eight times as many, and it takes much longer than that"


def test_one_huge_image_does_not_set_a_size_that_fills_the_memory(tmp_path: Path) -> None:
    Image.new("RGB", (9000, 9000), "red").save(tmp_path / "0.png", compress_level=1)
    for number in range(1, 20):
        Image.new("RGB", (64, 64), "blue").save(tmp_path / f"{number}.png")
    images = read_images(tmp_path)
    assert images.shape[0] == 20
    assert images.shape[2] == images.shape[3]
    assert images.shape[0] * images.shape[2] * images.shape[3] <= MOST_TOGETHER
    assert images[0].mean(dim=(1, 2)).tolist() == [1.0, 0.0, 0.0]


def test_three_thousand_images_are_refused(t2vu: Callable, tmp_path: Path) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "0.png")
    for number in range(1, 3000):
        (tmp_path / f"{number}.png").hardlink_to(tmp_path / "0.png")
    code, _, error = t2vu(
        "unlearn-encoder", "--model", TINY.folder, "--concept", "x", "--images", tmp_path, "--out", tmp_path / "o"
    )
    assert (code, f"at most {MOST_IMAGES}" in error) == (2, True), error


@pytest.mark.parametrize("kind", ["text bomb", "too many pixels", "fifo", "cut"])
def test_an_image_that_is_a_trap_is_named(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "0.png"
    if kind == "text bomb":
        chunk = PngImagePlugin.PngInfo()
        chunk.add_text("comment", "a" * 50_000_000, zip=True)
        Image.new("RGB", (8, 8)).save(path, pnginfo=chunk)
    elif kind == "too many pixels":
        Image.new("1", (30_000, 30_000)).save(path)
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        Image.new("RGB", (64, 64), "red").save(path)
        path.write_bytes(path.read_bytes()[:80])
    assert_refused(lambda: read_images(tmp_path), f"The image {path} cannot be read")
