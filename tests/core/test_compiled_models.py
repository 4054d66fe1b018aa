"""A denoiser that was compiled, and has run without an eraser, still erases; torch that cannot do this refuses."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

from t2vu_core.errors import UserError
from t2vu_core.model import load_model
from tests.core.tiny_models import TINY_MODELS

TINY = TINY_MODELS["wan-2.1"]


@pytest.fixture
def predicted() -> Iterator[list[Tensor]]:
    """Predictions of one model: plain and erased, then compiled: plain, erased and plain again."""
    family = load_model(TINY.folder, device="cpu").family
    erasers, sites = TINY.random_erasers("bottleneck", scale=0.3), family.eraser_sites()
    latents = torch.randn(1, *family.latent_shape(TINY.size), generator=torch.Generator().manual_seed(0))
    condition, timestep = family.encode(["a ghost"]), torch.tensor([500.0])

    @torch.no_grad()
    def both() -> Iterator[Tensor]:
        yield family.predict(latents, timestep, condition, TINY.size)
        with erasers.attached(sites):
            yield family.predict(latents, timestep, condition, TINY.size)

    found = list(both())
    family.denoisers["transformer"].compile(backend="eager")
    yield [*found, *both(), next(both())]
    torch._dynamo.reset()


def test_an_eraser_acts_on_a_denoiser_that_was_compiled_and_run_without_it(predicted: list[Tensor]) -> None:
    plain, erased, compiled, erased_late, compiled_again = predicted
    assert not torch.allclose(plain, erased, rtol=1e-2)
    torch.testing.assert_close(compiled, plain)
    torch.testing.assert_close(erased_late, erased)
    torch.testing.assert_close(compiled_again, compiled, atol=0, rtol=0)


def test_torch_that_cannot_switch_compiled_code_off_refuses(predicted: list[Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    assert torch._dynamo.utils.counters["frames"]["ok"] > 0
    monkeypatch.delattr(torch.compiler, "set_stance")
    erasers = TINY.random_erasers("bottleneck")
    with pytest.raises(UserError, match=r"torch 2\.6"), erasers.attached(TINY.model.family.eraser_sites()):
        pass
