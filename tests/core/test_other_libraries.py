"""What the methods need of a model that no diffusers folder holds: its own noising, its description, and sites at inputs."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from t2vu_core.erasers import EraserSet
from t2vu_core.evaluation.clip_store import weights_hash
from t2vu_core.families.eraser_site import EraserSite, edit_whole
from t2vu_core.text_encoders import EncoderFacts
from t2vu_core.training.checkpoint import Checkpoint
from t2vu_core.training.noising import add_noise
from tests.core.tiny_models import TINY_MODELS

TINY = TINY_MODELS["cogvideox-2b"]


def described(**values: Any) -> Any:
    """The tiny model as a family that needs more than its weights to be known."""
    family = copy.copy(TINY.model.family)
    family.describe = lambda: values  # type: ignore[method-assign]
    return dataclasses.replace(TINY.model, family=family)


def test_a_scheduler_may_add_noise_itself() -> None:
    class Scheduler:
        def noised(self, clean: Tensor, eps: Tensor, place: Tensor) -> tuple[Tensor, Tensor]:
            return clean + place.view(-1, 1) * eps, eps

    noisy, target = add_noise(Scheduler(), torch.ones(2, 3), torch.full((2, 3), 2.0), torch.tensor([0, 5]))
    assert noisy[:, 0].tolist() == [1, 11]
    assert target.eq(2).all()


def test_the_same_weights_sampled_in_another_way_are_another_run_and_other_clips(tmp_path: Path) -> None:
    models = [TINY.model, described(shift=3.0), described(shift=8.0)]
    runs = {found.fingerprint for model in models if (found := Checkpoint.in_folder(tmp_path, model, "ghost")) is not None}
    assert len(runs) == 3
    assert len({weights_hash(model.family) for model in models}) == 3


def test_an_eraser_at_an_input_changes_what_the_module_reads() -> None:
    torch.manual_seed(0)
    layer, given = nn.Linear(6, 3), torch.randn(2, 4, 6)
    site = EraserSite("place", layer, 6, edit_whole, where="input")
    erasers = EraserSet.create([site], rank=2, seed=0)
    for parameter in erasers.parameters():
        parameter.data.normal_()
    ((_, eraser),) = erasers.items()
    plain, changed = layer(given), layer(given + eraser(given))
    with erasers.attached([site]):
        assert torch.equal(layer(given), changed)
    assert torch.equal(layer(given), plain)


def test_umt5_is_known_by_its_tables_of_positions() -> None:
    """ComfyUI's class for it is named T5."""

    class T5DenseGatedActDense(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wi = nn.Linear(4, 4)

    class Encoder(nn.Module):
        def __init__(self, tables: int) -> None:
            super().__init__()
            self.shared, self.layers = nn.Embedding(9, 4), nn.ModuleList(T5DenseGatedActDense() for _ in range(3))
            self.positions = nn.ModuleList(
                nn.ModuleDict({"relative_attention_bias": nn.Embedding(2, 1)}) for _ in range(tables)
            )

        def get_input_embeddings(self) -> nn.Module:
            return self.shared

    class Tokenizer:
        def get_vocab(self) -> dict[str, int]:
            return {"a": 0}

    facts = [EncoderFacts.of(Encoder(tables), Tokenizer()) for tables in (1, 3)]
    assert [fact.kind for fact in facts] == ["t5", "umt5"]
    assert facts[0].vocabulary == 9
