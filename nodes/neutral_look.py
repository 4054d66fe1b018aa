"""The neutral check of the nodes that train: what takes the concept's place, looked at before the training."""

from dataclasses import dataclass
from typing import Any

import torch
from comfy_api.v0_0_2 import io, ui
from torch import Tensor

from t2vu_core import ConceptRequest, Erasure, T2VModel
from t2vu_core.evaluation.detectors import open_detector
from t2vu_core.evaluation.neutral_check import NeutralCheck, check_neutral
from t2vu_core.evaluation.neutral_source import AnyRecipe
from t2vu_core.training.few_shot.shot_models import AnyImageModel
from t2vu_core.training.progress import ProgressCallback

from . import comfy_bridge
from .declare import advanced

AUTO, OFF = "auto", "off"


@dataclass(frozen=True)
class NeutralLook:
    """The request to train on, and what was seen; nothing if the check is off."""

    request: ConceptRequest
    check: NeutralCheck | None = None

    @property
    def message(self) -> str:
        return "" if self.check is None else self.check.message

    @property
    def picture(self) -> Tensor:
        """An IMAGE: the clips, or a black pixel without a check."""
        return torch.zeros(1, 1, 1, 3) if self.check is None else self.check.sheet().movedim(0, -1)[None]

    def noted(self, erasure: Erasure) -> Erasure:
        """The erasure with what was found, if anything was looked at."""
        return erasure if self.check is None else self.check.noted_in(erasure)

    def shown(self, node: type[io.ComfyNode]) -> dict[str, Any]:
        """The picture under the node."""
        return {} if self.check is None else ui.PreviewImage(self.picture, cls=node).as_dict()


def look_at_neutral(
    model: T2VModel | AnyImageModel,
    request: ConceptRequest,
    recipe: AnyRecipe,
    asked: str,
    on_progress: ProgressCallback,
    through: AnyImageModel | None = None,
) -> NeutralLook:
    """Make a few clips of the neutral prompts, judged as `asked` says: by the bundled models' own detector, or a named one.

    An image model is for a text encoder without a video model; a video model's encoder may be trained `through` one.
    """
    if asked == OFF:
        return NeutralLook(request)
    video_model = model if isinstance(model, T2VModel) else None
    detector = None if asked == AUTO else open_detector(comfy_bridge.detector_in_folders(asked), video_model)
    check = check_neutral(model, request, recipe, through=through, detector=detector, on_progress=on_progress)
    return NeutralLook(check.request, check)


def check_input() -> io.Input:
    """Whether and by what the neutral clips are judged."""
    return advanced(
        io.String,
        "neutral_check",
        default=AUTO,
        optional=True,
        tooltip="A few clips of what takes the concept's place, made before the training. auto: judged by the bundled models' "
        "own detector, shown only for other models. clip:NAME: judged by a CLIP folder in models/clip_vision. off: none.",
    )


def check_output() -> io.Output:
    """The clips as a picture."""
    return io.Image.Output(
        "neutral_clips",
        display_name="neutral_clips",
        tooltip="What the unchanged model draws in the concept's place: first, middle and last frame, one clip a row.",
    )
