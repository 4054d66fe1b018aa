"""Draws the thumbnails of the templates from clips of the miniature: `python -m tools.thumbnails`.

That of *erase_a_concept* is the card that `./run demo` leaves.
"""

from __future__ import annotations

from pathlib import Path

from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

from t2vu_core import T2VModel, load_model
from t2vu_core.recipes import FewShotRecipe, VelocityRecipe
from t2vu_core.training.few_shot.train import unlearn_encoder
from t2vu_core.training.velocity.train import erase_velocity
from tools.demo_picture import INK, MUTED, PAPER, card

WORKFLOWS = Path(__file__).resolve().parent.parent / "example_workflows"
PROMPTS = ["a ghost moving left against a sunset", "a cat moving right against a blue sky"]
SEEDS = [20_006, 20_005]
SIZE = (624, 660)
LOADED = "ComfyUI's own files; not run here"
NAMED = {
    "erase_from_wan_2_1_1_3b": "Wan 2.1 1.3B",
    "erase_from_wan_2_2_a14b": "Wan 2.2 A14B",
    "erase_from_ltx_video": "LTX-Video",
    "erase_from_hunyuan_video": "HunyuanVideo",
}


def main() -> None:
    """Train one erasure of each method, sample the same seeds, write the pictures."""
    base = load_model("miniature")
    encoder = base.with_erasure(unlearn_encoder(base, "ghost", FewShotRecipe.preset("quick")))
    eraser = base.with_erasure(erase_velocity(base, "ghost", VelocityRecipe.preset("quick")))
    before, by_encoder, by_eraser = _pair(base), _pair(encoder), _pair(eraser)
    cards = {
        "few_shot_encoder": {"before": before, "after": by_encoder},
        "both_methods_side_by_side": {"before": before, "unlearned encoder": by_encoder, "eraser": by_eraser},
    }
    for name, columns in cards.items():
        card(columns).save(WORKFLOWS / f"{name}.jpg", quality=90)
    for name, title in NAMED.items():
        named(title).save(WORKFLOWS / f"{name}.jpg", quality=90)
    named("your own MODEL", "on the bundled model, with stock nodes").save(WORKFLOWS / "erase_native.jpg", quality=90)


def named(title: str, below: str = LOADED) -> Image.Image:
    """For a template of a model that is not at hand: its name, and no picture that it has not drawn."""
    picture = Image.new("RGB", SIZE, PAPER)
    draw = ImageDraw.Draw(picture)
    for text, size, y, colour in (("Erase a concept from", 34, 230, MUTED), (title, 62, 290, INK), (below, 26, 400, MUTED)):
        font = ImageFont.load_default(size=size)
        draw.text(((SIZE[0] - draw.textlength(text, font=font)) / 2, y), text, font=font, fill=colour)
    return picture


def _pair(model: T2VModel) -> tuple[Tensor, Tensor]:
    with_concept, without = model.sample(PROMPTS, seeds=SEEDS)
    return with_concept, without


if __name__ == "__main__":
    main()
