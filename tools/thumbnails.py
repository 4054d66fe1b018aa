"""Draws the thumbnails of the templates from what the bundled models make: `python -m tools.thumbnails`.

A template whose graph loads a bundled model has pictures of that model. Each template has a JPEG, which ComfyUI asks for, and
an animated WebP, which web/js/templates.js shows in its place.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from PIL import Image
from torch import Tensor

from t2vu_core import Erasure, T2VModel, load_model
from t2vu_core.image_model import ImageModel, load_image_model
from t2vu_core.miniature.bundled import LTX_NAME, UNET_NAME
from t2vu_core.model import AppliedErasure
from t2vu_core.recipes import FewShotRecipe, VelocityRecipe
from t2vu_core.text_encoders import encoder_sites
from t2vu_core.training.few_shot.train import unlearn_encoder
from t2vu_core.training.velocity.train import erase_velocity
from tools.demo_picture import card, still

WORKFLOWS = Path(__file__).resolve().parent.parent / "example_workflows"
PROMPTS = ["a ghost moving left against a sunset", "a cat moving right against a blue sky"]
SEEDS = [20_006, 20_005]
FRAME_MS = 125
IMAGE_PROMPTS = ["a ghost under a starry night", "a cat under a starry night"]
NAMED = {
    "erase_from_wan_2_1_1_3b": "Wan 2.1 1.3B",
    "erase_from_wan_2_2_a14b": "Wan 2.2 A14B",
    "erase_from_ltx_video": "LTX-Video",
    "erase_from_hunyuan_video": "HunyuanVideo",
}
"""Templates for models that are not at hand: the name, over clips of the bundled model that say so."""
STOCK = "stock nodes"
BUNDLED = ": bundled model"


def main(arguments: list[str] | None = None) -> None:
    """Sample the same seeds without and with an erasure of each method, write the pictures."""
    parser = argparse.ArgumentParser(prog="python -m tools.thumbnails", description=__doc__.split("\n")[0])
    parser.add_argument("--models", nargs="+", default=list(DRAWN), choices=list(DRAWN), help="whose pictures are drawn")
    parser.add_argument(
        "--eraser", type=Path, help="an eraser of the ghost from miniature (default: one is trained, preset quick)"
    )
    parser.add_argument(
        "--encoder", type=Path, help="an unlearned encoder of the ghost from miniature (default: one is trained, preset quick)"
    )
    options = parser.parse_args(arguments)
    for name in options.models:
        DRAWN[name](options)


def _miniature(options: argparse.Namespace) -> None:
    """The templates that load `miniature`, and those for models that are not at hand."""
    base = load_model("miniature")
    eraser = Erasure.load(options.eraser) if options.eraser else erase_velocity(base, "ghost", VelocityRecipe.preset("quick"))
    encoder = (
        Erasure.load(options.encoder) if options.encoder else unlearn_encoder(base, "ghost", FewShotRecipe.preset("quick"))
    )
    before, by_eraser, by_encoder = _pair(base), _pair(base.with_erasure(eraser)), _pair(base.with_erasure(encoder))
    _write("erase_a_concept", card({"before": before, "after": by_eraser}))
    _write("few_shot_encoder", card({"before": before, "after": by_encoder}))
    _write("both_methods_side_by_side", card({"before": before, "encoder": by_encoder, "eraser": by_eraser}))
    for name, title in NAMED.items():
        _write(name, card({"before": before, "after": by_eraser}, f"{title}{BUNDLED}"))


def _native(_: argparse.Namespace) -> None:
    """`erase_native`, with the preset of its graph."""
    base = load_model(LTX_NAME)
    eraser = erase_velocity(base, "ghost", VelocityRecipe.preset("balanced"))
    _write("erase_native", card({"before": _pair(base), "after": _pair(base.with_erasure(eraser))}, STOCK))


def _native_encoder(_: argparse.Namespace) -> None:
    """`erase_native_encoder`: images, as its graph makes them."""
    base = load_image_model(UNET_NAME)
    encoder = unlearn_encoder(None, "ghost", FewShotRecipe.preset("quick"), image_model=base)
    before = _stills(base)
    with base.lock, AppliedErasure(encoder, 1.0).attached(encoder_sites(base.text)):
        after = _stills(base)
    _write("erase_native_encoder", card({"before": before, "after": after}, STOCK))


DRAWN = {"miniature": _miniature, LTX_NAME: _native, UNET_NAME: _native_encoder}


def _pair(model: T2VModel) -> tuple[Tensor, Tensor]:
    with_concept, without = model.sample(PROMPTS, seeds=SEEDS)
    return with_concept, without


def _stills(model: ImageModel) -> tuple[Tensor, Tensor]:
    """An image of each prompt, as a clip of one frame."""
    with_concept, without = model.sample(IMAGE_PROMPTS, seeds=SEEDS)
    return with_concept[None], without[None]


def _write(name: str, frames: Sequence[Image.Image]) -> None:
    """The middle frame as JPEG, all frames as WebP."""
    still(frames).save(WORKFLOWS / f"{name}.jpg", quality=90)
    frames[0].save(WORKFLOWS / f"{name}.webp", save_all=True, append_images=frames[1:], duration=FRAME_MS, loop=0, quality=70)


if __name__ == "__main__":
    main()
