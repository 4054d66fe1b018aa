"""`t2vu unlearn-encoder`: train a text encoder until it no longer represents a concept (few-shot unlearning)."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from t2vu_core.commands.neutral_look import add_neutral_check, check_only, checked_order, noted, show_check
from t2vu_core.commands.options import DTYPES, open_model
from t2vu_core.commands.progress_bars import kept_on_interrupt, training_bar
from t2vu_core.commands.training import TrainingOrder, add_training, closing_message, settings_of
from t2vu_core.image_files import read_images
from t2vu_core.image_model import ImageModel, load_image_model
from t2vu_core.miniature.bundled import image_model_of
from t2vu_core.model import T2VModel
from t2vu_core.objectives.few_shot import OBJECTIVES
from t2vu_core.recipes import FewShotRecipe
from t2vu_core.training.few_shot.train import STOPPED, unlearn_encoder

HELP = "train the text encoder, from a few images, until it no longer represents a concept"
NONE = "none"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Models, concept, shots, recipe and output."""
    add_training(parser, FewShotRecipe, log="folder for the state, to resume from")
    parser.add_argument(
        "--image-model", metavar="I",
        help="a Stable Diffusion folder that shares the text encoder, for fast training; none: the video model itself, on "
        "single frames (default: the bundled partner of a bundled model, else none)",
    )  # fmt: skip
    parser.add_argument("--images", metavar="DIR", help="a folder of images of the concept (default: they are generated)")
    parser.add_argument("--shots", type=int, metavar="N", help="number of images to generate (default: the preset's)")
    parser.add_argument("--objective", choices=OBJECTIVES, help="what the encoder is trained for (default: negative_guidance)")
    add_neutral_check(parser)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train and write the unlearned encoder."""
    named = {"shots": options.shots, "objective": options.objective}
    settings = {**settings_of(options), **{key: value for key, value in named.items() if value is not None}}
    recipe = FewShotRecipe.preset(options.preset, **settings)
    order = None if options.check_only else TrainingOrder.of(options)
    images = None if options.images is None else read_images(Path(options.images))
    model = open_model(options)
    image_model = _image_model(options, model)
    if order is None:
        return check_only(model, recipe, options, image_model)
    order, check = checked_order(model, order, recipe, options, image_model)
    with training_bar() as bar, kept_on_interrupt(bar) as on_progress:
        erasure = unlearn_encoder(
            model, order.request, recipe, image_model=image_model, images=images,
            log_folder=order.log_folder, on_progress=on_progress,
        )  # fmt: skip
    path = order.save(noted(erasure, check))
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
        "log": order.log_folder and str(order.log_folder),
        "scores": None,
        "neutral_check": check and check.describe(),
    }


def show(result: dict[str, Any]) -> str:
    """What was written, or what the neutral check found."""
    if "tried" in result:
        return show_check(result)
    file, concepts = f"{result['out']} ({result['bytes'] / 2**20:.1f} MiB)", ", ".join(map(repr, result["concepts"]))
    trained = f"{result['steps']} steps in {result['seconds']} s, shots {result['shots']}"
    made = f"{file}: a text encoder without {concepts}, {trained}."
    return closing_message(made, stopped=result["ended"] == STOPPED, log=result["log"], warning=result["warning"])


def _image_model(options: argparse.Namespace, model: T2VModel) -> ImageModel | None:
    """The model of `--image-model`; None to train through the video model."""
    name = options.image_model or image_model_of(model.name) or NONE
    return None if name == NONE else load_image_model(name, dtype=DTYPES[options.dtype], device=model.family.device)
