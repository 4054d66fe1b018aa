"""`python -m t2vu_core.miniature_build.ltx.look --out FOLDER`: draws a sheet of `miniature-ltx` and judges its clips."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import torch
from diffusers import LTXPipeline

from t2vu_core.miniature.bundled import LTX_NAME, WEIGHTS
from t2vu_core.miniature.detector import detector_path, load_detector
from t2vu_core.miniature.worlds import WORLD_64
from t2vu_core.miniature_build.ltx.assemble import assemble
from t2vu_core.miniature_build.ltx.build import GUIDANCE_SCALE, STEPS
from t2vu_core.miniature_build.ltx.judge import draw_sheet, judge

log = logging.getLogger(__name__)


def main() -> None:
    """Write `sheet.png` to --out; log the shares of clips that show what their prompt says."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for the sheet")
    parser.add_argument("--stages", type=Path, help="folder with the results of a build; default: the bundled model")
    parser.add_argument("--guidance", type=float, nargs="+", default=[GUIDANCE_SCALE], help="guidance scales to judge")
    parser.add_argument("--steps", type=int, default=STEPS, help="denoising steps")
    parser.add_argument("--count", type=int, default=48, help="clips per kind of prompt")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    options.out.mkdir(parents=True, exist_ok=True)
    model = WEIGHTS / LTX_NAME
    if options.stages is not None:
        model = options.out / "model"
        assemble(options.stages, model)
    pipeline = LTXPipeline.from_pretrained(model).to(dtype=torch.float32)
    draw_sheet(pipeline, options.out / "sheet.png", guidance_scale=GUIDANCE_SCALE, steps=options.steps)
    detector = load_detector(detector_path(WORLD_64))
    for guidance in options.guidance:
        scores = judge(pipeline, detector, guidance_scale=guidance, steps=options.steps, count=options.count)
        log.info("guidance %g: %s", guidance, scores)


if __name__ == "__main__":
    main()
