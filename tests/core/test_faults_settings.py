"""Settings that cannot work, in folders and in checkpoints: one sentence, before anything long starts."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from t2vu_core.errors import UserError
from t2vu_core.evaluation import evaluate
from t2vu_core.model import load_model
from t2vu_core.training.checkpoint import Checkpoint, TrainingState
from t2vu_core.training.few_shot.train import unlearn_encoder
from t2vu_core.training.loop import train
from t2vu_core.training.schedule import Schedule
from t2vu_core.training.velocity.train import erase_velocity
from tests.core.tiny_models import TINY_MODELS

TINY = TINY_MODELS["cogvideox-2b"]


def with_settings(source: Path, folder: Path, component: str, **values: object) -> Path:
    """A copy of a model's folder with other settings of a component."""
    shutil.copytree(source, folder)
    (file,) = (folder / component).glob("*config.json")
    file.write_text(json.dumps({**json.loads(file.read_text(encoding="utf-8")), **values}), encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    ("model", "component", "values"),
    [
        ("cogvideox-2b", "scheduler", {"prediction_type": "noise"}),
        ("cogvideox-2b", "scheduler", {"prediction_type": None}),
        ("cogvideox-2b", "scheduler", {"beta_schedule": "unknown"}),
        ("cogvideox-2b", "scheduler", {"timestep_spacing": "unknown"}),
        ("cogvideox-2b", "transformer", {"patch_size": 0}),
        ("cogvideox-2b", "transformer", {"patch_size": "2"}),
        ("cogvideox-2b", "vae", {"temporal_compression_ratio": 0}),
        ("cogvideox-2b", "vae", {"block_out_channels": []}),
        ("wan-2.1", "scheduler", {"prediction_type": "noise"}),
        ("wan-2.1", "transformer", {"patch_size": [1, 0, 2]}),
        ("wan-2.1", "transformer", {"patch_size": [2]}),
        ("ltx-video", "scheduler", {"base_image_seq_len": 4096, "max_image_seq_len": 4096}),
        ("modelscope", "scheduler", {"prediction_type": "noise"}),
        ("cogvideox-2b", "vae", {"scaling_factor": 0}),
        ("cogvideox-2b", "vae", {"scaling_factor": "x"}),
        ("cogvideox-2b", "vae", {"scaling_factor": 10**20}),
        ("ltx-video", "vae", {"spatial_compression_ratio": 10**20}),
        ("wan-2.1", "vae", {"latents_std": [0.0] * 16}),
    ],
)
def test_settings_that_make_no_clip_are_refused_when_the_folder_is_loaded(
    tmp_path: Path, model: str, component: str, values: dict[str, object]
) -> None:
    folder = with_settings(TINY_MODELS[model].folder, tmp_path / "model", component, **values)
    with pytest.raises(UserError) as refused:
        load_model(folder)
    assert str(folder) in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("component", "values"),
    [
        ("transformer", {"freq_shift": "x"}),
        ("transformer", {"max_text_seq_length": 0}),
        ("text_encoder", {"relative_attention_max_distance": 0}),
        ("vae", {"scaling_factor": None}),
    ],
)
def test_settings_that_fail_inside_a_pass_are_answered_by_every_command(
    t2vu: Callable, tmp_path: Path, component: str, values: dict[str, object]
) -> None:
    """`plan` never decodes a clip, so it may not meet what the VAE fails with."""
    folder = with_settings(TINY.folder, tmp_path / "model", component, **values)
    (tmp_path / "prompts.txt").write_text("a ghost floats\n", encoding="utf-8")
    own = ("--model", folder, "--concept", "ghost", "--preset", "quick")
    few = ("steps", "concept_trajectories", "preserve_trajectories", "num_frames")
    commands = {
        "sample": ("--model", folder, "--steps", 2, "--prompt", "x", "--out", tmp_path / "a.mp4"),
        "erase": (*own, *(part for name in few for part in ("--method-option", f"{name}=1")), "--out", tmp_path / "a"),
        "evaluate": (*own, "--prompts", tmp_path / "prompts.txt", "--steps", 2, "--out", tmp_path / "report"),
        "plan": (*own[:2], *own[4:], "--memory"),
    }
    ended = {name: t2vu(name, *arguments) for name, arguments in commands.items()}
    codes = {name: code for name, (code, _, _) in ended.items()}
    assert set(codes.values()) <= {0, 2}, ended
    assert codes["sample"] == 2, codes
    assert all(error.count("t2vu: ") == 1 for code, _, error in ended.values() if code == 2), ended


def test_a_model_in_fp16_is_not_trained_on_a_cpu(t2vu: Callable, tmp_path: Path) -> None:
    model = load_model(TINY.folder, dtype=torch.float16)
    for train_it in (erase_velocity, unlearn_encoder):
        with pytest.raises(UserError, match="cannot be trained on a CPU: load it in fp32 or bf16"):
            train_it(model, "ghost")
    with pytest.raises(UserError, match="cannot be trained on a CPU"):
        evaluate(model, "ghost", attacks=("probe",))
    code, _, error = t2vu(
        "erase", "--model", TINY.folder, "--concept", "ghost", "--preset", "quick", "--dtype", "fp16", "--out", tmp_path / "a"
    )
    assert code == 2
    assert "cannot be trained on a CPU" in error
    assert not list(tmp_path.iterdir())


Change = Callable[[dict[str, Tensor], dict[str, str]], object]
NAN = float("nan")
DAMAGES: dict[str, Change] = {
    "no losses": lambda tensors, said: said.pop("losses"),
    "losses in no JSON": lambda tensors, said: said.update(losses="[1"),
    "deep losses": lambda tensors, said: said.update(losses="[" * 100_000),
    "losses in an object": lambda tensors, said: said.update(losses="{}"),
    "a text among the losses": lambda tensors, said: said.update(losses='["x"]'),
    "a loss that is not a number": lambda tensors, said: said.update(losses="[NaN]"),
    "a loss of thousands of digits": lambda tensors, said: said.update(losses="[" + "9" * 6000 + "]"),
    "more losses than steps": lambda tensors, said: said.update(losses=json.dumps([1.0] * 1000)),
    "seconds in words": lambda tensors, said: said.update(seconds="two"),
    "seconds that are no number": lambda tensors, said: said.update(seconds="nan"),
    "no parameter": lambda tensors, said: tensors.pop("parameter.weight"),
    "another size": lambda tensors, said: tensors.update({"parameter.weight": torch.ones(3)}),
    "a parameter that is not a number": lambda tensors, said: tensors.update({"parameter.weight": torch.full((2,), NAN)}),
    "no moments": lambda tensors, said: tensors.pop("optimizer.exp_avg.weight"),
    "moments of another size": lambda tensors, said: tensors.update({"optimizer.exp_avg.weight": torch.ones(1)}),
    "float8": lambda tensors, said: tensors.update({"parameter.weight": torch.ones(2).to(torch.float8_e4m3fn)}),
}


def resume(file: Path) -> tuple[list[float], Tensor]:
    weight = nn.Parameter(torch.ones(2))
    state = TrainingState(Checkpoint(file, "x"))
    return train({"weight": weight}, lambda step: weight.square().sum(), Schedule(5, 0.1), state=state), weight.detach()


def damage(file: Path, change: Change) -> None:
    with safe_open(str(file), framework="pt") as opened:
        said: Mapping[str, Any] = opened.metadata()
    tensors, said = load_file(file), dict(said)
    change(tensors, said)
    save_file(tensors, file, said)


@pytest.mark.parametrize("change", DAMAGES.values(), ids=DAMAGES.keys())
def test_a_damaged_checkpoint_is_named_and_left_as_it_is(tmp_path: Path, change: Change) -> None:
    file = tmp_path / "state.safetensors"
    resume(file)
    damage(file, change)
    before = file.read_bytes()
    with pytest.raises(UserError, match="is damaged: .*Remove it to start over") as refused:
        resume(file)
    assert str(file) in str(refused.value)
    assert "\n" not in str(refused.value)
    assert file.read_bytes() == before


def test_a_whole_checkpoint_resumes_as_before(tmp_path: Path) -> None:
    losses, weight = resume(tmp_path / "state.safetensors")
    damage(tmp_path / "state.safetensors", lambda tensors, said: None)
    again, same = resume(tmp_path / "state.safetensors")
    assert again == losses
    assert torch.equal(same, weight)
