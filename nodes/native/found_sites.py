"""Places for LoRA erasers in a denoiser that has no row in the table: its cross- or joint attentions, found by name."""

import contextlib
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from t2vu_core import UserError
from t2vu_core.families.eraser_site import EraserSite, edit_whole
from t2vu_core.interchange.comfyui_names import OWN_NAMES

from .architectures import Architecture, architecture_of, spoken

_CROSS = re.compile(r"^(attn2|(.*_)?cross_?att(n|ention).*|encoder_attn|attn_cross)$")
_JOINT = re.compile(r"^((.*_)?att(n|ention)\d?|.*_attn)$")
_OTHER_STREAMS = re.compile(r"audio|txt|text|context|cap_|refiner|byt5|vision|clip|img_emb|single_blocks_control")
"""Parts that video tokens do not pass through."""
_PROJECTION = re.compile(
    r"^(to_)?(q|k|v|kv|qkv|query|key|value)(_proj|_linear)?(\.0)?$|^(to_out\.0|to_out|o|o_proj|out|out_proj|out_layer|proj|output_proj)(\.0)?$"
)
_READS = re.compile(r"q|k|v|query|key|value")
"""An attention has at least one of these; an output alone is none."""


@dataclass(frozen=True)
class FoundArchitecture(Architecture):
    """An architecture whose projections were found by name. It takes LoRA erasers only."""

    found: tuple[str, ...] = field(default=())
    """ComfyUI's names of the projections."""

    def sites(self, denoiser: nn.Module, video_tokens: Callable[[], int] = lambda: 0) -> dict[str, EraserSite]:
        """The projections, as sites of LoRA erasers."""
        modules: dict[str, Any] = {name: denoiser.get_submodule(name) for name in self.found}
        return {name: EraserSite(name, module, module.out_features, edit_whole, "lora") for name, module in modules.items()}

    def named_base_tensors(self, denoiser: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """The projections' weights."""
        for name in self.found:
            yield f"{name}.weight", weights[f"{name}.weight"]

    def video_tokens(self, denoiser: Any, latents: Sequence[Tensor]) -> int:
        """No site has to know it."""
        return 0

    def describe(self) -> str:
        """What was found, in a sentence."""
        named = sorted({re.sub(r"\.\d+\.", ".N.", name, count=1) for name in self.found})
        return (
            f"{spoken(self.family)} is not in the table of architectures; LoRA erasers sit on "
            f"{len(self.found)} layers that were found by name: {', '.join(named[:8])}{' and more' if len(named) > 8 else ''}"
        )


def any_architecture(denoiser: nn.Module) -> Architecture | None:
    """The table's row for a denoiser, else what is found by name; None if there is nothing."""
    return architecture_of(denoiser) or found_architecture(denoiser)


def found_architecture(denoiser: nn.Module) -> FoundArchitecture | None:
    """Cross-attentions if there are any, else joint attentions; None if there are neither."""
    for kind in (_CROSS, _JOINT):
        names = tuple(name for attention in _attentions(denoiser, kind) for name in _projections(denoiser, attention))
        if any(_READS.search(name.rpartition(".")[2] or name) for name in names):
            return FoundArchitecture(
                family=f"{OWN_NAMES}{type(denoiser).__name__}", blocks="", site="{}", module="{}", width="", projections={},
                tensors=("weight",), found=names, one_length=True, keeps_padding=True,
            )  # fmt: skip
    return None


@contextlib.contextmanager
def reached(architecture: Architecture, sites: Sequence[EraserSite]) -> Iterator[None]:
    """Raise UserError if a pass inside this context computes none of the sites that were found by name."""
    if not isinstance(architecture, FoundArchitecture):
        yield
        return
    seen: list[str] = []
    handles = [site.module.register_forward_hook(lambda *_, name=site.name: seen.append(name)) for site in sites]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    if not seen:
        raise UserError(
            f"None of the {len(sites)} layers that were found by name in this {spoken(architecture.family)} "
            "takes part in a pass, so the eraser has no effect on it."
        )


def found_note(denoiser: nn.Module) -> str:
    """What was found by name in a denoiser; empty for one in the table."""
    architecture = any_architecture(denoiser)
    return architecture.describe() if isinstance(architecture, FoundArchitecture) else ""


def _attentions(denoiser: nn.Module, kind: re.Pattern[str]) -> Iterator[str]:
    """Names of the attentions inside repeated blocks that video tokens pass through."""
    for name, _ in denoiser.named_modules():
        parts = name.split(".")
        repeated = any(re.search(r"\d", part) for part in parts[:-1])
        if repeated and kind.match(parts[-1]) and not _OTHER_STREAMS.search(name):
            yield name


def _projections(denoiser: nn.Module, attention: str) -> Iterator[str]:
    """The linear layers of an attention that read or write video tokens or the text."""
    for name, module in denoiser.get_submodule(attention).named_modules():
        if hasattr(module, "in_features") and hasattr(module, "out_features") and _PROJECTION.match(name):
            yield f"{attention}.{name}"
