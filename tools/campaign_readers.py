"""The readers of files that users give, with a valid input of each and the command that reads it.

A damaged input is a small change of the valid one. Commands that read before they compute end on purpose at a model that
does not exist, so that an input takes milliseconds.
"""

from __future__ import annotations

import io
import os
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image

from t2vu_core.erasers import EraserSet
from t2vu_core.erasure import Erasure
from t2vu_core.miniature.bundled import bundled_folder
from t2vu_core.model import load_model
from tools.campaign_damage import TEXTS, Damage, damaged_bytes, damaged_json, damaged_lines, damaged_safetensors
from tools.campaign_worker import Job, run_jobs

NOWHERE = "no-such-model"
AFTER_READING = f"There is no model '{NOWHERE}'"
SHORT = ("--device", "cpu", "--steps", "1", "--num-frames", "1", "--prompt", "a ghost walks")
STEPS = ("--method-option", "steps=1", "--method-option", "concept_trajectories=1", "--method-option",
         "preserve_trajectories=1", "--method-option", "trajectory_steps=1", "--method-option", "num_frames=1")  # fmt: skip
PROMPTS = "\n".join(f"a ghost number {number} walks in the rain" for number in range(20)).encode()
OPTIONS = ("steps", "rank", "eta", "seed", "kind", "concept_trajectories", "num_frames", "trajectory_cache", "")


@dataclass(frozen=True)
class Reader:
    """One kind of input."""

    name: str
    content: Callable[[], bytes]
    """A valid file."""
    damage: Damage
    arguments: Callable[[Path], Sequence[str]]
    """The command that reads the file at a path."""
    suffix: str = ""
    accepted: str = ""
    place: str = ""
    """The file's place in a copy of the bundled miniature, for a file of a model folder."""


def damaged_jobs(work: Path, count: int, seed: int) -> Iterator[Job]:
    """`count` damaged inputs, evenly over the readers, written below `work`."""
    bases = Bases(work)
    readers = [*_readers(bases), *_model_readers(bases)]
    contents = {reader.name: reader.content() for reader in readers}
    for number in range(count):
        reader = readers[number % len(readers)]
        rng = random.Random(f"{seed} {number}")
        folder = work / "inputs" / f"{number:05d}"
        folder.mkdir(parents=True)
        path = _placed(reader, folder, bases)
        _write(path, reader.damage(contents[reader.name], rng), rng)
        given = folder if reader.place else path
        yield Job(reader.name, str(path), tuple(reader.arguments(given)), reader.accepted)
    yield from _words(count, seed, work)


class Bases:
    """Valid inputs, made once."""

    def __init__(self, work: Path) -> None:
        folder = bundled_folder("miniature")
        assert folder is not None
        self.work, self.miniature = work, folder
        work.mkdir(parents=True, exist_ok=True)
        torch.set_num_threads(1)
        model = load_model(folder, device="cpu")
        erasers = EraserSet.create(model.family.eraser_sites(), rank=2, seed=0)
        tensors = {name: tensor + 0.01 for name, tensor in erasers.named_tensors().items()}
        erasure = Erasure("eraser", ("ghost",), model.base, tensors, "a method", {"rank": 2}, training={"seconds": 1.0})
        self.erasure = erasure.save(work / "ghost")

    def release(self, legacy: bool) -> bytes:
        """A file as the paper's code saves it."""
        parts = {"down.weight": torch.ones(4, 8), "down.bias": torch.zeros(4), "up.weight": torch.ones(8, 4)}
        content = {f"transformer_blocks.{block}.attn1.adapter": {**parts, "up.bias": torch.zeros(8)} for block in range(3)}
        buffer = io.BytesIO()
        torch.save(content, buffer, _use_new_zipfile_serialization=not legacy)
        return buffer.getvalue()

    def state(self) -> bytes:
        """The state of a training run of one step."""
        log = self.work / "log"
        order = ("erase", "--model", "miniature", "--device", "cpu", "--preset", "quick", "--concept", "ghost", *STEPS)
        job = Job("", "", (*order, "--out", str(self.work / "made"), "--log", str(log)))
        for ended in run_jobs([job], processes=1, limit=600):
            assert ended.ending == "accepted", ended.said
        return (log / "state.safetensors").read_bytes()


def _readers(bases: Bases) -> list[Reader]:
    erasure = bases.erasure.read_bytes
    sample = ("sample", "--model", "miniature", *SHORT)
    out = str(bases.work / "out")
    own = ("--concept", "ghost", "--model", NOWHERE, "--out", out)
    return [
        Reader("erasure, inspect", erasure, damaged_safetensors, lambda path: ("inspect", str(path)), ".safetensors"),
        Reader("erasure, sample", erasure, damaged_safetensors,
               lambda path: (*sample, "--erasure", str(path), "--out", f"{out}.webp"), ".safetensors"),
        Reader("erasure, export", erasure, damaged_safetensors,
               lambda path: ("export", str(path), "--format", "diffusers", "--out", out), ".safetensors"),
        Reader("erasure, verify", erasure, damaged_safetensors,
               lambda path: ("verify", str(path), "--model", NOWHERE), ".safetensors", AFTER_READING),
        Reader("released .pt", lambda: bases.release(False), damaged_bytes,
               lambda path: ("import", str(path), "--out", out), ".pt"),
        Reader("released .pt, legacy", lambda: bases.release(True), damaged_bytes,
               lambda path: ("import", str(path), "--out", out), ".pt"),
        Reader("--prompts", lambda: PROMPTS, damaged_lines,
               lambda path: ("evaluate", *own, "--prompts", str(path)), ".txt", AFTER_READING),
        Reader("--concept-prompts", lambda: PROMPTS, damaged_lines,
               lambda path: ("erase", *own, "--concept-prompts", str(path)), ".txt", AFTER_READING),
        Reader("--preserve-prompts", lambda: PROMPTS, damaged_lines,
               lambda path: ("unlearn-encoder", *own, "--preserve-prompts", str(path)), ".txt", AFTER_READING),
        *(
            Reader(f"--images, {kind}", lambda kind=kind: _image(kind), damaged_bytes,  # type: ignore[misc]
                   lambda path: ("unlearn-encoder", *own, "--images", str(path.parent)), f".{kind}", AFTER_READING)
            for kind in ("png", "jpg", "webp", "bmp")
        ),
        Reader("state of --log", bases.state, damaged_safetensors,
               lambda path: ("erase", "--model", "miniature", "--device", "cpu", "--preset", "quick", "--concept", "ghost",
                             *STEPS, "--out", out, "--log", str(path.parent), "--resume"), ".safetensors"),
    ]  # fmt: skip


def _model_readers(bases: Bases) -> list[Reader]:
    out = str(bases.work / "model.webp")

    def reader(place: str, damage: Damage) -> Reader:
        return Reader(
            f"model, {place}", (bases.miniature / place).read_bytes, damage,
            lambda folder: ("sample", "--model", str(folder), *SHORT, "--out", out), place=place,
        )  # fmt: skip

    configs = ("model_index.json", "transformer/config.json", "vae/config.json", "text_encoder/config.json",
               "scheduler/scheduler_config.json", "tokenizer/tokenizer.json", "tokenizer/tokenizer_config.json")  # fmt: skip
    weights = ("transformer/diffusion_pytorch_model.safetensors", "text_encoder/model.safetensors")
    prompts = Reader(
        "model, prompts.json", (bases.miniature / "prompts.json").read_bytes, damaged_json,
        lambda folder: ("erase", "--model", str(folder), "--device", "cpu", "--preset", "quick", "--concept", "ghost", *STEPS,
                        "--out", str(bases.work / "out")), place="prompts.json",
    )  # fmt: skip
    return [
        *(reader(place, damaged_json) for place in configs),
        *(reader(place, damaged_safetensors) for place in weights),
        prompts,
    ]


def _placed(reader: Reader, folder: Path, bases: Bases) -> Path:
    """Where the damaged file goes: alone in the folder, or in a copy of the miniature made of links."""
    if not reader.place:
        return folder / (("state" if reader.name.startswith("state") else "input") + reader.suffix)
    linked_folder(bases.miniature, folder)
    return folder / reader.place


def linked_folder(source: Path, folder: Path) -> None:
    """A copy of a model folder that is made of links."""
    for path in source.rglob("*"):
        if path.is_file() and path.suffix != ".md":
            target = folder / path.relative_to(source)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.symlink_to(path)


def _write(path: Path, content: bytes, rng: random.Random) -> None:
    """The file; in one of thirty cases something that is not a file."""
    path.unlink(missing_ok=True)
    special = rng.randrange(150)
    if special == 0:
        os.mkfifo(path)
    elif special == 1:
        path.symlink_to("/dev/zero")
    elif special == 2:
        path.mkdir()
    elif special == 3:
        path.symlink_to(path.name)
    elif special == 4:
        path.symlink_to("/dev/full")
    else:
        path.write_bytes(content)


def _image(kind: str) -> bytes:
    buffer = io.BytesIO()
    Image.effect_noise((48, 32), 60).convert("RGB").save(buffer, {"jpg": "jpeg"}.get(kind, kind))
    return buffer.getvalue()


def _words(count: int, seed: int, work: Path) -> Iterator[Job]:
    """Hostile words in place of options: a tenth as many as files."""
    values = [*TEXTS, "nan", "inf", "-1", "1e400", "9" * 5000, "../..", "/dev/null", "cuda:99", "meta", "miniature", "\udcff"]
    for number in range(count // 10):
        rng = random.Random(f"{seed} words {number}")
        word = rng.choice([value for value in values if "\0" not in value])
        out = str(work / "out")
        yield Job("options", repr(word)[:60], rng.choice([
            ("sample", "--model", "miniature", *SHORT[:-2], "--prompt", word, "--out", f"{out}.gif"),
            ("sample", "--model", "miniature", *SHORT, "--negative-prompt", word, "--out", f"{out}.gif"),
            ("sample", "--model", "miniature", *SHORT, "--seed", word, "--out", f"{out}.gif"),
            ("sample", "--model", "miniature", *SHORT, "--guidance-scale", word, "--out", f"{out}.gif"),
            ("sample", "--model", word, *SHORT, "--out", f"{out}.gif"),
            ("sample", "--model", "miniature", *SHORT[2:], "--device", word, "--out", f"{out}.gif"),
            ("sample", "--model", "miniature", *SHORT, "--guard", "safree", "--concept", word, "--out", f"{out}.gif"),
            ("erase", "--model", NOWHERE, "--concept", word, "--out", out),
            ("erase", "--model", NOWHERE, "--concept", "ghost", "--synonym", word, "--out", out),
            ("erase", "--model", NOWHERE, "--concept", "x", "--out", out, "--method-option", f"{rng.choice(OPTIONS)}={word}"),
            ("evaluate", "--model", NOWHERE, "--concept", word, "--detector", word, "--out", out),
            ("inspect", word),
        ]), AFTER_READING)  # fmt: skip


def remove(work: Path) -> None:
    """Remove the inputs."""
    shutil.rmtree(work, ignore_errors=True)
