"""ComfyUI's denoiser classes: where erasers sit in each, under diffusers' names. Everything else ComfyUI knows itself."""

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

from torch import Tensor, nn

from t2vu_core.families.eraser_site import EraserSite, edit_whole
from t2vu_core.interchange.comfyui_names import OWN_NAMES

from .edits import Edit, edit_columns, edit_video_tokens


@dataclass(frozen=True)
class Projection:
    """A projection in ComfyUI: its module, with {} for the block, and the part of a fused module."""

    module: str
    part: int | None = None
    """In a fused module, the projection's index. Every fused projection is as wide as the module's input."""
    parts: int = 0
    """The number of a fused module's parts where its input is not as wide as they are."""

    def place(self, denoiser: nn.Module, block: int) -> tuple[nn.Module, int, Edit]:
        """Module, width and edit of the projection in one block."""
        module = cast(nn.Linear, denoiser.get_submodule(self.module.format(block)))
        if self.part is None:
            return module, module.out_features, edit_whole
        return module, module.in_features, edit_columns(self.part * module.in_features, module.in_features)


@dataclass(frozen=True)
class Architecture:
    """One of ComfyUI's denoiser classes."""

    family: str
    """The family, as erasure files name it, of the diffusers model with the same weights."""
    blocks: str
    """The list of blocks that have a site each."""
    site: str
    """diffusers' name of a site, with {} for the block."""
    module: str
    """ComfyUI's module for it."""
    width: str
    """The linear layer in `module` whose output is as wide as the site; empty if it is `module` itself."""
    projections: Mapping[str, Projection]
    """The projections of a site, by diffusers' names."""
    text: Literal["apart", "before", "after", "by version"] = "apart"
    """Whether a site sees video tokens only, or also the text, before or after them; that may depend on ComfyUI's version."""
    on_input: bool = False
    """Whether the site is the input of `module`."""
    one_length: bool = False
    """Whether all prompts of a batch must have the same number of tokens: it takes one text mask, or one length, for all."""
    keeps_padding: bool = False
    """Whether a pass gets all tokens that the CLIP gives, with its mask if there is one, as nothing else is known of it."""
    needs_mask: bool = False
    """Whether a pass needs a text mask even where every token counts."""
    norms: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    """The other weights of a site: diffusers' name to ComfyUI's, of which there are several where versions differ."""
    tensors: Sequence[str] = ()
    """The weights of a site in diffusers' order, for the base's hash; empty if they are not known there."""
    of_text: Mapping[str, Projection] = dataclasses.field(default_factory=dict)
    """The text's projections among these weights, by diffusers' names: erasers depend on them and do not sit there."""
    not_in_last: Sequence[str] = ()
    """Those of these weights that the last block lacks."""

    def sites(self, denoiser: nn.Module, video_tokens: Callable[[], int] = lambda: 0) -> dict[str, EraserSite]:
        """The sites of erasers of both kinds, by name; `video_tokens()` is the number of video tokens in the current pass.

        Raises AttributeError if the denoiser lacks one of the modules.
        """
        found = [site for block in self._blocks(denoiser) for site in self._sites_of(denoiser, block, video_tokens)]
        return {site.name: site for site in found}

    def named_base_tensors(self, denoiser: nn.Module, weights: Mapping[str, Tensor]) -> Iterator[tuple[str, Tensor]]:
        """The weights that an eraser depends on, as `Family.named_base_tensors` gives them for the diffusers model.

        Where diffusers' names of them are not known, they come under ComfyUI's. Raises KeyError for a weight that is not there.
        """
        if not self.tensors:
            modules = {id(site.module) for site in self.sites(denoiser).values()}
            own = (name for name in sorted(weights) if id(denoiser.get_submodule(name.rpartition(".")[0])) in modules)
            yield from ((name, weights[name]) for name in own)
            return
        *_, last = self._blocks(denoiser)
        for block in self._blocks(denoiser):
            for name in self.tensors:
                if block == last and name in self.not_in_last:
                    continue
                yield f"{self.site.format(block)}.{name}", self._weight(denoiser, weights, name, block)

    def video_tokens(self, denoiser: Any, latents: Sequence[Tensor]) -> int:
        """The number of tokens that latents (B, C, F, H, W) become."""
        return sum(math.prod(self.token_grid(denoiser, part.shape[2:])) for part in latents)

    def token_grid(self, denoiser: Any, shape: Sequence[int]) -> tuple[int, int, int]:
        """Frames, rows and columns of the tokens of latents with that many; ComfyUI pads what does not fill a token."""
        frames, rows, columns = (-(-length // patch) for length, patch in zip(shape, _patch_size(denoiser), strict=True))
        return frames, rows, columns

    def _blocks(self, denoiser: nn.Module) -> range:
        return range(len(cast(nn.ModuleList, denoiser.get_submodule(self.blocks))))

    def _sites_of(self, denoiser: nn.Module, block: int, video_tokens: Callable[[], int]) -> Iterator[EraserSite]:
        name, module = self.site.format(block), denoiser.get_submodule(self.module.format(block))
        width = cast(nn.Linear, module.get_submodule(self.width)).out_features
        edit: Edit = edit_whole
        if self.text != "apart":
            text_first = self.text == "before" or (self.text == "by version" and _text_first(denoiser))
            edit = edit_video_tokens(video_tokens, width, text_first=text_first)
        yield EraserSite(name, module, width, edit, where="input" if self.on_input else "output")
        for projection, place in self.projections.items():
            yield EraserSite(f"{name}.{projection}", *place.place(denoiser, block), "lora")

    def _weight(self, denoiser: nn.Module, weights: Mapping[str, Tensor], name: str, block: int) -> Tensor:
        if name in self.norms:
            names = [own.format(block) for own in self.norms[name]]
            return weights[next((own for own in names if own in weights), names[0])]
        projection, _, kind = name.rpartition(".")
        place = self.projections.get(projection) or self.of_text[projection]
        whole = weights[f"{place.module.format(block)}.{kind}"]
        if place.part is None:
            return whole
        width = len(whole) // place.parts if place.parts else place.place(denoiser, block)[1]
        return whole[place.part * width : (place.part + 1) * width]


def _text_first(denoiser: nn.Module) -> bool:
    """Whether this ComfyUI's HunyuanVideo puts the text before the video: such versions tell patches where the video is."""
    code = getattr(getattr(type(denoiser), "forward_orig", None), "__code__", None)
    return "img_slice" in getattr(code, "co_consts", ())


def _patch_size(denoiser: Any) -> Sequence[int]:
    """Frames, rows and columns of the latents in one token."""
    # LTX-Video's latents are tokens as they are.
    patch = getattr(denoiser, "patch_size", 1)
    if isinstance(patch, int):
        return (getattr(denoiser, "patch_size_t", None) or 1, patch, patch)
    return patch if len(patch) == 3 else (1, *patch)


def _apart(places: Mapping[str, str]) -> dict[str, Projection]:
    return {name: Projection(module) for name, module in places.items()}


def _fused(module: str) -> dict[str, Projection]:
    return {name: Projection(module, part) for part, name in enumerate(("to_q", "to_k", "to_v"))}


def _fused_text(module: str, out: str) -> dict[str, Projection]:
    names = enumerate(("add_q_proj", "add_k_proj", "add_v_proj"))
    return {**{name: Projection(module, part, parts=3) for part, name in names}, "to_add_out": Projection(out)}


def _weights(names: Sequence[str]) -> list[str]:
    return [name for name in names if name.endswith(".weight")]


QKV_TENSORS = ("to_q.weight", "to_q.bias", "to_k.weight", "to_k.bias", "to_v.weight", "to_v.bias")
OUT_TENSORS = ("to_out.0.weight", "to_out.0.bias")
NORM_TENSORS = ("norm_q.weight", "norm_k.weight")
ADDED_NORM_TENSORS = ("norm_added_q.weight", "norm_added_k.weight")
ADDED_TENSORS = tuple(f"add_{letter}_proj.{kind}" for letter in "kvq" for kind in ("weight", "bias"))
ADDED_OUT_TENSORS = ("to_add_out.weight", "to_add_out.bias")
SCALE_NAMES = ("scale", "weight")
"""Of HunyuanVideo's norms, in older and in newer versions."""
_LTX, _COG = "transformer_blocks.{}.attn2", "blocks.{}"
_HUNYUAN_15 = "double_blocks.{}.img_attn"

_LTX_VIDEO = Architecture(
    family="ltx", blocks="transformer_blocks", site="transformer_blocks.{}.attn2", module=_LTX, width="to_out.0",
    projections=_apart({name: f"{_LTX}.{name}" for name in ("to_q", "to_k", "to_v", "to_out.0")}),
    norms={"norm_q.weight": [f"{_LTX}.q_norm.weight"], "norm_k.weight": [f"{_LTX}.k_norm.weight"]},
    tensors=(*NORM_TENSORS, *QKV_TENSORS, *OUT_TENSORS),
)  # fmt: skip

ARCHITECTURES: dict[str, Architecture] = {
    "WanModel": Architecture(
        family="wan", blocks="blocks", site="blocks.{}.attn2", module="blocks.{}.cross_attn", width="o",
        projections=_apart({
            "to_q": "blocks.{}.cross_attn.q", "to_k": "blocks.{}.cross_attn.k",
            "to_v": "blocks.{}.cross_attn.v", "to_out.0": "blocks.{}.cross_attn.o",
        }),
        norms={name: [f"blocks.{{}}.cross_attn.{name}"] for name in NORM_TENSORS},
        tensors=(*QKV_TENSORS, *OUT_TENSORS, *NORM_TENSORS),
    ),
    "LTXVModel": _LTX_VIDEO,
    # LTX-2, its pictures without its sound. It fills up prompts by itself, whatever their length.
    "LTXAVModel": dataclasses.replace(_LTX_VIDEO, family=f"{OWN_NAMES}LTXAVModel", one_length=True),
    "HunyuanVideo": Architecture(
        family="hunyuan_video", blocks="single_blocks", site="single_transformer_blocks.{}.attn",
        module="single_blocks.{}.linear2", width="", text="by version", on_input=True, one_length=True,
        projections=_fused("single_blocks.{}.linear1"),
        norms={
            f"norm_{short}.weight": [f"single_blocks.{{}}.norm.{long}_norm.{name}" for name in SCALE_NAMES]
            for short, long in (("q", "query"), ("k", "key"))
        },
        tensors=(*NORM_TENSORS, *QKV_TENSORS),
    ),
    "HunyuanVideo15": Architecture(
        family="hunyuan_video_15", blocks="double_blocks", site="transformer_blocks.{}.attn",
        module=f"{_HUNYUAN_15}.proj", width="", one_length=True,
        projections={**_fused(f"{_HUNYUAN_15}.qkv"), "to_out.0": Projection(f"{_HUNYUAN_15}.proj")},
        norms={
            f"norm_{ours}{short}.weight": [f"double_blocks.{{}}.{theirs}_attn.norm.{long}_norm.{name}" for name in SCALE_NAMES]
            for ours, theirs in (("", "img"), ("added_", "txt")) for short, long in (("q", "query"), ("k", "key"))
        },
        tensors=(
            *NORM_TENSORS, *QKV_TENSORS, *ADDED_TENSORS, *OUT_TENSORS, *ADDED_OUT_TENSORS, *ADDED_NORM_TENSORS,
        ),
        of_text=_fused_text("double_blocks.{}.txt_attn.qkv", "double_blocks.{}.txt_attn.proj"),
    ),
    "AsymmDiTJoint": Architecture(
        family="mochi", blocks="blocks", site="transformer_blocks.{}.attn1", module="blocks.{}.attn.proj_x", width="",
        one_length=True, needs_mask=True,
        projections={**_fused("blocks.{}.attn.qkv_x"), "to_out.0": Projection("blocks.{}.attn.proj_x")},
        norms={
            f"norm_{ours}{letter}.weight": [f"blocks.{{}}.attn.{letter}_norm_{theirs}.weight"]
            for ours, theirs in (("", "x"), ("added_", "y")) for letter in "qk"
        },
        tensors=(
            *NORM_TENSORS, *ADDED_NORM_TENSORS, *_weights(QKV_TENSORS), *_weights(ADDED_TENSORS), *OUT_TENSORS,
            *ADDED_OUT_TENSORS,
        ),
        of_text=_fused_text("blocks.{}.attn.qkv_y", "blocks.{}.attn.proj_y"), not_in_last=ADDED_OUT_TENSORS,
    ),
    "CogVideoXTransformer3DModel": Architecture(
        family="cogvideox", blocks="blocks", site="transformer_blocks.{}.attn1", module=f"{_COG}.attn_out", width="",
        text="before",
        projections=_apart({
            "to_q": f"{_COG}.q", "to_k": f"{_COG}.k", "to_v": f"{_COG}.v", "to_out.0": f"{_COG}.attn_out",
        }),
        norms={f"norm_{letter}.{kind}": [f"{_COG}.norm_{letter}.{kind}"] for letter in "qk" for kind in ("weight", "bias")},
        tensors=("norm_q.weight", "norm_q.bias", "norm_k.weight", "norm_k.bias", *QKV_TENSORS, *OUT_TENSORS),
    ),
}  # fmt: skip
"""By the name of ComfyUI's class. HunyuanVideo 1.0 and 1.5 share one class: 1.5 has no single blocks."""


def spoken(family: str) -> str:
    """A family's name in a sentence: of one that diffusers has not, the name of ComfyUI's class."""
    return family.removeprefix(OWN_NAMES)


def architecture_of(denoiser: nn.Module) -> Architecture | None:
    """The architecture of a denoiser's class or of the nearest class that it is derived from; None for an unknown one."""
    for kind in type(denoiser).__mro__:
        name = kind.__name__
        if name == "HunyuanVideo" and not len(cast(nn.ModuleList, denoiser.get_submodule("single_blocks"))):
            name = "HunyuanVideo15"
        if name in ARCHITECTURES:
            return ARCHITECTURES[name]
    return None
