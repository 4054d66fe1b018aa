"""Arguments and progress that several commands share."""

from __future__ import annotations

import argparse
import contextlib
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from tqdm import tqdm

from t2vu_core.erasure import Erasure
from t2vu_core.errors import UserError, first_line
from t2vu_core.guards import GUARDS, make_guard
from t2vu_core.model import SampleStep, T2VModel, load_model
from t2vu_core.training.loop import StopEarly
from t2vu_core.training.progress import ProgressCallback, TrainProgress

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


def add_model(parser: argparse.ArgumentParser) -> None:
    """`--model`, `--dtype`, `--device`."""
    parser.add_argument("--model", required=True, metavar="M", help="a bundled name (see `t2vu models`) or a diffusers folder")
    parser.add_argument("--dtype", choices=DTYPES, default="fp32", help="number format of the frozen weights")
    parser.add_argument("--device", help="cpu, cuda, cuda:1, mps; the default is a GPU where there is one")


def add_erasures(parser: argparse.ArgumentParser) -> None:
    """`--erasure` (repeatable), `--strength`, `--allow-other-base`."""
    parser.add_argument("--erasure", action="append", default=[], metavar="F", help="an erasure file; may be given again")
    parser.add_argument("--strength", type=float, default=1.0, help="strength of the erasures; 1 is as trained")
    parser.add_argument("--allow-other-base", action="store_true", help="apply an erasure trained on other weights")


def add_guard(parser: argparse.ArgumentParser) -> None:
    """`--guard`."""
    parser.add_argument("--guard", choices=GUARDS, help="sample under a training-free guard against the concept")


def open_model(options: argparse.Namespace, source: str | None = None) -> T2VModel:
    """The model that `--model` names, or another one on the same device and in the same number format."""
    device = _usable_device(options.device) if options.device else None
    return load_model(source or options.model, dtype=DTYPES[options.dtype], device=device)


def _usable_device(name: str) -> torch.device:
    """The device of that name; UserError where this machine, or this torch, cannot compute on it."""
    try:
        return torch.empty(0, device=name).device
    except (RuntimeError, AssertionError) as error:
        raise UserError(f"The device {name!r} cannot be used: {first_line(error)}") from error


def apply_erasures(model: T2VModel, options: argparse.Namespace) -> T2VModel:
    """The model with the files of `--erasure` on it."""
    for path in options.erasure:
        model = model.with_erasure(Erasure.load(path), options.strength, allow_other_base=options.allow_other_base)
    return model


def apply_guard(model: T2VModel, options: argparse.Namespace, concepts: Sequence[str]) -> T2VModel:
    """The model under the guard of `--guard` against these concepts, or as it is."""
    return model.with_guard(make_guard(options.guard, concepts)) if options.guard else model


def read_prompts(path: str | None) -> list[str]:
    """Prompts of a text file, one a line; empty lines do not count."""
    if path is None:
        return []
    try:
        lines = Path(path).read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"The prompts in {path} cannot be read: {error}.") from error
    prompts = [line.strip() for line in lines if line.strip()]
    if not prompts:
        raise UserError(f"{path} holds no prompts: write one a line.")
    return prompts


@contextlib.contextmanager
def sampling_bar() -> Iterator[Callable[[SampleStep], None]]:
    """A progress bar for `T2VModel.sample`, on stderr."""
    with tqdm(unit="step", desc="sampling") as bar:

        def on_step(step: SampleStep) -> None:
            bar.total = step.total
            bar.update(step.step - bar.n)

        yield on_step


@contextlib.contextmanager
def training_bar() -> Iterator[ProgressCallback]:
    """A progress bar for a training, on stderr; a new one for every stage."""
    bars: dict[str, tqdm] = {}

    def on_progress(progress: TrainProgress) -> None:
        if progress.stage not in bars:
            # What a resumed training has behind it took no time in this one.
            bars[progress.stage] = tqdm(total=progress.total, desc=progress.stage, unit="step", initial=progress.step)
        bar = bars[progress.stage]
        bar.update(progress.step - bar.n)
        if progress.loss is not None:
            bar.set_postfix(loss=f"{progress.loss:.4f}")
        elif progress.note:
            bar.set_postfix_str(progress.note)

    try:
        yield on_progress
    finally:
        for bar in bars.values():
            bar.close()


@contextlib.contextmanager
def kept_on_interrupt(on_progress: ProgressCallback) -> Iterator[ProgressCallback]:
    """Within, Ctrl-C ends the training at the next step and keeps what was trained; a second one ends the command.

    Before the first step there is nothing to keep: then one is enough.
    """
    asked = training = False

    def ask(*_: object) -> None:
        nonlocal asked
        if asked:
            raise KeyboardInterrupt
        asked = True

    def tell(progress: TrainProgress) -> None:
        nonlocal training
        training = training or progress.stage == "training"
        on_progress(progress)
        if asked:
            raise StopEarly if training else KeyboardInterrupt

    if threading.current_thread() is not threading.main_thread():
        yield on_progress
        return
    before = signal.signal(signal.SIGINT, ask)
    try:
        yield tell
    finally:
        signal.signal(signal.SIGINT, before)
