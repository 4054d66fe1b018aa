"""Training computes in bf16 only where that is not slower than float32."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from t2vu_core.mixed_precision import fast_bf16
from t2vu_core.model import load_model
from t2vu_core.training.velocity.train import erase_velocity
from tests.core.tiny_models import TINY_MODELS
from tests.core.tiny_training import recipe

TINY = TINY_MODELS["cogvideox-2b"]


def processor(monkeypatch: pytest.MonkeyPatch, instructions: str) -> None:
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: instructions)


def predicted_in_training() -> Tensor:
    family = TINY.model.family
    latents = torch.randn(1, *family.latent_shape(TINY.size), generator=torch.Generator().manual_seed(0))
    timesteps = family.make_scheduler(TINY.steps, TINY.size).timesteps[:1]
    with torch.no_grad(), family.mixed_precision():
        return family.predict(latents, timesteps, family.encode(["a ghost"]), TINY.size)


def test_a_processor_that_is_slow_in_bf16_trains_float32_weights_in_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    found = {}
    for instructions in ("AVX2", "AVX512"):
        processor(monkeypatch, instructions)
        assert fast_bf16(torch.device("cpu")) == (instructions == "AVX512")
        with TINY.model.family.mixed_precision():
            assert torch.is_autocast_enabled("cpu") == (instructions == "AVX512")
        found[instructions] = predicted_in_training()
    assert not torch.equal(found["AVX2"], found["AVX512"])
    torch.testing.assert_close(found["AVX2"], found["AVX512"].float(), atol=0.05, rtol=0.05)


@pytest.mark.parametrize("instructions", ["AVX2", "AVX512"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_every_processor_trains_models_in_both_precisions(
    instructions: str, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch
) -> None:
    processor(monkeypatch, instructions)
    model = load_model(TINY.folder, dtype=dtype, device="cpu")
    with model.family.mixed_precision():
        assert torch.is_autocast_enabled("cpu") == (instructions == "AVX512" or dtype != torch.float32)
    erasure = erase_velocity(model, "ghost", recipe(learning_rate=1e-3))
    assert all(tensor.isfinite().all() for tensor in erasure.tensors.values())


def test_a_gpu_always_computes_in_bf16() -> None:
    assert fast_bf16(torch.device("cuda"))
