"""`python -m t2vu_core.miniature_build.ltx.look --out FOLDER`: assembles the trained stages, draws a sheet and judges clips."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch
from diffusers import LTXPipeline

from t2vu_core.miniature.detector import detector_path, load_detector
from t2vu_core.miniature.worlds import WORLD_64
from t2vu_core.miniature_build.ltx.assemble import assemble
from t2vu_core.miniature_build.ltx.build import GUIDANCE_SCALE, STEPS
from t2vu_core.miniature_build.ltx.judge import draw_sheet, judge

STAGES = Path(__file__).parent / "stages"
log = logging.getLogger(__name__)


def main() -> None:
    """Write the model's folder and `sheet.png` to --out; log the shares of clips that show what their prompt says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the model and the sheet")
    parser.add_argument("--stages", type=Path, default=STAGES, help="folder with the trained weights and tokenizer.json")
    parser.add_argument("--guidance", type=float, nargs="+", default=[GUIDANCE_SCALE], help="guidance scales to judge")
    parser.add_argument("--count", type=int, default=48, help="clips per kind of prompt")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    assemble(options.stages, options.out / "model")
    pipeline = LTXPipeline.from_pretrained(options.out / "model").to(dtype=torch.float32)
    draw_sheet(pipeline, options.out / "sheet.png", guidance_scale=GUIDANCE_SCALE, steps=STEPS)
    detector = load_detector(detector_path(WORLD_64))
    for guidance in options.guidance:
        scores = judge(pipeline, detector, guidance_scale=guidance, steps=STEPS, count=options.count)
        log.info("guidance %g: %s", guidance, scores)


if __name__ == "__main__":
    main()
