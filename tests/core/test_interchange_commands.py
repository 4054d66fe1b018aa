"""`t2vu export` and `t2vu import`, as a user types them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from t2vu_core.cli import main
from t2vu_core.erasure import Erasure
from t2vu_core.errors import UserError
from t2vu_core.interchange.clip_objects import clip_encoders
from t2vu_core.interchange.encoder_files import clip_names, export_encoder
from tests.core.safe_torch import opens_released
from tests.core.test_interchange_import import release
from tests.core.tiny_few_shot import ghostless
from tests.core.tiny_models import TINY_MODELS


def test_export_writes_the_file_and_names_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    erasure = str(TINY_MODELS["wan-2.1"].random_erasure("lora").save(tmp_path / "ghost"))
    out = tmp_path / "ghost-comfyui.safetensors"
    assert main(["export", erasure, "--format", "comfyui", "--out", str(out), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out)
    assert answer["out"] == [str(out)]
    assert "diffusion_model.blocks.0.cross_attn.q.lora_A.weight" in load_file(out)
    assert main(["export", erasure, "--format", "comfyui", "--out", str(tmp_path / "c")]) == 0
    assert "In fp8 models merging rounds a small change away: --model measures it" in capsys.readouterr().out
    assert main(["export", erasure, "--format", "diffusers", "--out", str(tmp_path / "d")]) == 0
    assert "fp8" not in capsys.readouterr().out
    assert "transformer.blocks.0.attn2.to_q.lora_A.weight" in load_file(tmp_path / "d.safetensors")


def test_export_of_a_bottleneck_says_what_to_do(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    erasure = str(TINY_MODELS["wan-2.1"].random_erasure("bottleneck").save(tmp_path / "ghost"))
    assert main(["export", erasure, "--format", "comfyui", "--out", str(tmp_path / "x")]) == 2
    assert "LoRA kind" in capsys.readouterr().err
    assert not (tmp_path / "x.safetensors").exists()


SITE = "text_encoder.encoder.block.0.layer.1.DenseReluDense.wo"


@pytest.mark.parametrize(
    ("tensors", "hint"),
    [
        ({"foo": (2, 2)}, "foo"),
        ({"text_encoder_9.encoder.wo.delta.weight": (2, 2)}, "which is no layer of text_encoder"),
        ({"text_encoder.delta.weight": (2, 2)}, "which is no layer of text_encoder"),
        ({}, "holds no tensors"),
        ({f"{SITE}.lora_A.weight": (2, 2)}, "lora_B.weight is missing"),
        ({f"{SITE}.delta.weight": (2,)}, "do not form a set of erasers"),
        ({f"{SITE}.delta.weight": (2, 2), f"{SITE}.delta.scale": (1,)}, "do not form a set of erasers"),
        (
            {
                f"{SITE}.{name}": size
                for name, size in zip(
                    ("down.weight", "down.bias", "up.weight", "up.bias"), ((1, 2), (1,), (2, 1), (2,)), strict=True
                )
            },
            "by a bottleneck",
        ),
    ],
    ids=["no layer", "no such encoder", "an encoder and no layer", "nothing", "half", "1-D", "more", "bottleneck"],
)
def test_an_encoder_file_that_is_odd_is_refused_in_one_sentence_and_nothing_is_written(
    tensors: dict[str, tuple[int, ...]], hint: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    odd = dataclasses.replace(ghostless(), tensors={name: torch.ones(size) for name, size in tensors.items()})
    file = odd.save(tmp_path / "odd")
    capsys.readouterr()
    assert main(["export", str(file), "--format", "comfyui", "--out", str(tmp_path / "out")]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("t2vu:")]
    assert len(said) == 1
    assert hint in said[0]
    assert list(tmp_path.iterdir()) == [file]
    with pytest.raises(UserError, match=hint):
        clip_encoders(odd, {}, allow_other_base=True)


def test_an_encoder_file_that_does_not_say_its_kind_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = dict(ghostless().encoder or {})
    told["components"] = {"text_encoder": {**told["components"]["text_encoder"], "kind": ["t5"]}}
    file = dataclasses.replace(ghostless(), encoder=told).save(tmp_path / "odd")
    assert main(["export", str(file), "--format", "comfyui", "--out", str(tmp_path / "out")]) == 2
    assert "does not state the kind and size" in capsys.readouterr().err


@pytest.mark.parametrize(("width", "name"), [(768, "clip_l"), (1024, "clip_h"), (1280, "clip_g")])
def test_a_clip_encoder_has_comfyuis_name_for_its_width(width: int, name: str) -> None:
    told = dict(ghostless().encoder or {})
    told["components"] = {"text_encoder": {**told["components"]["text_encoder"], "kind": "clip", "width": width}}
    assert clip_names(dataclasses.replace(ghostless(), encoder=told)) == {"text_encoder": name}


def test_factors_that_would_be_no_smaller_leave_the_change_whole(tmp_path: Path) -> None:
    change = torch.randn(4, 6, generator=torch.Generator().manual_seed(0))
    erasure = dataclasses.replace(ghostless(), tensors={f"{SITE}.delta.weight": change})
    whole = export_encoder(erasure, tmp_path / "whole", rank=4)
    assert whole.error == 0
    ((name, kept),) = load_file(whole.file).items()
    assert name.endswith(".diff")
    assert torch.equal(kept, change)
    halves = export_encoder(erasure, tmp_path / "halves", rank=2)
    assert {name.rsplit(".", 2)[1] for name in load_file(halves.file)} == {"lora_A", "lora_B"}
    assert 0 < halves.error < 1
    with pytest.raises(UserError, match="at least 1, not 0"):
        export_encoder(erasure, tmp_path / "none", rank=0)
    assert not (tmp_path / "none.safetensors").exists()


@opens_released
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


@opens_released
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
