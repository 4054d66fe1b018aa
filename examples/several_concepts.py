"""Erase two concepts with one LoRA eraser, in your own words, and export it: `python examples/several_concepts.py`."""

from __future__ import annotations

import argparse
from pathlib import Path

from t2vu_core import ConceptRequest, VelocityRecipe, erase_velocity, load_model
from t2vu_core.interchange import export_lora


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="miniature", help="a bundled model or a diffusers folder")
    parser.add_argument("--out", type=Path, default=Path("several_concepts"), help="folder for the eraser")
    parser.add_argument("--steps", type=int, default=100, help="training steps")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)

    request = ConceptRequest(
        concepts=("ghost", "in noir style"),
        concept_prompts=("two ghosts dance in a castle hall", "a rainy street in noir style"),
        preserve_prompts=("a bed sheet on a line", "a street at noon"),
    )
    recipe = VelocityRecipe.preset("quick", kind="lora", steps=options.steps)
    eraser = erase_velocity(load_model(options.model), request, recipe)
    print(eraser.save(options.out / "ghost_noir.safetensors"))
    for path in export_lora(eraser, options.out / "ghost_noir_lora.safetensors", layout="comfyui"):
        print(f"{path}: for Load LoRA on ComfyUI's own model")


if __name__ == "__main__":
    main()
