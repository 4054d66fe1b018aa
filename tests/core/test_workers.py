"""Several processes train one erasure together: the same as one process trains, within rounding."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.optimizer import register_optimizer_step_post_hook

from t2vu_core.erasers import EraserSet
from t2vu_core.erasure import Erasure
from t2vu_core.errors import UserError
from t2vu_core.families import ClipSize, Family
from t2vu_core.model import load_model
from t2vu_core.recipes import VelocityRecipe
from t2vu_core.training.loop import TrainingDiverged, train
from t2vu_core.training.schedule import Schedule
from t2vu_core.training.sharding import check_batches, held, shard_base
from t2vu_core.training.workers import Workers
from tests.core.tiny_models import TINY_MODELS

TINY = TINY_MODELS["cogvideox-2b"]
# Odd numbers of rows: the processes have different shares.
SETTINGS = {
    "concept_trajectories": 10, "preserve_trajectories": 3, "two_subject_trajectories": 2, "trajectory_steps": 2, "steps": 6,
    "rank": 4, "eta": 50, "concept_batch": 3, "preserve_batch": 5, "kind": "bottleneck", "localization_weight": 1,
    "refresh_every": 4, "adversarial_steps": 2, "mixed_share": 0.5, "clip_start_share": 0.5, "guided_objective": "true",
    "gradient_checkpointing": "true", "probe_rounds": 2, "probe_steps": 2,
}  # fmt: skip
IN_FLOAT32 = {"ATEN_CPU_CAPABILITY": "avx2"}
"""Where a processor is fast in bf16, half a batch rounds differently than a whole one, and Adam's first steps amplify it."""
SHARDED = ["--use_fsdp", "--fsdp_version", "2"]
LAUNCH = ["--num_processes", "2", "--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no"]


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def erase(folder: Path, name: str, *how: str, kind: str = "bottleneck") -> subprocess.CompletedProcess[str]:
    launch = ["-m", "accelerate.commands.launch", *how, *LAUNCH, "--main_process_port", str(free_port())] if how else []
    settings = SETTINGS if kind == "bottleneck" else {**SETTINGS, "kind": kind, "localization_weight": 0}
    options = [part for key, value in settings.items() for part in ("--method-option", f"{key}={value}")]
    return subprocess.run(
        [
            sys.executable, *launch, "-m", "t2vu_core.cli", "erase", "--model", TINY.folder, "--device", "cpu",
            "--concept", "ghost", "--preset", "quick", "--out", folder / name, "--log", folder / f"{name}-log", "--json",
            "--verbose", *options,
        ],
        env={**os.environ, **IN_FLOAT32, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True, text=True, timeout=600,
    )  # fmt: skip


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """What one process trains, by kind of eraser."""
    return cache(lambda kind: erase(tmp_path_factory.mktemp("alone"), "one", kind=kind))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "kind"),
    [(["--multi_gpu"], "bottleneck"), (SHARDED, "bottleneck"), (["--multi_gpu"], "lora")],
    ids=["whole", "sharded", "lora"],
)
def test_two_processes_train_the_erasure_of_one(
    alone: Callable[[str], subprocess.CompletedProcess[str]], tmp_path: Path, how: list[str], kind: str
) -> None:
    """Slow because three interpreters import torch: what is tested is the launch itself."""
    done = {"one": alone(kind), "two": erase(tmp_path, "two", *how, kind=kind)}
    assert all(each.returncode == 0 for each in done.values()), done["two"].stderr[-3000:]
    assert ("sharded over 2 processes" in done["two"].stderr) == (how is SHARDED)
    told = {name: json.loads(each.stdout) for name, each in done.items()}
    assert told["one"]["steps"] == told["two"]["steps"] == 6
    one, two = (Erasure.load(told[name]["out"]) for name in ("one", "two"))
    assert two.training["losses"] == pytest.approx(one.training["losses"], rel=1e-3)
    moved = 0.0
    for name, tensor in one.tensors.items():
        torch.testing.assert_close(two.tensors[name], tensor, atol=1e-5, rtol=1e-3)
        moved = max(moved, float(tensor.abs().max()) if ".up." in name or "lora_B" in name else 0.0)
    assert moved > 1e-3, "the comparison would not see a training run"
    assert sorted(path.name for path in (tmp_path / "two-log").iterdir()) == ["mask_overlay.mp4", "state.safetensors"]


def test_shares_of_a_batch_are_all_of_it_and_nothing_twice() -> None:
    for count in (1, 2, 5, 12):
        for workers in (1, 2, 3, 16):
            rows = list(range(count))
            shares = [rows[Workers(rank, workers).rows(count)] for rank in range(workers)]
            assert [row for share in shares for row in share] == rows


def _train_until_one_breaks(rank: int, folder: str, port: int, update: bool) -> None:
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": 2, "RANK": rank, "LOCAL_RANK": rank}
    os.environ.update({name: str(value) for name, value in meeting.items()})
    weight = torch.nn.Parameter(torch.ones(2))
    workers = Workers.join("cpu")
    assert [(each.rank, each.count) for each in (workers, Workers.current())] == [(rank, 2)] * 2

    def loss_at(step: int) -> Any:
        # The second process has nothing to do in step 0, and breaks in step 2.
        if rank == 1 and step == 0:
            return torch.zeros(())
        return weight.square().sum() * (float("nan") if not update and rank == 1 and step == 2 else 1.0)

    def after_update(optimizer: torch.optim.Optimizer, *_: Any) -> None:
        if update and rank == 1 and optimizer.state[weight]["step"] == 3:
            weight.data[0] = float("nan")

    register_optimizer_step_post_hook(after_update)
    stopped = -1
    try:
        train({"weight": weight}, loss_at, Schedule(5, 0.1), workers=workers)
    except TrainingDiverged as error:
        stopped = int(str(error).split("step ")[1].split(".")[0])
    Path(folder, f"{rank}.json").write_text(json.dumps([stopped, weight.tolist()]))
    Workers.leave()
    assert not torch.distributed.is_initialized()


@pytest.mark.slow
@pytest.mark.parametrize("update", [False, True], ids=["loss", "update"])
def test_a_process_that_breaks_stops_all_at_the_same_step_with_the_same_weights(tmp_path: Path, update: bool) -> None:
    """Slow because two more interpreters import torch."""
    torch.multiprocessing.spawn(_train_until_one_breaks, (str(tmp_path), free_port(), update), nprocs=2)
    first, second = (json.loads((tmp_path / f"{rank}.json").read_text()) for rank in range(2))
    assert first == second
    assert first[0] == 2


FAMILIES = [
    "cogvideox-2b", "wan-2.1", "wan-2.2-14b", "hunyuan-video", "hunyuan-video-1.5", "ltx-video", "mochi", "animatediff",
    "modelscope",
]  # fmt: skip


def _compute_sharded(rank: int, folders: list[str], folder: str, port: int) -> None:
    meeting = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port, "WORLD_SIZE": 2, "RANK": rank, "LOCAL_RANK": rank}
    os.environ.update({name: str(value) for name, value in meeting.items()}, ACCELERATE_USE_FSDP="true")
    workers, told = Workers.join("cpu"), []
    for each in folders:
        family = load_model(each, device="cpu").family
        denoisers = family.denoisers.values()
        whole, hashed = sum(map(held, denoisers)), family.base_hash
        before = _prediction_and_gradients(family, rank)
        family = shard_base(family, workers)
        denoisers = family.denoisers.values()
        after = _prediction_and_gradients(family, rank)
        far = max(float((one - other).abs().max()) for one, other in zip(before, after, strict=True))
        moved = max(float(gradient.abs().max()) for gradient in after[1:])
        told.append([sum(map(held, denoisers)) / whole, far, moved, family.base_hash == hashed])
    Path(folder, f"{rank}.json").write_text(json.dumps(told))
    Workers.leave()


def _prediction_and_gradients(family: Family, seed: int) -> list[torch.Tensor]:
    """With erasers that do something, at a point that is another in each process: of two denoisers, each asks another."""
    size = ClipSize(9 if family.name != "mochi" else 7, 64, 96)
    sites = family.eraser_sites()
    erasers = EraserSet.create(sites, rank=4, seed=0)
    generator = torch.Generator().manual_seed(1)
    for parameter in erasers.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, generator=generator)
    latents = torch.randn(1, *family.latent_shape(size), generator=torch.Generator().manual_seed(seed))
    timestep = family.make_scheduler(2, size).timesteps[seed : seed + 1]
    with erasers.attached(sites):
        prediction = family.predict(latents, timestep, family.encode(["a ghost"]), size)
        prediction.square().mean().backward()
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad for p in erasers.parameters()]
    return [prediction.detach(), *gradients]


@pytest.mark.slow
def test_a_sharded_denoiser_computes_the_same_and_each_process_holds_half(tmp_path: Path) -> None:
    """Slow because two more interpreters import torch, and load every architecture."""
    folders = [str(TINY_MODELS[name].folder) for name in FAMILIES]
    torch.multiprocessing.spawn(_compute_sharded, (folders, str(tmp_path), free_port()), nprocs=2)
    for rank in range(2):
        for name, (share, far, moved, same_hash) in zip(
            FAMILIES, json.loads((tmp_path / f"{rank}.json").read_text()), strict=True
        ):
            assert 0.4 < share < 0.6, name
            assert far < 1e-5 < moved, name
            assert same_hash, name


def test_a_batch_that_leaves_a_process_without_points_is_refused_where_all_must_compute() -> None:
    two = Workers(0, 2, sharded=True)
    check_batches(VelocityRecipe(concept_batch=2), two)
    with pytest.raises(UserError, match="concept_batch to 2 or more"):
        check_batches(VelocityRecipe(concept_batch=1), two)
