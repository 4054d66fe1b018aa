"""Erasers on ComfyUI's own MODEL, CLIP and VAE: where they sit in its denoisers, how they are trained, and how applied."""

from .apply import Part, with_eraser
from .encoder import with_encoder
from .from_comfyui import Sampled, model_from_comfyui, words_of
from .identity import said_of, same_weights
from .image_model import ImageSettings, image_model_from_comfyui, shots_of
from .merging import merged_into
from .origin import remember_folder
from .schedule import SCHEDULERS

__all__ = [
    "SCHEDULERS",
    "ImageSettings",
    "Part",
    "Sampled",
    "image_model_from_comfyui",
    "merged_into",
    "model_from_comfyui",
    "remember_folder",
    "said_of",
    "same_weights",
    "shots_of",
    "with_encoder",
    "with_eraser",
    "words_of",
]
