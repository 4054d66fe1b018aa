"""`t2vu unlearn-encoder`, and what becomes of its files in `sample`, `inspect` and `export`."""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.torch import load_file

from t2vu_core.erasure import Erasure
from t2vu_core.recipes import PRESETS, FewShotRecipe
from tests.core.tiny_few_shot import twin
from tests.core.tiny_models import TINY_MODELS
from tools.comfyui.server import REPOSITORY

VIDEO = TINY_MODELS["animatediff"]
FEW = ["shot_steps=2", "prompts=4", "preserve_prompts=2", "steps=3", "batch=2", "preserve_batch=2", "stop_at=-100"]


def unlearn(t2vu: Callable, out: Path, *more: object) -> tuple[int, str, str]:
    settings = [part for setting in FEW for part in ("--method-option", setting)]
    model = ["--model", VIDEO.folder, "--image-model", twin() and VIDEO.folder.parent / "image-twin", "--device", "cpu"]
    return t2vu(
        "unlearn-encoder", *model, "--concept", "ghost", "--out", out, "--preset", "quick", "--shots", 1, *settings, *more
    )


def test_the_file_is_inspected_sampled_with_and_exported(t2vu: Callable, tmp_path: Path) -> None:
    code, out, error = unlearn(t2vu, tmp_path / "ghost", "--json")
    assert code == 0, error
    told = json.loads(out)
    file = Path(told["out"])
    assert told["bytes"] == file.stat().st_size
    assert told["encoder"]["text_encoder"]["kind"] == "clip"
    code, out, _ = t2vu("inspect", file)
    assert "unlearned text encoder" in out
    assert "image-twin (clip)" in out
    sample = ["--prompt", "a ghost", "--steps", 1, "--num-frames", 4, "--height", 16, "--width", 16, "--device", "cpu"]
    code, out, error = t2vu(
        "sample", "--model", VIDEO.folder, *sample, "--erasure", file, "--out", tmp_path / "a.webp", "--json"
    )
    assert code == 0, error
    assert json.loads(out)["erased"] == ["ghost"]
    code, out, error = t2vu("export", file, "--format", "comfyui", "--out", tmp_path / "lora")
    assert code == 0, error
    assert "exact" in out


def test_a_folder_of_images_is_the_shots(t2vu: Callable, tmp_path: Path) -> None:
    (tmp_path / "shots").mkdir()
    for index, size in enumerate([(20, 30), (31, 17)]):
        Image.new("RGB", size, (200, 40 * index, 0)).save(tmp_path / "shots" / f"{index}.png")
    code, out, error = unlearn(t2vu, tmp_path / "ghost", "--images", tmp_path / "shots", "--objective", "anchor", "--json")
    assert code == 0, error
    assert json.loads(out)["shots"] == "given"
    assert Erasure.load(tmp_path / "ghost.safetensors").recipe["objective"] == "anchor"


def test_a_stopped_training_goes_on_with_resume(t2vu: Callable, tmp_path: Path) -> None:
    assert unlearn(t2vu, tmp_path / "a", "--log", tmp_path / "log")[0] == 0
    code, _, error = unlearn(t2vu, tmp_path / "a", "--log", tmp_path / "log")
    assert code == 2
    assert "--resume" in error
    assert unlearn(t2vu, tmp_path / "b", "--log", tmp_path / "log", "--resume")[0] == 0
    first, second = (Erasure.load(tmp_path / f"{name}.safetensors").tensors for name in "ab")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_the_export_holds_the_change_under_comfyuis_names_and_low_rank_factors_say_their_error(
    t2vu: Callable, tmp_path: Path
) -> None:
    unlearn(t2vu, tmp_path / "ghost")
    erasure = Erasure.load(tmp_path / "ghost.safetensors")
    t2vu("export", tmp_path / "ghost.safetensors", "--format", "comfyui", "--out", tmp_path / "whole")
    whole = load_file(tmp_path / "whole.safetensors")
    fc1 = "text_encoders.clip_l.transformer.text_model.encoder.layers.0.mlp.fc1"
    assert torch.equal(whole[f"{fc1}.diff"], erasure.tensors["text_encoder.encoder.layers.0.mlp.fc1.delta.weight"])
    assert torch.equal(whole[f"{fc1}.diff_b"], erasure.tensors["text_encoder.encoder.layers.0.mlp.fc1.delta.bias"])
    errors = []
    for rank in (1, 8, 32):
        out = tmp_path / f"rank{rank}"
        code, told, _ = t2vu(
            "export", tmp_path / "ghost.safetensors", "--format", "comfyui", "--rank", rank, "--out", out, "--json"
        )
        assert code == 0
        errors.append(json.loads(told)["error"])
        factors = load_file(out.with_suffix(".safetensors"))
        if rank < 32:
            change = factors[f"{fc1}.lora_B.weight"] @ factors[f"{fc1}.lora_A.weight"]
            assert (change - whole[f"{fc1}.diff"].float()).norm() < whole[f"{fc1}.diff"].float().norm()
    assert 1 > errors[0] > errors[1] > errors[2] == 0
    with safe_open(tmp_path / "rank1.safetensors", framework="pt") as opened:
        assert json.loads(opened.metadata()["t2vu_exported_from"])["concepts"] == ["ghost"]


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--concept", " "], "concept is empty"),
        (["--concept", "x", "--images", "."], "no images in"),
        (["--concept", "x", "--objective", "descent"], "invalid choice"),
        (["--concept", "x", "--method-option", "trained=norms"], "must be one of auto"),
        (["--concept", "x", "--shots", "0"], "shots .images"),
        (["--concept", "x", "--image-model", "nonesuch"], "no image model 'nonesuch'"),
        (["--concept", "x", "--resume"], "--resume needs --log"),
        ([], "--concept"),
    ],
)
def test_bad_input_is_one_sentence_and_exit_code_2(
    t2vu: Callable, arguments: list[str], hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    code, out, error = t2vu("unlearn-encoder", "--model", VIDEO.folder, "--device", "cpu", "--out", "a", *arguments)
    said = [line for line in error.splitlines() if line.startswith("t2vu:")]
    assert code == 2
    assert len(said) == 1
    assert re.search(hint, said[0])
    assert out == ""
    assert list(tmp_path.iterdir()) == []


def test_the_settings_page_explains_every_setting_and_what_the_presets_change() -> None:
    page = (REPOSITORY / "docs" / "settings" / "few-shot.md").read_text(encoding="utf-8")
    section = page.split("## Every setting", 1)[1].split("\n## ")[0]
    explained = [name for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE) for name in re.findall("`(.+?)`", row)]
    assert explained == [option.name for option in dataclasses.fields(FewShotRecipe)]
    changed = {name for preset in PRESETS.values() for name in preset.few_shot or ()}
    said = re.search(r"change\s+only\s+(.+?)\.", section)
    assert said is not None
    assert set(re.findall("`(.+?)`", said[1])) == changed


def test_what_cannot_be_exported_is_refused(t2vu: Callable, tmp_path: Path) -> None:
    unlearn(t2vu, tmp_path / "ghost")
    file = tmp_path / "ghost.safetensors"
    assert "for ComfyUI only" in t2vu("export", file, "--format", "diffusers", "--out", tmp_path / "x")[2]
    assert "at least 1" in t2vu("export", file, "--format", "comfyui", "--rank", 0, "--out", tmp_path / "x")[2]
    eraser = TINY_MODELS["wan-2.1"].random_erasure("lora").save(tmp_path / "eraser")
    assert "unlearned encoders" in t2vu("export", eraser, "--format", "comfyui", "--rank", 2, "--out", tmp_path / "x")[2]
    assert not list(tmp_path.glob("x*"))
