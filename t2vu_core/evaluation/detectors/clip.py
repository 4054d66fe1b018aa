"""Zero-shot detection of any words with a CLIP model from a local folder (Radford et al. 2021)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from t2vu_core.erasure import hash_tensors
from t2vu_core.errors import UserError, reading
from t2vu_core.evaluation.detectors.base import Accuracy, Judgement
from t2vu_core.evaluation.detectors.sampled_frames import sampled_frames, spread
from t2vu_core.model_folders import LOCAL, folder_problem

WITH = ("a photo of {}", "a picture of {}", "a frame of a video that shows {}")
WITHOUT = ("a photo", "a picture", "a frame of a video", "a photo of something else")


class ZeroShotDetector:
    """A frame shows a concept if it is closer to the sentences with it than to those without, at CLIP's own scale.

    Its accuracy depends on the concept and on the CLIP model, and is unknown. Try it on clips with known content first.
    """

    clean_prompts = None

    def __init__(self, model: Any, processor: Any, name: str) -> None:
        self.model, self.processor = model, processor
        weights = ((key, value.reshape(-1)) for key, value in sorted(model.state_dict().items()))
        self.name = f"clip {name} {hash_tensors(weights)[:12]}"

    @classmethod
    def from_folder(cls, folder: Path) -> ZeroShotDetector:
        """Load a CLIP model in the transformers format; raises UserError with the reason if that fails."""
        from transformers import CLIPModel, CLIPProcessor

        if not (folder / "config.json").is_file():
            raise UserError(f"{folder} holds no CLIP model (no config.json); name its folder as clip:FOLDER.")
        failure = f"The CLIP model in {folder} cannot be loaded"
        with reading(failure):
            problem = folder_problem(folder)
            if problem is not None:
                raise UserError(f"{failure}: {problem}.")
            model = CLIPModel.from_pretrained(folder, local_files_only=True, use_safetensors=True)
            processor = CLIPProcessor.from_pretrained(folder, **LOCAL)
        model = model.eval().requires_grad_(False)
        return cls(model, processor, folder.name)

    def known(self) -> tuple[str, ...]:
        return ()

    def resolve(self, concept: str) -> str | None:
        return " ".join(concept.split()) or None

    def accuracy(self, concept: str) -> Accuracy | None:
        return None

    @torch.no_grad()
    def judge(self, clips: Tensor, concepts: Sequence[str]) -> list[Judgement]:
        """At most eight frames of a clip are judged; the others get the result of the nearest."""
        judgements = []
        for clip in clips:
            frames, nearest = sampled_frames(clip)
            images = self._embed_images(frames)
            shares = {concept: self._shares(images, concept) for concept in concepts}
            sure = torch.stack([torch.maximum(share, 1 - share).mean() for share in shares.values()]).mean()
            judgements.append(
                Judgement(
                    shown={concept: bool(share.mean() > 0.5) for concept, share in shares.items()},
                    frames={concept: spread((share > 0.5).tolist(), nearest) for concept, share in shares.items()},
                    confidence=float(sure),
                )
            )
        return judgements

    def _shares(self, images_FD: Tensor, concept: str) -> Tensor:
        """Softmax share of the sentences with the concept, (F,)."""
        texts = [template.replace("{}", concept) for template in WITH]
        groups = [self._embed_texts(texts), self._embed_texts(list(WITHOUT))]
        likeness = torch.stack([(images_FD @ group.T).mean(1) for group in groups], 1)
        return (self.model.logit_scale.exp() * likeness).softmax(1)[:, 0]

    def _embed_images(self, frames_FCHW: Tensor) -> Tensor:
        inputs = self.processor(images=list(frames_FCHW), do_rescale=False, return_tensors="pt")
        return F.normalize(_features(self.model.get_image_features(**inputs)), dim=-1)

    def _embed_texts(self, texts: list[str]) -> Tensor:
        inputs = self.processor(text=texts, padding=True, truncation=True, return_tensors="pt")
        return F.normalize(_features(self.model.get_text_features(**inputs)), dim=-1)


def _features(output: Any) -> Tensor:
    """Newer versions of transformers return an object here, older ones the tensor."""
    return output if isinstance(output, Tensor) else output.pooler_output
