"""Few-shot unlearning loses no work: to a loss that is not a number, to Ctrl-C, to a kill, to a crash while it saves."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from t2vu_core.erasure import Erasure
from t2vu_core.training.few_shot.train import unlearn_encoder
from t2vu_core.training.progress import TrainProgress
from tests.core.ctrl_c import press_ctrl_c_when
from tests.core.killing import assert_kills_change_nothing
from tests.core.tiny_few_shot import FEW, TINY, ghostless, recipe

UNLEARN = """
from t2vu_core.training.few_shot.train import unlearn_encoder
from tests.core.tiny_few_shot import recipe

unlearn_encoder(model, "ghost", recipe(steps=100), log_folder=log, on_progress=on_progress).save(out)
"""


def test_a_loss_that_is_not_a_number_keeps_the_steps_before_it_and_the_run_goes_on(tmp_path: Path) -> None:
    whole = unlearn_encoder(TINY.model, "ghost", recipe(steps=8))
    broken = False

    def watch(progress: TrainProgress) -> None:
        nonlocal broken
        broken = progress.stage == "training" and progress.step == 5

    def infinite(module: Any, args: Any, output: Any) -> Any:
        return tuple(part * float("inf") for part in output) if broken else output

    handle = TINY.model.family.pipeline.transformer.register_forward_hook(infinite)
    try:
        erasure = unlearn_encoder(TINY.model, "ghost", recipe(steps=8), log_folder=tmp_path, on_progress=watch)
    finally:
        handle.remove()
    assert erasure.training["steps"] == 5
    assert "at step 5" in erasure.training["warning"]
    assert all(torch.isfinite(tensor).all() for tensor in erasure.tensors.values())
    assert json.loads(json.dumps(erasure.training, allow_nan=False))["remaining"] is None, "nothing to be measured"
    kept = load_file(tmp_path / "state.safetensors")
    assert all(torch.isfinite(tensor).all() for tensor in kept.values())
    assert not any(module._forward_hooks for module in TINY.model.family.pipeline.text_encoder.modules())
    resumed = unlearn_encoder(TINY.model, "ghost", recipe(steps=8), log_folder=tmp_path)
    assert resumed.training["losses"] == whole.training["losses"]
    assert all(torch.equal(whole.tensors[name], tensor) for name, tensor in resumed.tensors.items())


def test_a_file_that_cannot_be_finished_leaves_the_one_that_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = ghostless().save(tmp_path / "ghost")
    before = file.read_bytes()
    other = unlearn_encoder(TINY.model, "clown", recipe(steps=1, shots=1))

    def out_of_power(self: Path, target: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", out_of_power)
        with pytest.raises(KeyboardInterrupt):
            other.save(file)
    assert file.read_bytes() == before
    assert list(tmp_path.iterdir()) == [file]
    other.save(file)
    assert Erasure.load(file).concepts == ("clown",)


def test_ctrl_c_keeps_what_was_trained_and_resume_could_go_on(t2vu: Callable, tmp_path: Path) -> None:
    press_ctrl_c_when((tmp_path / "log" / "state.safetensors").is_file)
    settings = {**FEW, "steps": 100_000}
    options = [part for name, value in settings.items() for part in ("--method-option", f"{name}={value}")]
    files = ["--out", tmp_path / "ghost", "--log", tmp_path / "log"]
    model = ["--model", TINY.folder, "--device", "cpu", "--concept", "ghost"]
    code, out, error = t2vu("unlearn-encoder", *model, *files, *options, "--json")
    assert code == 0, error
    told = json.loads(out)
    assert told["ended"] == "stopped"
    assert 25 <= told["steps"] < 100_000
    assert len(Erasure.load(tmp_path / "ghost.safetensors").training["losses"]) == told["steps"]
    _, shown, _ = t2vu("inspect", tmp_path / "ghost.safetensors")
    assert f"partial result: {told['steps']} of 100000 steps" in shown


@pytest.mark.slow
def test_a_training_run_killed_at_random_points_ends_bit_for_bit_as_one_that_was_not(tmp_path: Path) -> None:
    """Slow because every life of the training is a process of its own that imports torch."""
    assert_kills_change_nothing(UNLEARN, TINY.folder, tmp_path)
