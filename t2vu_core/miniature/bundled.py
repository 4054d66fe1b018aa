"""The miniatures that ship: their folders by name."""

from __future__ import annotations

from pathlib import Path

from t2vu_core.errors import UserError

WEIGHTS = Path(__file__).parent / "weights"
UNET_NAME = "miniature-unet"
LTX_NAME = "miniature-ltx"
IMAGE_MODELS = {"miniature-unet-image": UNET_NAME}
"""Image models by name, each with the video model in whose folder it lives: they share encoder, VAE and image UNet."""


def bundled_names() -> list[str]:
    """Names of the video models that ship with the package."""
    return sorted(folder.parent.name for folder in WEIGHTS.glob("*/model_index.json"))


def bundled_folder(name: str) -> Path | None:
    """The folder of a bundled video model, or None if there is none of that name."""
    return WEIGHTS / name if name in bundled_names() else None


def image_model_names() -> list[str]:
    """Names of the image models that ship with the package."""
    return sorted(name for name, video in IMAGE_MODELS.items() if video in bundled_names())


def image_model_of(name: str) -> str | None:
    """The image model whose text encoder a bundled video model shares, or None if it has none."""
    return next((image for image in image_model_names() if IMAGE_MODELS[image] == name), None)


def bundled_image_folder(name: str) -> Path | None:
    """The folder of a bundled image model by its own name or its video model's, or None if there is none."""
    video = IMAGE_MODELS.get(name, name)
    return bundled_folder(video) if image_model_of(video) else None


def check_built(name: str) -> None:
    """Raise UserError for a miniature that is known but whose weights are not in this copy of the package."""
    video = IMAGE_MODELS.get(name, name)
    if video in (UNET_NAME, LTX_NAME) and video not in bundled_names():
        raise UserError(
            f"The weights of {video} are not in this copy of the package; build them with "
            f"`t2vu miniature build --name {video}`."
        )
