"""One measurement of a training step: seconds, peak memory, and the arithmetic in it."""

from __future__ import annotations

import argparse
import copy
import json
import statistics
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.step_shapes import shaped_model, store_in_fp8
from t2vu_core.erasers import EraserSet
from t2vu_core.erasure import atomic_path
from t2vu_core.families import Family
from t2vu_core.model import T2VModel, load_model
from t2vu_core.objectives.velocity import negative_guidance_target
from t2vu_core.recipes import EraserType, VelocityRecipe
from t2vu_core.sampling import noise
from t2vu_core.training.progress import TrainProgress
from t2vu_core.training.velocity.train import erase_velocity

PORT = "port"
RESULTS = Path(__file__).parent / "results"
RECIPES = {"ours": "ours", "ours_with_preservation": "ours with preservation", PORT: "public port"}
CONCEPT, KEPT = "ghost", "a dog running on a beach"
WARM_UP, MEASURED = 2, 1
"""Steps at the start that are not timed, and steps at the end whose memory is measured instead."""
COUNTED = 2
"""The step, one of the first, in which the arithmetic is counted. Its memory tells nothing: the counter's hooks keep what
gradient checkpointing computes again, almost as much as without checkpointing."""
BEFORE_KINDS = "bottleneck"
"""What was measured where the results do not say the kind."""
COPIES = 4
"""Of the erasers' size: weights, gradients, and Adam's two moments."""
PEAK_FLOPS = {"H100": 989e12, "H200": 989e12, "A100": 312e12, "L40S": 362e12, "RTX 4090": 165e12}
"""Dense bf16 FLOPs a second of the cards' data sheets (SXM forms)."""


@dataclass(frozen=True)
class Job:
    """What is measured."""

    recipe: str
    model: str
    """As `load_model` takes it, or `shape:NAME` of step_shapes."""
    device: str
    batch: int
    rank: int
    steps: int
    dtype: str | None = None
    checkpointing: bool = False
    fp8: bool = False
    """Whether the frozen denoiser is stored in 8 bits."""
    tiny: bool = False
    """Whether a shape is made tiny, to try things out."""
    kind: EraserType = VelocityRecipe.kind
    """Of our erasers; the port's are bottlenecks."""

    @property
    def rows(self) -> int:
        """Points in a step of ours."""
        return 2 * self.batch if self.recipe == "ours_with_preservation" else self.batch


class Meter:
    """Called after every step; counts the arithmetic in one, times most, and looks at the memory of the last."""

    def __init__(self, steps: int, device: torch.device) -> None:
        self.seconds: list[float] = []
        self.peak = 0
        self.flops: int | None = None
        self._steps, self._device = steps, device
        self._profile: profile | None = None
        self._counter: FlopCounterMode | None = None
        self._then: float | None = None

    def after(self, step: int) -> None:
        """`step` steps are done."""
        if self._device.type == "cuda":
            torch.cuda.synchronize()
        if self._then is not None and WARM_UP < step <= self._steps - MEASURED:
            self.seconds.append(time.perf_counter() - self._then)
        if self._counter is not None and step == COUNTED:
            self._counter.__exit__(None, None, None)
            self.flops = self._counter.get_total_flops()
            self._counter = None
        if self._device.type == "cuda" and step == COUNTED - 1:
            self._counter = FlopCounterMode(display=False)
            self._counter.__enter__()
        if step == self._steps - MEASURED:
            self._begin()
        if step == self._steps:
            self._end()
        self._then = time.perf_counter()

    def _begin(self) -> None:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()
        else:
            self._profile = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
            self._profile.start()

    def _end(self) -> None:
        if self._device.type == "cuda":
            self.peak = torch.cuda.max_memory_allocated()
        if self._profile is not None:
            self._profile.stop()
            self.peak = _highest(self._profile)


def keep(options: argparse.Namespace, result: Mapping[str, Any], benchmark: str) -> None:
    """Write what there is so far to `--out`, and with `--save` into benchmarks/results."""
    paths = [options.out] if options.out else []
    if options.save and result["device"]:
        name = "".join(letter if letter.isalnum() else "_" for letter in result["device"]).strip("_").lower()
        paths.append(RESULTS / f"{benchmark}-{name}.json")
    for path in paths:
        with atomic_path(path) as temporary:
            temporary.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


class Profiled:
    """What torch's profiler sees of the CPU's allocator; `peak` is as in `t2vu_core.memory.allocations.Allocations`."""

    peak = 0

    def __enter__(self) -> Profiled:
        self._profile = profile(activities=[ProfilerActivity.CPU], profile_memory=True)
        self._profile.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._profile.stop()
        self.peak = _highest(self._profile)


def _highest(profiled: profile) -> int:
    """The most bytes that were allocated at once, above what was there at the start."""
    assert profiled.profiler is not None
    assert profiled.profiler.kineto_results is not None
    events: list[Any] = [event for event in profiled.profiler.kineto_results.events() if event.name() == "[memory]"]
    running = highest = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        running += event.nbytes()
        highest = max(highest, running)
    return highest


def measure(job: Job, model: T2VModel | None = None) -> dict[str, Any]:
    """Run the job in this process; on a `model` that is there already, `job.model` is only its name."""
    device = torch.device(job.device)
    model = model or _model(job, device)
    meter = Meter(job.steps, device)
    weights = weight_bytes(model.family.components().values())
    kept = (_port if job.recipe == PORT else _ours)(job, model, meter)
    if not meter.peak:
        raise RuntimeError("The training ended before its last step: the loss was no number.")
    on_cpu = device.type == "cpu"
    seconds = statistics.median(meter.seconds)
    return {
        "seconds_per_step": seconds,
        "steps_timed": len(meter.seconds),
        "peak_bytes": meter.peak + ((weights + kept["bytes"]) if on_cpu else 0),
        "weight_bytes": weights + kept.get("copy_bytes", 0),
        "trajectory_bytes": kept.get("trajectory_bytes", 0),
        "memory_measure": "tensors that stay, and allocations in a step by torch's profiler"
        if on_cpu
        else "torch.cuda.max_memory_allocated of a step",
        "clip": list(vars(model.family.defaults.size).values()),
        "batch": job.batch,
        "device": "CPU" if on_cpu else torch.cuda.get_device_name(device),
        "threads": torch.get_num_threads(),
        "dtype": str(model.family.dtype).removeprefix("torch."),
        "fp8": job.fp8,
        "step_flops": meter.flops,
        "mfu": _utilisation(job, model.family, meter.flops, seconds, device),
    }


def _model(job: Job, device: torch.device) -> T2VModel:
    dtype = torch.float32 if (job.dtype or ("fp32" if device.type == "cpu" else "bf16")) == "fp32" else torch.bfloat16
    if job.model.startswith("shape:"):
        model = shaped_model(job.model.removeprefix("shape:"), dtype=dtype, device=device, tiny=job.tiny)
    else:
        model = load_model(job.model, dtype=dtype, device=device)
    if job.fp8:
        store_in_fp8(model.family)
    return model


def _ours(job: Job, model: T2VModel, meter: Meter) -> dict[str, int]:
    """The training that users run, as short as it can be."""
    keeps = job.recipe == "ours_with_preservation"
    recipe = VelocityRecipe(
        kind=job.kind, rank=job.rank, steps=job.steps, concept_batch=job.batch, preserve_batch=job.batch if keeps else 0,
        concept_trajectories=1, preserve_trajectories=1 if keeps else 0, trajectory_steps=2, localization_weight=0.0,
        gradient_checkpointing=job.checkpointing,
    )  # fmt: skip

    def on_progress(done: TrainProgress) -> None:
        if done.stage == "training":
            meter.after(done.step)

    erasure = erase_velocity(model, CONCEPT, recipe, on_progress=on_progress)
    erasers = sum(tensor.nbytes for tensor in erasure.tensors.values())
    trajectories = int(erasure.training["trajectory_bytes"])
    return {"bytes": COPIES * erasers + trajectories, "trajectory_bytes": trajectories}


def _port(job: Job, model: T2VModel, meter: Meter) -> dict[str, int]:
    """The port's step: five passes, two copies, a backward pass through both of those with gradients."""
    teacher = model.family
    student = with_own_denoisers(teacher)
    sites, size = student.eraser_sites(), teacher.defaults.size
    erasers = EraserSet.create(sites, rank=job.rank, seed=0).to(teacher.device)
    optimizer = torch.optim.Adam(erasers.parameters(), 1e-4)
    texts = {name: teacher.encode([text] * job.batch) for name, text in (("c", CONCEPT), ("0", ""), ("pre", KEPT))}
    latents = noise(teacher, size, range(job.batch))
    timesteps = teacher.make_scheduler(50, size).timesteps

    def predict(family: Family, text: str, step: int) -> Tensor:
        with family.mixed_precision():
            return family.predict(latents, timesteps[step % 50].expand(job.batch), texts[text], size)

    with torch.enable_grad(), erasers.attached(sites):
        for step in range(job.steps):
            with torch.no_grad():
                v_c, v_pre, v_0 = (predict(teacher, text, step) for text in ("c", "pre", "0"))
            student_c, student_pre = predict(student, "c", step), predict(student, "pre", step)
            loss = F.mse_loss(student_c, negative_guidance_target(v_c, v_0, 7.0)) + 0.0 * F.mse_loss(student_pre, v_pre)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            meter.after(step + 1)
    second = weight_bytes(student.denoisers.values())
    return {"bytes": COPIES * weight_bytes([erasers]) + second, "copy_bytes": second}


def with_own_denoisers(family: Family) -> Family:
    """The family on a second copy of its denoisers, and on the same other parts."""
    pipeline = copy.copy(family.pipeline)
    for name, denoiser in family.denoisers.items():
        object.__setattr__(pipeline, name, copy.deepcopy(denoiser))
    return type(family)(pipeline, family.folder)


def weight_bytes(modules: Iterable[nn.Module]) -> int:
    """Bytes of the weights, shared ones once."""
    storages = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for module in modules
        for tensor in (*module.parameters(), *module.buffers())
    }
    return sum(storages.values())


def _utilisation(job: Job, family: Family, flops: int | None, seconds: float, device: torch.device) -> float | None:
    """Model FLOPs utilisation: what checkpointing computes again does not count as work."""
    peak = None if flops is None else _peak_flops(torch.cuda.get_device_name(device))
    if flops is None or peak is None:
        return None
    again = _forward_flops(family, job.rows) if job.checkpointing else 0
    return (flops - again) / seconds / peak


def _peak_flops(name: str) -> float | None:
    return next((flops for card, flops in PEAK_FLOPS.items() if card in name), None)


@torch.no_grad()
def _forward_flops(family: Family, batch: int) -> int:
    size = family.defaults.size
    timestep = family.make_scheduler(2, size).timesteps[0]
    with FlopCounterMode(display=False) as counter, family.mixed_precision():
        family.predict(noise(family, size, range(batch)), timestep.expand(batch), family.encode([CONCEPT] * batch), size)
    return counter.get_total_flops()
