"""`t2vu miniature build --name miniature-ltx`: builds in a work folder, and puts the result where the package ships it."""

from __future__ import annotations

import json
import logging
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from t2vu_core.erasure import atomic_path
from t2vu_core.errors import UserError
from t2vu_core.miniature.bundled import LTX_NAME, WEIGHTS
from t2vu_core.miniature.detector import detector_path
from t2vu_core.miniature.worlds import WORLD_64
from t2vu_core.miniature_build.build import prompt_set
from t2vu_core.miniature_build.ltx.assemble import assemble
from t2vu_core.miniature_build.ltx.build import Builder, copy_results
from t2vu_core.miniature_build.ltx.plan import LtxPlan
from t2vu_core.miniature_build.stages import new_folder, read_json

log = logging.getLogger(__name__)


def build_ltx(work: Path, plan: LtxPlan) -> None:
    """Run the stages that have no result in `work` yet; one that was interrupted goes on from its state."""
    builder = Builder(work, plan)
    builder.run(builder.bank)


def export_ltx(work: Path, out: Path = WEIGHTS) -> Path:
    """Put the finished parts into one folder under `out`, in half precision, and the detector next to it.

    Raises UserError if the denoiser's stage, or the detector's, has no result in `work`.
    """
    facts = read_json(work / "facts.json")
    missing = {"denoiser", "detector"} - set(facts.get("seconds", {}))
    if missing:
        raise UserError(f"The build in {work} is not finished: {', '.join(sorted(missing))} is missing. Build again.")
    with tempfile.TemporaryDirectory() as temporary:
        parts = Path(temporary) / "parts"
        copy_results(work, parts)
        install(parts, record(facts), out / LTX_NAME)
        with atomic_path(out / detector_path(WORLD_64).name) as target:
            shutil.copyfile(parts / "detector-64.safetensors", target)
    return out / LTX_NAME


def install(parts: Path, built: dict[str, Any], target: Path) -> None:
    """The model's folder from weights and tokenizer (see `assemble`), with its prompts and the record of its build."""
    with new_folder(target) as folder:
        assemble(parts, folder / "model")
        for path in (folder / "model").iterdir():
            path.rename(folder / path.name)
        (folder / "model").rmdir()
        (folder / "prompts.json").write_text(json.dumps(prompt_set(drawn=WORLD_64), indent=1), encoding="utf-8")
        (folder / "build.json").write_text(json.dumps(built, indent=1), encoding="utf-8")


def record(facts: dict[str, Any]) -> dict[str, Any]:
    """What a build found out, as the model card reads it."""
    machine = {"device": facts["device"], "torch": torch.__version__}
    built = {"plan": facts["plan"], "seconds": facts["seconds"], "machine": machine, "vae_psnr": facts.get("vae_psnr")}
    return built | ({"further": facts["further"]} if "further" in facts else {})
