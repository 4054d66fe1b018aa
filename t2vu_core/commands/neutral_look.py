"""The neutral check of the commands that train: its options, its picture, and what it changes in the order."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path
from typing import Any

from PIL import Image

from t2vu_core.commands.concept_options import request_of
from t2vu_core.commands.progress_bars import note, training_bar
from t2vu_core.commands.training import TrainingOrder
from t2vu_core.erasure import Erasure, atomic_path
from t2vu_core.evaluation.detectors import open_detector
from t2vu_core.evaluation.neutral_check import NeutralCheck, check_neutral
from t2vu_core.evaluation.neutral_source import AnyRecipe
from t2vu_core.image_model import ImageModel
from t2vu_core.model import T2VModel
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.video import enlarge, to_uint8

NEUTRAL_PICTURE, SHEET_HEIGHT = "neutral_check.png", 768


def add_neutral_check(parser: argparse.ArgumentParser) -> None:
    """Whether, and by what, the clips of the neutral prompts are judged."""
    parser.add_argument("--check-only", action="store_true",
                        help="only look at what takes the concept's place: a few clips of the neutral prompts")  # fmt: skip
    parser.add_argument("--no-check", action="store_true", help="train without that look")
    parser.add_argument(
        "--detector", metavar="D", help="what judges those clips, for example clip:FOLDER (default: the bundled models' own)"
    )


def checked_order(
    model: T2VModel, order: TrainingOrder, recipe: AnyRecipe, options: argparse.Namespace, through: ImageModel | None = None
) -> tuple[TrainingOrder, NeutralCheck | None]:
    """The order with the replacement that can be drawn, and what was seen; with `--no-check` the order as it was."""
    if options.no_check:
        return order, None
    check = _look(model, order.request, recipe, options, through)
    note(check.message)
    if order.log_folder is not None:
        _save_sheet(check, order.log_folder)
    return dataclasses.replace(order, request=check.request), check


def noted(erasure: Erasure, check: NeutralCheck | None) -> Erasure:
    """The erasure with what was found, if anything was looked at."""
    return erasure if check is None else check.noted_in(erasure)


def check_only(
    model: T2VModel, recipe: AnyRecipe, options: argparse.Namespace, through: ImageModel | None = None
) -> dict[str, Any]:
    """Look at the neutral prompts and train nothing; the picture goes into `--log`."""
    check = _look(model, request_of(options), recipe, options, through)
    picture = _save_sheet(check, Path(options.log)) if options.log else None
    return {**check.describe(), "picture": picture and str(picture)}


def show_check(result: dict[str, Any]) -> str:
    """What `check_only` found."""
    return "\n".join(filter(None, (result["message"], result["picture"])))


def _look(
    model: T2VModel, request: ConceptRequest, recipe: AnyRecipe, options: argparse.Namespace, through: ImageModel | None
) -> NeutralCheck:
    detector = open_detector(options.detector, model) if options.detector else None
    with training_bar() as on_progress:
        return check_neutral(model, request, recipe, through=through, detector=detector, on_progress=on_progress)


def _save_sheet(check: NeutralCheck, folder: Path) -> Path:
    sheet = check.sheet()
    picture = Image.fromarray(to_uint8(enlarge(sheet[None], max(1, SHEET_HEIGHT // sheet.shape[-2])))[0])
    with atomic_path(folder / NEUTRAL_PICTURE) as temporary:
        picture.save(temporary)
    return folder / NEUTRAL_PICTURE
