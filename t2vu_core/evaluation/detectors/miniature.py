"""The miniature's own detector behind the protocol: subjects per frame, style, motion and background."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from t2vu_core.erasure import hash_tensors
from t2vu_core.errors import UserError
from t2vu_core.evaluation.detectors.base import Accuracy, Judgement
from t2vu_core.miniature.bundled import WEIGHTS
from t2vu_core.miniature.captions import STYLE_WORDS, SUBJECT_WORDS
from t2vu_core.miniature.detector import THRESHOLD, MiniatureDetector, load_detector
from t2vu_core.miniature.world import (
    BACKGROUNDS,
    FIRST,
    MOTIONS,
    NUM_FRAMES,
    SECOND,
    SIZE,
    STYLE,
    STYLES,
    SUBJECTS,
    render,
    sample_labels,
)

RENDERS_PER_SIDE = 500
_RENDER_SEED = 7_900_000


class WorldDetector:
    """Knows the 12 subjects and 4 styles of the miniature's world, by any of their captions' names."""

    def __init__(self, network: MiniatureDetector) -> None:
        self.network = network
        self._accuracies: dict[str, Accuracy] = {}
        self.name = f"miniature {hash_tensors(sorted(network.state_dict().items()))[:12]}"

    @classmethod
    def bundled(cls) -> WorldDetector:
        """The trained detector that ships; UserError if this build has none."""
        path = WEIGHTS / "detector.safetensors"
        if not path.is_file():
            raise UserError("The miniature's detector is not part of this installation; name another detector.")
        return cls(load_detector(Path(path)))

    def known(self) -> tuple[str, ...]:
        return (*SUBJECTS, *STYLES[1:])

    def resolve(self, concept: str) -> str | None:
        return _names().get(" ".join(concept.lower().split()))

    def accuracy(self, concept: str) -> Accuracy:
        """Counted on renders, half of them with the concept; concept-free ones include unknown and no subjects."""
        if concept not in self._accuracies:
            found, alarms = (self._shown(clips, concept) for clips in _renders(concept))
            self._accuracies[concept] = Accuracy(sum(alarms), len(alarms), len(found) - sum(found), len(found))
        return self._accuracies[concept]

    @torch.no_grad()
    def judge(self, clips: Tensor, concepts: Sequence[str]) -> list[Judgement]:
        """Clips of another size or length are resampled to the detector's own; frames keep their number."""
        frames_asked = clips.shape[1]
        verdict = self.network.judge(_fit(clips) * 2 - 1)
        style_by_frame = _style_by_frame(self.network, _fit(clips) * 2 - 1)
        index = torch.linspace(0, NUM_FRAMES - 1, frames_asked).round().long()
        judgements = []
        for row in range(len(clips)):
            subjects, subject_frames = verdict.subjects[row], verdict.subjects_by_frame[row]
            style = STYLES[int(verdict.style[row].argmax())]
            shown, frames = {}, {}
            for concept in concepts:
                if concept in SUBJECTS:
                    column = SUBJECTS.index(concept)
                    shown[concept] = bool(subjects[column] > THRESHOLD)
                    frames[concept] = (subject_frames[index, column] > THRESHOLD).tolist()
                else:
                    shown[concept] = style == concept
                    frames[concept] = (style_by_frame[row][index] == STYLES.index(concept)).tolist()
            attributes = {
                "style": style,
                "motion": MOTIONS[int(verdict.motion[row].argmax())],
                "background": BACKGROUNDS[int(verdict.background[row].argmax())],
            }
            confidence = float(torch.maximum(subjects, 1 - subjects).min())
            judgements.append(Judgement(shown, frames, confidence, attributes))
        return judgements

    def _shown(self, clips: Tensor, concept: str) -> list[bool]:
        return [judgement.shown[concept] for judgement in self.judge(clips, [concept])]


@cache
def _names() -> dict[str, str]:
    """Every way the captions say a subject or a style -> its name."""
    names: dict[str, str] = {}
    for own, words in {**SUBJECT_WORDS, **STYLE_WORDS}.items():
        if own == "plain":
            continue
        said = {own, words.usual, *words.seen, *words.held_out, f"{own} style", f"in {own} style"}
        said |= {text.split(" ", 1)[1] for text in said if text.startswith(("a ", "an ", "in "))}
        names |= dict.fromkeys(said, own)
    return names


def _renders(concept: str) -> tuple[Tensor, Tensor]:
    """Renders with and without a concept, each (n, 9, 3, 48, 48) in [0, 1]; always the same ones."""
    generator = torch.Generator().manual_seed(_RENDER_SEED)
    options = {"distractors": 0.15, "empty": 0.05}
    labels = sample_labels(RENDERS_PER_SIDE * 40, generator, **options)
    if concept in SUBJECTS:
        number = SUBJECTS.index(concept)
        has = (labels[:, FIRST] == number) | ((labels[:, SECOND] == number) & (labels[:, FIRST] >= 0))
    else:
        has = labels[:, STYLE] == STYLES.index(concept)
    chosen = [labels[has][:RENDERS_PER_SIDE], labels[~has][:RENDERS_PER_SIDE]]
    first, second = (render(part, generator) / 2 + 0.5 for part in chosen)
    return first, second


def _fit(clips: Tensor) -> Tensor:
    """Resample (B, F, 3, H, W) to the 9 frames of 48 x 48 that the detector was trained on."""
    clips = clips.float()
    if clips.shape[1] != NUM_FRAMES:
        clips = clips[:, torch.linspace(0, clips.shape[1] - 1, NUM_FRAMES).round().long()]
    if clips.shape[-2:] == (SIZE, SIZE):
        return clips
    resized = F.interpolate(clips.flatten(0, 1), size=(SIZE, SIZE), mode="bilinear", antialias=True)
    return resized.unflatten(0, (len(clips), NUM_FRAMES))


def _style_by_frame(network: MiniatureDetector, clips: Tensor) -> Tensor:
    """The style of every frame by itself, (B, 9) indices: the clip's head on one frame's features."""
    styles = []
    for part in clips.split(64):
        features = network.project(network.frames(part.flatten(0, 1)))
        styles.append(network.style(network.clip(features)).argmax(1).unflatten(0, (len(part), NUM_FRAMES)))
    return torch.cat(styles)
