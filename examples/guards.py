"""Compare the guards that need no training on one prompt: `python examples/guards.py`."""

from __future__ import annotations

import argparse
from pathlib import Path

import torch

from t2vu_core import load_model
from t2vu_core.guards import GUARDS, make_guard
from t2vu_core.video import enlarge, save_video

PROMPT = "a ghost moving left under a starry night"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="miniature", help="a bundled model or a diffusers folder")
    parser.add_argument("--out", type=Path, default=Path("guards.mp4"), help="the clip to write")
    parser.add_argument("--steps", type=int, default=None, help="denoising steps; the model's own by default")
    options = parser.parse_args()

    model = load_model(options.model)
    models = [model, *(model.with_guard(make_guard(name, ["ghost"])) for name in GUARDS)]
    clips = [each.sample(PROMPT, seeds=7, num_inference_steps=options.steps) for each in models]
    save_video(enlarge(torch.cat(clips, dim=-1)[0], 4), options.out, fps=model.family.defaults.fps)
    print(f"{options.out}: from left to right no guard, {', '.join(GUARDS)}")


if __name__ == "__main__":
    main()
