"""The image files that a user gives, read within limits of number, size and memory."""

from __future__ import annotations

import logging
import math
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from t2vu_core.errors import UserError, reading
from t2vu_core.input_files import check_regular

log = logging.getLogger(__name__)

IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp")
MOST_IMAGES = 1000
MOST_PIXELS = 100_000_000
"""Of one image file."""
MOST_TOGETHER = 64 * 2**20
"""Pixels of all images of a folder after they are resized: 768 MiB."""


def image_files(folder: Path) -> list[Path]:
    """The image files of a folder by name. Raises UserError if there are none or too many."""
    files = sorted(file for file in folder.glob("*") if file.suffix.lower() in IMAGE_SUFFIXES)
    if not files:
        raise UserError(f"There are no images in {folder}: add files that end in {', '.join(IMAGE_SUFFIXES)}.")
    check_count(len(files), f"{folder} holds")
    return files


def check_count(count: int, where: str) -> None:
    """Raise UserError for too many images; `where` is the start of the sentence."""
    if count > MOST_IMAGES:
        raise UserError(f"{where} {count} images; at most {MOST_IMAGES} are read, and a few are enough.")


def read_images(folder: Path) -> Tensor:
    """The images of a folder, (B, 3, H, W) in [0, 1], sorted by name and resized to the size of the first.

    If they would fill the memory at that size, to a smaller one of the same shape. Raises UserError for an image that
    cannot be read.
    """
    files = image_files(folder)
    size = _common_size(read_image(files[0]).size, len(files))
    pixels = torch.empty(len(files), 3, size[1], size[0])
    for row, file in zip(pixels, files, strict=True):
        row.copy_(torch.from_numpy(np.array(read_image(file).resize(size, Image.Resampling.BICUBIC))).permute(2, 0, 1))
    return pixels.div_(255)


def read_image(file: Path) -> Image.Image:
    """An image file in RGB. Raises UserError if it is damaged, too large, or not a regular file."""
    failure = f"The image {file} cannot be read"
    check_regular(file, failure)
    with reading(failure), Image.open(file) as opened:
        if math.prod(opened.size) > MOST_PIXELS:
            width, height = opened.size
            raise UserError(f"{failure}: {width} x {height} pixels are too many; make it smaller.")
        return opened.convert("RGB")


def _common_size(first: tuple[int, int], count: int) -> tuple[int, int]:
    """The size of the first image, or one of the same shape at which `count` images fit into the memory."""
    share = math.sqrt(MOST_TOGETHER / (math.prod(first) * count))
    if share >= 1:
        return first
    width, height = (max(1, int(length * share)) for length in first)
    log.warning(
        "The first image has %d x %d pixels, and all %d are resized to its size; %d x %d is used.", *first, count, width, height
    )
    return width, height
