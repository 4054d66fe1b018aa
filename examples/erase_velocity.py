"""Erase "ghost" with velocity erasing, and save clips before and after: `python examples/erase_velocity.py`."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from t2vu_core import VelocityRecipe, erase_velocity, load_model
from t2vu_core.video import enlarge, save_video

PROMPTS = ["a ghost moving left under a starry night", "a cat moving left under a starry night"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="miniature", help="a bundled model or a diffusers folder")
    parser.add_argument("--out", type=Path, default=Path("erase_velocity"), help="folder for the eraser and the clips")
    parser.add_argument("--steps", type=int, default=100, help="training steps")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    model = load_model(options.model)
    eraser = erase_velocity(model, "ghost", VelocityRecipe.preset("quick", steps=options.steps))
    eraser.save(options.out / "ghost.safetensors")

    before = model.sample(PROMPTS, seeds=7)
    after = model.with_erasure(eraser).sample(PROMPTS, seeds=7)
    for prompt, pair in zip(PROMPTS, torch.cat([before, after], dim=-1), strict=True):
        path = options.out / f"{prompt.split()[1]}.mp4"
        save_video(enlarge(pair, 4), path, fps=model.family.defaults.fps)
        print(f"{path}: left before, right after")


if __name__ == "__main__":
    main()
