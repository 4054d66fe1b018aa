"""The parts of ComfyUI that the nodes use: progress and cancel, devices, model and output folders."""

from .copies import warn_of_copies
from .devices import default_dtype, device, enough_memory, make_room, outside_inference_mode
from .files import (
    LORA_FOLDERS,
    default_name,
    erasure_file,
    erasure_name,
    erasure_names,
    evaluation_folder,
    lora_name,
    new_erasure_file,
    new_lora_file,
    temporary_folder,
    unfinished_runs,
)
from .folders import register_folders
from .models import (
    detector_in_folders,
    fingerprint,
    image_model_folder,
    image_model_names,
    language_model_folder,
    language_model_names,
    model_folder,
    model_names,
)
from .numbers import check_strength
from .progress import Cancelled, Paused, Progress, cancel_the_rest, pausing, take_cancel

__all__ = [
    "LORA_FOLDERS",
    "Cancelled",
    "Paused",
    "Progress",
    "cancel_the_rest",
    "check_strength",
    "default_dtype",
    "default_name",
    "detector_in_folders",
    "device",
    "enough_memory",
    "erasure_file",
    "erasure_name",
    "erasure_names",
    "evaluation_folder",
    "fingerprint",
    "image_model_folder",
    "image_model_names",
    "language_model_folder",
    "language_model_names",
    "lora_name",
    "make_room",
    "model_folder",
    "model_names",
    "new_erasure_file",
    "new_lora_file",
    "outside_inference_mode",
    "pausing",
    "register_folders",
    "take_cancel",
    "temporary_folder",
    "unfinished_runs",
    "warn_of_copies",
]
