"""The miniature's detector: subjects per frame, style, motion and background."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor

from t2vu_core.erasure import hash_tensors
from t2vu_core.errors import UserError
from t2vu_core.evaluation.detectors.base import Accuracy, Judgement
from t2vu_core.evaluation.detectors.miniature_accuracy import stored_accuracy
from t2vu_core.miniature.captions import STYLE_WORDS, subject_words
from t2vu_core.miniature.detector import THRESHOLD, MiniatureDetector, detector_path, load_detector
from t2vu_core.miniature.worlds import BACKGROUNDS, MOTIONS, NUM_FRAMES, STYLES, WORLD_32, World, world_drawn_at
from t2vu_core.model import T2VModel


class WorldDetector:
    """Knows the subjects and the 4 styles of a miniature's world, by any of their captions' names."""

    clean_prompts = None

    def __init__(self, network: MiniatureDetector) -> None:
        self.network = network
        self.name = f"miniature {hash_tensors(sorted(network.state_dict().items()))[:12]}"

    @classmethod
    def bundled(cls, world: World = WORLD_32) -> WorldDetector:
        """The trained detector that ships for a world; UserError if this build has none."""
        path = detector_path(world)
        if not path.is_file():
            raise UserError("The miniature's detector is not part of this installation; name another detector.")
        return cls(load_detector(path))

    @classmethod
    def for_model(cls, model: T2VModel | None) -> WorldDetector:
        """The bundled detector of the world that a model draws; that of 32 pixels for no model."""
        return cls.bundled(WORLD_32 if model is None else world_of_model(model))

    @property
    def world(self) -> World:
        """The world whose clips it was trained on."""
        return self.network.world

    def fitted(self, clips: Tensor) -> Tensor:
        """Clips (B, F, 3, H, W) in the number and size of frames that it was trained on."""
        return _fit(clips, self.world.size)

    def known(self) -> tuple[str, ...]:
        return (*self.world.subjects, *STYLES[1:])

    def resolve(self, concept: str) -> str | None:
        return names_of(self.world).get(" ".join(concept.lower().split()))

    def accuracy(self, concept: str) -> Accuracy | None:
        """The stored errors, counted on renders; None for other weights."""
        return stored_accuracy(self.name, concept)

    @torch.no_grad()
    def judge(self, clips: Tensor, concepts: Sequence[str]) -> list[Judgement]:
        """Clips of another size or length are resampled to the detector's; the result has one value per original frame."""
        frames_asked = clips.shape[1]
        fitted = _fit(clips, self.world.size) * 2 - 1
        detection = self.network.judge(fitted)
        styles = [concept for concept in concepts if concept in STYLES]
        style_by_frame = _style_by_frame(self.network, fitted) if styles else torch.empty(0)
        subjects_known = self.world.subjects
        index = torch.linspace(0, NUM_FRAMES - 1, frames_asked).round().long()
        judgements = []
        for row in range(len(clips)):
            subjects, subject_frames = detection.subjects[row], detection.subjects_by_frame[row]
            style = STYLES[int(detection.style[row].argmax())]
            shown, frames = {}, {}
            for concept in concepts:
                if concept in subjects_known:
                    column = subjects_known.index(concept)
                    shown[concept] = bool(subjects[column] > THRESHOLD)
                    frames[concept] = (subject_frames[index, column] > THRESHOLD).tolist()
                else:
                    shown[concept] = style == concept
                    frames[concept] = (style_by_frame[row, index] == STYLES.index(concept)).tolist()
            attributes = {
                "style": style,
                "motion": MOTIONS[int(detection.motion[row].argmax())],
                "background": BACKGROUNDS[int(detection.background[row].argmax())],
            }
            confidence = float(torch.maximum(subjects, 1 - subjects).min())
            judgements.append(Judgement(shown, frames, confidence, attributes))
        return judgements


def world_of_model(model: T2VModel) -> World:
    """The world whose detector and prompt sets measure a model; decided by the height of its clips."""
    return world_drawn_at(model.clip_size().height)


@cache
def names_of(world: World) -> dict[str, str]:
    """Every way the captions of a world say a subject or a style -> its name."""
    names: dict[str, str] = {}
    for own, words in {**subject_words(world), **STYLE_WORDS}.items():
        if own == "plain":
            continue
        said = {own, words.usual, *words.seen, *words.held_out, f"{own} style", f"in {own} style"}
        said |= {text.split(" ", 1)[1] for text in said if text.startswith(("a ", "an ", "in "))}
        names |= dict.fromkeys(said, own)
    return names


def _fit(clips: Tensor, size: int) -> Tensor:
    """Resample (B, F, 3, H, W) to the number and size of frames that the detector was trained on."""
    clips = clips.float()
    if clips.shape[1] != NUM_FRAMES:
        clips = clips[:, torch.linspace(0, clips.shape[1] - 1, NUM_FRAMES).round().long()]
    if clips.shape[-2:] == (size, size):
        return clips
    resized = F.interpolate(clips.flatten(0, 1), size=(size, size), mode="bilinear", antialias=True)
    return resized.unflatten(0, (len(clips), NUM_FRAMES))


def _style_by_frame(network: MiniatureDetector, clips: Tensor) -> Tensor:
    """The style of every single frame, (B, 9) indices: the clip head applied to the features of one frame."""
    styles = []
    for part in clips.split(64):
        features = network.project(network.frames(part.flatten(0, 1)))
        styles.append(network.style(network.clip(features)).argmax(1).unflatten(0, (len(part), NUM_FRAMES)))
    return torch.cat(styles)
