"""The memory plan of ComfyUI's own models against torch's profiler."""

from __future__ import annotations

from typing import Any

from benchmarks.step_measures import Profiled
from t2vu_core import VelocityRecipe
from t2vu_core.memory import activations
from t2vu_core.memory.activations import step_bytes


def planned_and_real(family: Any, **changes: Any) -> dict[str, list[float]]:
    """Bytes that a training step allocates, and bytes of the weights, each by the plan and as they are."""
    recipe, size = VelocityRecipe(rank=4, concept_batch=2, preserve_batch=4, **changes), family.defaults.size
    with (shaped := family.shaped()).computing() as twin:
        planned = step_bytes(twin, recipe, size).activations
    # The prompt is encoded outside what is counted.
    family.text_condition(1)
    own = activations.Allocations
    activations.Allocations = Profiled  # type: ignore[assignment, misc]
    try:
        real = step_bytes(family, recipe, size).activations
    finally:
        activations.Allocations = own  # type: ignore[misc]
    values = {id(value): value for each in family.denoisers.values() for value in (*each.parameters(), *each.buffers())}
    assert not any(type(value).__name__ == "FakeTensor" for value in values.values())
    return {"step": [planned, real], "weights": [shaped.weights(), sum(map(_bytes, values.values()))]}


def _bytes(value: Any) -> int:
    """As it is stored: ComfyUI's quantised tensors hold another one."""
    stored = getattr(value, "_qdata", value)
    return int(stored.numel() * stored.element_size())
