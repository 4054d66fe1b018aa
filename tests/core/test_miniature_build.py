"""The first miniature's build."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import load_file

from t2vu_core.miniature.build import NAME, BuildPlan, train_further
from t2vu_core.miniature.bundled import WEIGHTS
from t2vu_core.model import load_model


def test_a_miniature_that_is_trained_further_keeps_its_vae_and_says_how_long(tmp_path: Path) -> None:
    shutil.copytree(WEIGHTS / NAME, tmp_path / NAME)
    train_further(tmp_path, BuildPlan(num_clips=8), minutes=0.001, out=tmp_path)
    changed = {
        part: any(not torch.equal(tensor, before[name]) for name, tensor in load_file(file).items())
        for part in ("vae", "transformer", "text_encoder")
        for file in (tmp_path / NAME / part).glob("*.safetensors")
        for before in [load_file(WEIGHTS / NAME / part / file.name)]
    }
    assert changed == {"vae": False, "transformer": True, "text_encoder": True}
    installed, own = (json.loads((folder / NAME / "build.json").read_text()) for folder in (WEIGHTS, tmp_path))
    assert own == {**installed, "further_minutes": [*installed.get("further_minutes", []), 0.001]}
    scales = [load_model(str(folder / NAME)).family.pipeline.vae.config.scaling_factor for folder in (WEIGHTS, tmp_path)]
    assert scales[0] == scales[1]
    assert (tmp_path / NAME / "prompts.json").is_file()
