"""A set of erasers, one for each site of a model, and its attachment by forward hooks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor, nn

from t2vu_core.erasers.bottleneck import BottleneckEraser
from t2vu_core.errors import UserError
from t2vu_core.families.base import EraserSite


class EraserSet(nn.Module):
    """Erasers by site name. Attached, the model computes with them; detached, it is bit for bit what it was."""

    def __init__(self, erasers: Mapping[str, BottleneckEraser]) -> None:
        super().__init__()
        # ModuleDict keys cannot hold dots, site names do.
        self.erasers = nn.ModuleDict({name.replace(".", "/"): eraser for name, eraser in erasers.items()})

    @classmethod
    def create(cls, sites: Sequence[EraserSite], *, rank: int, seed: int) -> EraserSet:
        """New erasers that change nothing yet; the same seed gives the same weights."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return cls({site.name: BottleneckEraser(site.width, rank) for site in sites})

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> EraserSet:
        """Rebuild from `named_tensors()`."""
        names = sorted({key.rsplit(".", 2)[0] for key in tensors})
        try:
            shapes = {name: tensors[f"{name}.down.weight"].shape for name in names}
            erasers = cls({name: BottleneckEraser(width, rank) for name, (rank, width) in shapes.items()})
            state = {f"erasers.{key.rsplit('.', 2)[0].replace('.', '/')}.{'.'.join(key.rsplit('.', 2)[1:])}": value
                     for key, value in tensors.items()}
            erasers.load_state_dict(state)
        except (KeyError, ValueError, RuntimeError) as error:
            raise UserError(f"The erasure's tensors do not form a set of erasers: {str(error).splitlines()[0]}") from error
        return erasers

    def named_tensors(self) -> dict[str, Tensor]:
        """`<site>.down.weight` and so on, as an erasure file holds them."""
        return {
            f"{key.replace('/', '.')}.{name}": tensor.detach()
            for key, eraser in self.erasers.items()
            for name, tensor in eraser.state_dict().items()
        }

    @contextlib.contextmanager
    def attached(
        self,
        sites: Sequence[EraserSite],
        *,
        strength: float = 1.0,
        record: Callable[[str, Tensor], None] | None = None,
    ) -> Iterator[None]:
        """Within, the sites' video tokens are `hidden + strength * eraser(hidden)`.

        `record(site name, eraser output (B, N, width))` sees every output, for the localisation loss.
        """
        handles = []
        try:
            for site in sites:
                eraser = self.erasers[site.name.replace(".", "/")]
                handles.append(site.module.register_forward_hook(_hook(site, eraser, strength, record)))
            yield
        finally:
            for handle in handles:
                handle.remove()


def _hook(
    site: EraserSite,
    eraser: nn.Module,
    strength: float,
    record: Callable[[str, Tensor], None] | None,
) -> Callable[..., object]:
    def change(hidden: Tensor) -> Tensor:
        removed = eraser(hidden)
        if record is not None:
            record(site.name, removed)
        return hidden + strength * removed

    def hook(module: nn.Module, args: object, output: object) -> object:
        return site.edit(output, change)

    return hook
