"""A set of erasers, one per site of a model, attached by forward hooks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from t2vu_core.erasers.bottleneck import BottleneckEraser
from t2vu_core.erasers.delta import DeltaEraser, TableEraser
from t2vu_core.erasers.eager import uncompiled
from t2vu_core.erasers.lora import LoraEraser
from t2vu_core.errors import UserError, first_line
from t2vu_core.families.eraser_site import EraserSite

REFERENCE_WIDTH = 192
"""The width of the model that learning rates were chosen on."""
Eraser = BottleneckEraser | LoraEraser | DeltaEraser | TableEraser


class EraserSet(nn.Module):
    """Erasers of any kind by site name. After `attached`, the model computes bit for bit what it computed before."""

    def __init__(self, erasers: Mapping[str, Eraser]) -> None:
        super().__init__()
        # Keys of a ModuleDict cannot contain dots, but site names do.
        self.erasers = nn.ModuleDict({name.replace(".", "/"): eraser for name, eraser in erasers.items()})
        self._on = True

    @classmethod
    def create(cls, sites: Sequence[EraserSite], *, rank: int, seed: int) -> EraserSet:
        """New erasers for these sites, initialised to no effect; the same seed gives the same weights."""
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(seed)
            return cls({site.name: _new_eraser(site, rank) for site in sites})

    @classmethod
    def from_tensors(cls, tensors: Mapping[str, Tensor]) -> EraserSet:
        """Rebuild from `named_tensors()`."""
        names = sorted({key.rsplit(".", 2)[0] for key in tensors})
        if not names:
            raise UserError("The erasure holds no tensors: it would erase nothing.")
        try:
            # One eraser at a time: `load_state_dict` of the whole set compares every name with every site.
            states = _by_site(tensors)
            erasers = cls({name: _filled_eraser(tensors, name, states[name]) for name in names})
        except LookupError as error:
            raise UserError(f"The erasure's tensors do not form a set of erasers: {error.args[0]} is missing.") from error
        except (TypeError, ValueError, RuntimeError) as error:
            raise UserError(f"The erasure's tensors do not form a set of erasers: {first_line(error)}") from error
        return erasers

    def named_tensors(self) -> dict[str, Tensor]:
        """The weights as an erasure file stores them: `<site>.down.weight` and so on."""
        return {
            f"{site}.{name}": tensor.detach() for site, eraser in self.items() for name, tensor in eraser.state_dict().items()
        }

    def step_factors(self) -> dict[str, float]:
        """By name, the parameters whose learning rate depends on the width, and the factor; see `REFERENCE_WIDTH`.

        Adam moves every weight by the learning rate. In a matrix that reads `width` values these moves add up, as in muP
        (arXiv 2203.03466), so its rate is divided by the width. Narrower sites keep theirs.
        """
        readers = {
            name: weight for name, weight in self.named_parameters() if name.endswith((".down.weight", ".lora_A.weight"))
        }
        return {name: min(1.0, REFERENCE_WIDTH / weight.shape[1]) for name, weight in readers.items()}

    def items(self) -> Iterator[tuple[str, Eraser]]:
        """The erasers with the names of their sites."""
        for key, eraser in self.erasers.items():
            yield key.replace("/", "."), cast(Eraser, eraser)

    def fit(self, sites: Mapping[str, EraserSite]) -> list[EraserSite]:
        """The site of each eraser. Raises UserError if an eraser has no site, or one of another width."""
        own = []
        for name, eraser in self.items():
            site = sites.get(name)
            if site is None or not eraser.fits(site.module, site.width):
                raise UserError(f"The erasure does not fit this model: it has no place {name} of that width.")
            own.append(site)
        return own

    @contextlib.contextmanager
    def attached(
        self,
        sites: Sequence[EraserSite],
        *,
        strength: float = 1.0,
        record: Callable[[str, Tensor], None] | None = None,
    ) -> Iterator[None]:
        """Inside this context, the video tokens at each site become `hidden + strength * eraser(hidden)`.

        A LoRA or a delta reads the layer's input instead and changes the whole output. `record(site name, eraser output
        (B, N, width))` is called with every output of a bottleneck, for the localisation loss. Compiled modules compute
        uncompiled, because compiled code ignores hooks.
        """
        erasers, handles = dict(self.items()), []
        try:
            for site in sites:
                hook = _hook(site, erasers[site.name], strength, record, lambda: self._on)
                handles.append(_register(site, hook))
            with uncompiled():
                yield
        finally:
            for handle in handles:
                handle.remove()

    @contextlib.contextmanager
    def switched_off(self) -> Iterator[None]:
        """Inside this context, the model computes as if these erasers were not attached."""
        self._on = False
        try:
            yield
        finally:
            self._on = True


def _new_eraser(site: EraserSite, rank: int) -> Eraser:
    if site.kind == "lora":
        return LoraEraser(cast(nn.Linear, site.module).in_features, site.width, rank)
    if site.kind == "delta" and isinstance(site.module, nn.Embedding):
        return TableEraser(site.module.num_embeddings, site.width)
    if site.kind == "delta":
        layer = cast(nn.Linear, site.module)
        return DeltaEraser(layer.in_features, site.width, bias=layer.bias is not None)
    return BottleneckEraser(site.width, rank)


def _empty_eraser(tensors: Mapping[str, Tensor], name: str) -> Eraser:
    """An eraser of the kind and shape that a site's tensors have."""
    if f"{name}.lora_A.weight" in tensors:
        rank, in_width = tensors[f"{name}.lora_A.weight"].shape
        return LoraEraser(in_width, tensors[f"{name}.lora_B.weight"].shape[0], rank)
    if f"{name}.delta.weight" in tensors:
        out_width, in_width = tensors[f"{name}.delta.weight"].shape
        return DeltaEraser(in_width, out_width, bias=f"{name}.delta.bias" in tensors)
    if f"{name}.table.weight" in tensors:
        return TableEraser(*tensors[f"{name}.table.weight"].shape)
    rank, width = tensors[f"{name}.down.weight"].shape
    return BottleneckEraser(width, rank)


def _register(site: EraserSite, hook: Callable[..., object]) -> RemovableHandle:
    if site.where == "output":
        return site.module.register_forward_hook(hook)
    return site.module.register_forward_pre_hook(lambda module, args: (hook(module, args, args[0]), *args[1:]))


def _by_site(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    """The tensors of each site by their names in its eraser."""
    states: dict[str, dict[str, Tensor]] = {}
    for key, tensor in tensors.items():
        site, *name = key.rsplit(".", 2)
        states.setdefault(site, {})[".".join(name)] = tensor
    return states


def _filled_eraser(tensors: Mapping[str, Tensor], name: str, state: Mapping[str, Tensor]) -> Eraser:
    """The eraser of a site with its tensors."""
    eraser = _empty_eraser(tensors, name)
    eraser.load_state_dict(state)
    return eraser


def _hook(
    site: EraserSite,
    eraser: Eraser,
    strength: float,
    record: Callable[[str, Tensor], None] | None,
    is_on: Callable[[], bool],
) -> Callable[..., object]:
    def hook(module: nn.Module, args: tuple[Tensor, ...], output: object) -> object:
        if not is_on():
            return output

        def change(hidden: Tensor) -> Tensor:
            removed = eraser(args[0] if eraser.reads_input else hidden)
            if record is not None and not eraser.reads_input:
                record(site.name, removed)
            # Under autocast, a projection's input and output differ in precision; the next layer expects the output's.
            return hidden + (strength * removed).to(hidden.dtype)

        return site.edit(output, change)

    return hook
