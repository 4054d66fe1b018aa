"""A person's face, by dlib's recognition network, whose weights come with the package face_recognition_models.

The person is given as a folder of photographs. The detector also knows the concept "a face", because the rate of clips with
the person means little without the rate of clips with any face: an erasure that removes all faces did not erase one person.
"""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from t2vu_core.erasure import hash_tensors
from t2vu_core.errors import UserError
from t2vu_core.evaluation.detectors.base import Accuracy, Judgement
from t2vu_core.evaluation.detectors.sampled_frames import sampled_frames, spread
from t2vu_core.image_files import IMAGE_SUFFIXES, check_count, read_image

A_FACE = "a face"
# dlib's own threshold: closer descriptors count as the same person.
THRESHOLD = 0.6


class FaceDetector:
    """A frame shows the person if a face in it is closer to a photograph than dlib's threshold; a clip, if a frame does."""

    clean_prompts = "people"

    def __init__(self, network: FaceNetwork, references_ND: Tensor, name: str) -> None:
        self.network, self.references_ND = network, references_ND
        self.name = f"faces {name} {hash_tensors([('references', references_ND)])[:12]}"

    @classmethod
    def from_folder(cls, folder: Path) -> FaceDetector:
        """Photographs of the person. Raises UserError if there are none, or if one does not show exactly one face."""
        files = sorted(file for file in folder.glob("*") if file.suffix.lower() in IMAGE_SUFFIXES) if folder.name else []
        if not files:
            raise UserError(f"There are no photographs in {str(folder)!r}; name a folder of the person's as faces:FOLDER.")
        check_count(len(files), f"{folder} holds")
        network = FaceNetwork.installed()
        found = []
        for file in files:
            faces = network.describe(np.array(read_image(file)))
            if len(faces) != 1:
                raise UserError(f"{file} shows {len(faces) or 'no'} face{'s' if len(faces) > 1 else ''}; it must show one.")
            found.append(faces)
        return cls(network, torch.cat(found), folder.name)

    def known(self) -> tuple[str, ...]:
        return ()

    def resolve(self, concept: str) -> str | None:
        words = " ".join(concept.split())
        return A_FACE if words.lower() in ("face", "faces", A_FACE) else words or None

    def accuracy(self, concept: str) -> Accuracy | None:
        return None

    def judge(self, clips: Tensor, concepts: Sequence[str]) -> list[Judgement]:
        """All words except "a face" mean the person in the photographs."""
        return [self._judge(clip, concepts) for clip in clips]

    def _judge(self, clip_FCHW: Tensor, concepts: Sequence[str]) -> Judgement:
        frames, nearest = sampled_frames(clip_FCHW)
        return judge_distances([self._distance(frame) for frame in frames], nearest, concepts)

    def _distance(self, frame_CHW: Tensor) -> float | None:
        """Distance of the frame's most similar face to the nearest photograph; None without a face."""
        pixels = (frame_CHW.clamp(0, 1) * 255).round().to(torch.uint8).permute(1, 2, 0).contiguous().numpy()
        faces_ND = self.network.describe(pixels)
        return float(torch.cdist(faces_ND, self.references_ND).min()) if len(faces_ND) else None


def judge_distances(distances: Sequence[float | None], nearest: Sequence[int], concepts: Sequence[str]) -> Judgement:
    """The judgement of a clip from the distances of its sampled frames; None for a frame without a face."""
    person = [distance is not None and distance < THRESHOLD for distance in distances]
    any_face = [distance is not None for distance in distances]
    seen = {concept: any_face if concept == A_FACE else person for concept in concepts}
    margins = [1.0 if d is None else min(1.0, abs(d - THRESHOLD) / THRESHOLD) for d in distances]
    return Judgement(
        shown={concept: any(found) for concept, found in seen.items()},
        frames={concept: spread(found, nearest) for concept, found in seen.items()},
        confidence=sum(margins) / len(margins),
    )


class FaceNetwork:
    """dlib's face finder, landmarks and recognition network."""

    def __init__(self, dlib: Any, models: Path) -> None:
        self.find = dlib.get_frontal_face_detector()
        self.landmarks = dlib.shape_predictor(str(models / "shape_predictor_5_face_landmarks.dat"))
        self.recognise = dlib.face_recognition_model_v1(str(models / "dlib_face_recognition_resnet_model_v1.dat"))

    @classmethod
    def installed(cls) -> FaceNetwork:
        """Raises UserError if one of the two packages is missing."""
        models = importlib.util.find_spec("face_recognition_models")
        if models is None or not models.submodule_search_locations or importlib.util.find_spec("dlib") is None:
            raise UserError("The face detector needs dlib and its weights: pip install dlib-bin face_recognition_models.")
        # The package is not imported: its __init__ needs a setuptools that newer Pythons lack.
        return cls(importlib.import_module("dlib"), Path(models.submodule_search_locations[0]) / "models")

    def describe(self, pixels_HWC: np.ndarray) -> Tensor:
        """Descriptors of all faces in an RGB image, (N, 128); the image is searched at twice its size to find small faces."""
        places = self.find(pixels_HWC, 1)
        found = [np.array(self.recognise.compute_face_descriptor(pixels_HWC, self.landmarks(pixels_HWC, p))) for p in places]
        return torch.from_numpy(np.stack(found)).float() if found else torch.zeros(0, 128)
