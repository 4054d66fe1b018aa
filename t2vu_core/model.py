"""T2VModel: a loaded text-to-video model as an immutable value, with the erasures applied to it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from t2vu_core.base_identity import check_base
from t2vu_core.encoder_identity import check_text
from t2vu_core.erasers import EraserSet
from t2vu_core.erasure import Base, Erasure
from t2vu_core.errors import UserError
from t2vu_core.families import FAMILIES, ClipSize, EraserSite, Family, family_for
from t2vu_core.families.trial import try_settings
from t2vu_core.file_names import check_names
from t2vu_core.input_files import read_bounded
from t2vu_core.memory.placement import AS_LOADED, Placement, place
from t2vu_core.miniature.bundled import bundled_folder, bundled_names, check_built
from t2vu_core.model_source import ModelSource
from t2vu_core.pipelines import failures_blamed, weights_blamed
from t2vu_core.sampling import Guard, OnLatents, Predictor, SamplingRequest, check_finite, denoise, guided, noise
from t2vu_core.text_encoders import encoder_sites

MAX_CLIP_PIXELS = 121 * 1280 * 720


@dataclass(frozen=True)
class SampleStep:
    """Passed to a callback after each denoising step."""

    step: int
    total: int
    preview: Callable[[], Tensor]
    """Decodes the unfinished clips, (B, F, 3, H, W) in [0, 1]. Each call costs a decode: call it rarely."""


@dataclass(frozen=True)
class AppliedErasure:
    """An erasure on a model, with its strength: 0 has no effect, 1 is as trained."""

    erasure: Erasure
    strength: float

    @cached_property
    def erasers(self) -> EraserSet:
        # A ComfyUI node runs under inference_mode; tensors made there could not be used in a later training run.
        with torch.inference_mode(False):
            return EraserSet.from_tensors(self.erasure.tensors).eval().requires_grad_(False)

    def sites(self, family: Family) -> dict[str, EraserSite]:
        """The sites that it can be attached to: in the text encoders, or in the denoiser."""
        if self.erasure.kind == "unlearned_encoder":
            return encoder_sites(family.text)
        return family.sites()

    @contextlib.contextmanager
    def attached(self, sites: Mapping[str, EraserSite], device: torch.device | None = None) -> Iterator[None]:
        """Inside this context, the modules of these sites compute with it: on `device`, or where their weights are."""
        own = self.erasers.fit(sites)
        erasers = self.erasers.to(device or next(own[0].module.parameters()).device)
        with erasers.attached(own, strength=self.strength):
            yield


@dataclass(frozen=True)
class T2VModel:
    """A loaded model and its erasures. Immutable: `with_erasure` returns another model that shares the weights."""

    name: str
    family: Family
    erasures: tuple[AppliedErasure, ...] = ()
    guard: Guard | None = None
    """Replaces plain guidance when this model is sampled; training ignores it."""
    # Hooks are on shared modules while a model computes: models that share weights take turns.
    lock: threading.RLock = dataclasses.field(default_factory=threading.RLock, repr=False, compare=False)

    @property
    def base(self) -> Base:
        """Name, family, hash and sketch of the weights that erasers depend on."""
        return Base(self.name, self.family.name, self.family.base_hash, self.family.base_sketch)

    def with_erasure(self, erasure: Erasure, strength: float = 1.0, *, allow_other_base: bool = False) -> T2VModel:
        """This model with one more erasure.

        Raises UserError if the strength is not a finite number, or if the erasure was trained on other weights. Weights
        that differ by rounding only (fp16, fp8) are accepted; `allow_other_base` accepts fine-tunes, but not another model.
        """
        if not isinstance(strength, int | float) or not math.isfinite(strength):
            raise UserError(f"The strength must be a number such as 1.0, not {strength!r}.")
        if erasure.kind == "unlearned_encoder":
            return self._with_encoder(AppliedErasure(erasure, float(strength)), allow_other_base)
        if erasure.base.family != self.family.name:
            raise UserError(
                f"This erasure is for the {erasure.base.family} family (trained on {erasure.base.name}); "
                f"the model {self.name} is {self.family.name}."
            )
        check_base(erasure, self.base, allow_other_base=allow_other_base)
        applied = AppliedErasure(erasure, float(strength))
        applied.erasers.fit(self.family.sites())
        return dataclasses.replace(self, erasures=(*self.erasures, applied))

    def _with_encoder(self, applied: AppliedErasure, allow_other_base: bool) -> T2VModel:
        check_text(applied.erasure, self.family.text, self.name, allow_other_base=allow_other_base)
        applied.erasers.fit(applied.sites(self.family))
        return dataclasses.replace(self, erasures=(*self.erasures, applied))

    @property
    def sole_erasure(self) -> Erasure | None:
        """The model's only erasure if it is as trained: strength 1, its own base, no guard. Scores belong to it."""
        if len(self.erasures) != 1 or self.erasures[0].strength != 1 or self.guard is not None:
            return None
        erasure = self.erasures[0].erasure
        if erasure.kind == "eraser" and erasure.base.hash != self.base.hash:
            return None
        try:
            self.without_erasures().with_erasure(erasure)
        except UserError:
            return None
        return erasure

    def with_guard(self, guard: Guard | None) -> T2VModel:
        """This model with a training-free guard (see `t2vu_core.guards`), which replaces its current one."""
        return dataclasses.replace(self, guard=guard)

    def without_erasures(self) -> T2VModel:
        """The model as loaded, without erasures and guard."""
        return dataclasses.replace(self, erasures=(), guard=None)

    @contextlib.contextmanager
    def active(self) -> Iterator[Family]:
        """Inside this context, the family's denoiser and text encoders compute with the erasures."""
        with self.lock, contextlib.ExitStack() as stack:
            for applied in self.erasures:
                if applied.strength == 0:
                    continue
                # Weights of a denoiser may be offloaded, away from where it computes; encoder changes follow their input.
                device = None if applied.erasure.kind == "unlearned_encoder" else self.family.device
                stack.enter_context(applied.attached(applied.sites(self.family), device))
            with failures_blamed(self.family), weights_blamed(self.family, self.name):
                yield self.family

    @torch.no_grad()
    def sample(
        self,
        prompts: str | Sequence[str],
        *,
        seeds: int | Sequence[int] = 0,
        negative_prompt: str = "",
        num_frames: int | None = None,
        height: int | None = None,
        width: int | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        on_step: Callable[[SampleStep], None] | None = None,
    ) -> Tensor:
        """Generate one clip per prompt: (B, F, 3, H, W) in [0, 1], float32 on the CPU.

        Each clip has its own seed and does not depend on the rest of the batch. `on_step` is called after every step;
        an exception that it raises stops sampling. Raises UserError if a value is invalid.
        """
        asked = SamplingRequest.checked(prompts, seeds, num_inference_steps, guidance_scale, usual=self.family.defaults)
        steps, guidance = asked.num_inference_steps, asked.guidance_scale
        size = self.clip_size(num_frames, height, width)
        with self.active() as family:
            condition = family.encode(asked.prompts)
            empty = family.encode([negative_prompt]).expand(len(asked.prompts)) if guidance > 1 else None
            latents = noise(family, size, asked.seeds)
            scheduler = family.make_scheduler(steps, size)
            plain = guided(family, size, condition, empty, guidance)
            predict: Predictor = plain if self.guard is None else self.guard.start(family, asked.prompts, steps, plain)
            told = None if on_step is None else _tell(on_step, family, size)
            latents = denoise(scheduler, latents, predict, step=family.step, on_step=told)
            clips = family.decode_or_tile(latents, size).cpu()
            check_finite(clips)
            return clips

    def clip_size(self, num_frames: int | None = None, height: int | None = None, width: int | None = None) -> ClipSize:
        """The requested size, completed with the model's own. Raises UserError if the model cannot make it."""
        own = self.family.defaults.size
        size = ClipSize(num_frames or own.num_frames, height or own.height, width or own.width)
        if size.num_frames * size.height * size.width > MAX_CLIP_PIXELS:
            raise UserError(f"{size.width} x {size.height} x {size.num_frames} frames is too large; ask for less.")
        self.family.check_size(size)
        return size


def _tell(on_step: Callable[[SampleStep], None], family: Family, size: ClipSize) -> OnLatents:
    def told(step: int, total: int, latents: Tensor) -> None:
        on_step(SampleStep(step, total, lambda: family.preview(latents, size).cpu()))

    return told


def load_model(
    source: str | Path,
    *,
    dtype: torch.dtype | None = None,
    device: str | torch.device | None = None,
    placement: Placement = AS_LOADED,
    config: str | Path | None = None,
    model_low_noise: str | Path | None = None,
) -> T2VModel:
    """Load a bundled miniature by name, a diffusers folder by path, or the single file of a denoiser (.safetensors, .gguf).

    `placement` says what is offloaded or stored in 8 bits. For a single file, `config` is a diffusers folder with the other
    components; without it, the file must be in such a folder. `model_low_noise` is the file of a second denoiser.
    Raises UserError for an unknown name, an incomplete folder (naming what is missing), or an unsupported pipeline.
    """
    check_built(str(source))
    given = ModelSource.of(
        bundled_folder(str(source)) or check_names(source),
        None if config is None else check_names(config),
        None if model_low_noise is None else check_names(model_low_noise),
    )
    pipeline_class = _pipeline_class(given.folder, str(source))
    family = family_for(pipeline_class)
    if family is None:
        known = sorted(name for known in FAMILIES for name in known.pipeline_classes)
        raise UserError(f"{given.folder.name} is a {pipeline_class}; known are {', '.join(known)}.")
    device = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    if device.type == "meta":
        raise UserError("The device 'meta' computes nothing: choose cpu, cuda or mps.")
    with torch.inference_mode(False):
        on = device if placement == AS_LOADED else torch.device("cpu")
        loaded = family.load(given, dtype=dtype or torch.float32, device=on)
        try_settings(loaded)
        return T2VModel(given.name, loaded if placement == AS_LOADED else place(loaded, placement, device))


def _pipeline_class(folder: Path, source: str) -> str:
    if not folder.is_dir():
        raise UserError(
            f"There is no model {source!r}: it is neither a folder nor one of the bundled models "
            f"({', '.join(bundled_names())})."
        )
    index = folder / "model_index.json"
    if not index.is_file():
        raise UserError(f"{folder} is not a diffusers model: it has no model_index.json.")
    text = read_bounded(index, f"{folder} is not a diffusers model")
    try:
        content = json.loads(text)
        components = {name: value for name, value in content.items() if isinstance(value, list) and value[0]}
        pipeline_class = str(content["_class_name"])
    except (ValueError, KeyError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise UserError(f"{folder} is not a diffusers model: its model_index.json cannot be read ({error}).") from error
    missing = [name for name in components if not (folder / name).is_dir()]
    if missing:
        raise UserError(f"The model folder {folder} is incomplete: {', '.join(missing)} is missing.")
    return pipeline_class
