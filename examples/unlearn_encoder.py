"""Unlearn "ghost" in the text encoder, and export it for ComfyUI's Load LoRA: `python examples/unlearn_encoder.py`."""

from __future__ import annotations

import argparse
from pathlib import Path

from t2vu_core import FewShotRecipe, load_model, unlearn_encoder
from t2vu_core.interchange import export_encoder


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="miniature", help="a bundled model or a diffusers folder")
    parser.add_argument("--out", type=Path, default=Path("unlearn_encoder"), help="folder for the encoder")
    parser.add_argument("--steps", type=int, default=60, help="maximum number of training steps")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    model = load_model(options.model)
    encoder = unlearn_encoder(model, "ghost", FewShotRecipe.preset("quick", steps=options.steps))
    print(
        f"{encoder.save(options.out / 'ghost_encoder.safetensors')}: {encoder.training['remaining']:.0%} of the effect remains"
    )
    exported = export_encoder(encoder, options.out / "ghost_encoder_lora.safetensors")
    print(f"{exported.file}: for Load LoRA on ComfyUI's own CLIP")


if __name__ == "__main__":
    main()
