"""`t2vu unlearn-encoder`: make a model's text encoder forget a concept (few-shot encoder unlearning)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError
from torch import Tensor

from t2vu_core.commands.options import DTYPES, kept_on_interrupt, open_model, training_bar
from t2vu_core.commands.training import STOPPED, TrainingFiles, add_training, settings_of, told
from t2vu_core.errors import UserError
from t2vu_core.image_model import ImageModel, load_image_model
from t2vu_core.miniature.bundled import image_model_of
from t2vu_core.model import T2VModel
from t2vu_core.objectives.few_shot import OBJECTIVES
from t2vu_core.recipes import FewShotRecipe
from t2vu_core.training.few_shot.train import STOPPED as ENDED_EARLY
from t2vu_core.training.few_shot.train import unlearn_encoder

HELP = "make a model's text encoder forget a concept, from a few images"
NONE = "none"
IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Models, concept, shots, recipe and output."""
    add_training(parser, FewShotRecipe, log="keep the state here, so that a stopped training can be resumed")
    parser.add_argument(
        "--image-model", metavar="I",
        help="an image model that shares the text encoder (default: the bundled partner of a bundled model); none: the model "
        "itself is trained through, on single frames",
    )  # fmt: skip
    parser.add_argument("--images", metavar="DIR", help="a folder of images of the concept; without it they are generated")
    parser.add_argument("--shots", type=int, metavar="N", help="how many images are generated")
    parser.add_argument("--objective", choices=OBJECTIVES, help="what the encoder is trained for")


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train and write the unlearned encoder."""
    named = {"shots": options.shots, "objective": options.objective}
    settings = {**settings_of(options), **{key: value for key, value in named.items() if value is not None}}
    recipe, files = FewShotRecipe.preset(options.preset, **settings), TrainingFiles.of(options)
    images = None if options.images is None else read_images(Path(options.images))
    model = open_model(options)
    with training_bar() as bar, kept_on_interrupt(bar) as on_progress:
        erasure = unlearn_encoder(
            model, files.request(options), recipe, image_model=_image_model(options, model), images=images,
            log_folder=files.log_folder, on_progress=on_progress,
        )  # fmt: skip
    path = erasure.save(files.out)
    kept = (
        "seconds", "shot_seconds", "steps", "through", "shots", "remaining", "preserve_moved", "ended", "parameters", "warning",
    )  # fmt: skip
    return {
        "out": str(path),
        "bytes": path.stat().st_size,
        "concepts": list(erasure.concepts),
        "model": model.name,
        "encoder": erasure.encoder["components"] if erasure.encoder else None,
        **{key: erasure.training[key] for key in kept},
        "scores": None,
    }


def show(result: dict[str, Any]) -> str:
    """What was written."""
    stopped = STOPPED if result["ended"] == ENDED_EARLY else ""
    made = (
        f"a text encoder without {', '.join(map(repr, result['concepts']))}, {result['steps']} steps in {result['seconds']} s"
    )
    size = f"{result['bytes'] / 2**20:.1f} MiB"
    return told(f"{result['out']} ({size}): {made}, shots {result['shots']}.{stopped}", result["warning"])


def read_images(folder: Path) -> Tensor:
    """The images of a folder, (B, 3, H, W) in [0, 1], in the order of their names and the size of the first."""
    files = sorted(file for file in folder.glob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise UserError(f"There are no images in {folder}: it needs files that end in {', '.join(IMAGE_SUFFIXES)}.")
    images: list[Tensor] = []
    size = None
    for file in files:
        try:
            with Image.open(file) as opened:
                image = opened.convert("RGB")
        except (OSError, UnidentifiedImageError, Image.DecompressionBombError) as error:
            raise UserError(f"The image {file} cannot be read: {error}.") from error
        size = size or image.size
        pixels = np.array(image.resize(size, Image.Resampling.BICUBIC))
        images.append(torch.from_numpy(pixels).permute(2, 0, 1).float() / 255)
    return torch.stack(images)


def _image_model(options: argparse.Namespace, model: T2VModel) -> ImageModel | None:
    name = options.image_model or image_model_of(model.name) or NONE
    return None if name == NONE else load_image_model(name, dtype=DTYPES[options.dtype], device=model.family.device)
