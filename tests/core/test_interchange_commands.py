"""`t2vu export` and `t2vu import`, as a user types them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from safetensors.torch import load_file

from t2vu_core.cli import main
from t2vu_core.erasure import Erasure
from tests.core.test_interchange_import import release
from tests.core.tiny_models import TINY_MODELS


def test_export_writes_the_file_and_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    erasure = str(TINY_MODELS["wan-2.1"].random_erasure("lora").save(tmp_path / "ghost"))
    out = tmp_path / "ghost-comfyui.safetensors"
    assert main(["export", erasure, "--format", "comfyui", "--out", str(out), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["out"] == [str(out)]
    assert "diffusion_model.blocks.0.cross_attn.q.lora_A.weight" in load_file(out)
    assert main(["export", erasure, "--format", "diffusers", "--out", str(tmp_path / "d")]) == 0
    assert "transformer.blocks.0.attn2.to_q.lora_A.weight" in load_file(tmp_path / "d.safetensors")


def test_export_of_a_bottleneck_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    erasure = str(TINY_MODELS["wan-2.1"].random_erasure("bottleneck").save(tmp_path / "ghost"))
    assert main(["export", erasure, "--format", "comfyui", "--out", str(tmp_path / "x")]) == 2
    assert "LoRA kind" in capsys.readouterr().err
    assert not (tmp_path / "x.safetensors").exists()


def test_a_folder_is_no_file_to_write(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "here"
    erasure = str(TINY_MODELS["wan-2.1"].random_erasure("lora").save(tmp_path / "ghost"))
    released = str(release(TINY_MODELS["cogvideox-2b"], tmp_path / "nudity"))
    folder.mkdir()
    before = sorted(tmp_path.rglob("*"))
    for command in (["export", erasure, "--format", "comfyui"], ["import", released]):
        assert main([*command, "--out", str(folder)]) == 2
        assert "here is a folder; name the file to write" in capsys.readouterr().err
    assert sorted(tmp_path.rglob("*")) == before


def test_import_converts_a_release(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny = TINY_MODELS["cogvideox-2b"]
    folder = release(tiny, tmp_path / "nudity")
    out = tmp_path / "imported.safetensors"
    assert main(["import", str(folder), "--out", str(out), "--model", str(tiny.folder), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["base_known"]
    assert answer["concepts"] == ["nudity"]
    assert Erasure.load(out).base == tiny.model.base
    assert main(["import", str(folder), "--out", str(out), "--concept", "blood"]) == 0
    assert "--allow-other-base" in capsys.readouterr().out
    assert main(["import", str(tmp_path / "nowhere"), "--out", str(out)]) == 2
