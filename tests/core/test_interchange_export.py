"""Exported LoRAs, loaded by the programs they are for: diffusers' own pipelines, and ComfyUI's own models."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.loaders import single_file_utils as originals
from safetensors.torch import load_file
from torch import Tensor

from t2vu_core.erasure import Base, Erasure, read_description
from t2vu_core.errors import UserError
from t2vu_core.interchange import export_lora
from tests.core.tiny_models import TINY_MODELS, TinyModel

PROMPTS = ["a red ghost floats over a quiet green hill"]
REPOSITORY = Path(__file__).resolve().parents[2]
COMFYUI = Path(os.environ.get("COMFYUI_DIR") or REPOSITORY / ".comfy" / "ComfyUI")


def test_the_stock_pipeline_with_the_export_makes_our_clips(tiny: TinyModel, tmp_path: Path) -> None:
    erasure = tiny.random_erasure("lora", scale=0.2)
    if tiny.name == "modelscope":
        with pytest.raises(UserError, match="diffusers loads no LoRA"):
            export_lora(erasure, tmp_path / "ghost", layout="diffusers")
        assert list(tmp_path.iterdir()) == []
        return
    files = export_lora(erasure, tmp_path / "ghost", layout="diffusers")
    stock = tiny.stock()
    for index, file in enumerate(files):
        second = {"load_into_transformer_2": True} if index else {}
        name = {"weight_name": file.name, "adapter_name": f"ghost_{index}"}
        if tiny.family == "hunyuan_video_15":
            # Its pipeline reads no LoRA yet, its transformer does.
            stock.transformer.load_lora_adapter(file.parent, prefix="transformer", **name)
        else:
            stock.load_lora_weights(file.parent, **name, **second)
    theirs = tiny.sample_stock(stock, PROMPTS, [2], 1.0)
    ours = tiny.sample_ours(tiny.model.with_erasure(erasure), PROMPTS, [2], 1.0)
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=0)
    without = tiny.sample_ours(tiny.model, PROMPTS, [2], 1.0)
    assert (ours - without).abs().max() > 1e-2, "the LoRA does too little to compare"


def test_layers_that_were_found_by_name_keep_comfyuis_names(tmp_path: Path) -> None:
    """An architecture of ComfyUI's that is not in the table: its eraser is exported for Load LoRA, and for nothing else."""
    site, base = "blocks.0.cross_attn.k_proj", Base("a model", "comfyui:MiniTrainDIT", "0" * 64)
    tensors = {f"{site}.lora_A.weight": torch.ones(2, 8), f"{site}.lora_B.weight": torch.ones(8, 2)}
    erasure = Erasure("eraser", ("ghost",), base, tensors, "made for tests")
    (file,) = export_lora(erasure, tmp_path / "ghost", layout="comfyui")
    assert set(load_file(file)) == {f"diffusion_model.{name}" for name in tensors}
    with pytest.raises(UserError, match="not known for MiniTrainDIT; export it with the layout"):
        export_lora(erasure, tmp_path / "other", layout="diffusers")


def test_a_model_with_two_denoisers_gives_a_file_for_each(tmp_path: Path) -> None:
    erasure = TINY_MODELS["wan-2.2-14b"].random_erasure("lora")
    for layout in ("comfyui", "diffusers"):
        files = export_lora(erasure, tmp_path / "ghost.safetensors", layout=layout)
        assert [file.name for file in files] == ["ghost_high_noise.safetensors", "ghost_low_noise.safetensors"]
        first, second = (load_file(file) for file in files)
        assert set(first) == set(second)
        assert any(not torch.equal(first[key], second[key]) for key in first)


def test_the_export_says_where_it_comes_from(tmp_path: Path) -> None:
    from safetensors import safe_open

    erasure = TINY_MODELS["wan-2.1"].random_erasure("lora")
    (file,) = export_lora(erasure, tmp_path / "ghost", layout="comfyui")
    with safe_open(file, framework="pt") as opened:
        metadata = opened.metadata()
    assert metadata["modelspec.architecture"] == "wan/lora"
    assert metadata["modelspec.title"] == "Erases ghost"
    assert json.loads(metadata["t2vu_exported_from"])["concepts"] == ["ghost"]
    with pytest.raises(UserError, match="not an erasure"):
        read_description(file)


def test_what_no_lora_can_say_is_refused(tiny: TinyModel, tmp_path: Path) -> None:
    with pytest.raises(UserError, match="LoRA kind"):
        export_lora(tiny.random_erasure("bottleneck"), tmp_path / "x", layout="comfyui")
    encoder = dataclasses.replace(tiny.random_erasure("lora"), kind="unlearned_encoder")
    with pytest.raises(UserError, match="text encoder"):
        export_lora(encoder, tmp_path / "x", layout="comfyui")
    elsewhere = dataclasses.replace(tiny.random_erasure("lora"), tensors={
        "somewhere.lora_A.weight": torch.ones(2, 3), "somewhere.lora_B.weight": torch.ones(3, 2)
    })  # fmt: skip
    with pytest.raises(UserError, match=r"somewhere|names are not known for (animatediff|text_to_video_sd)"):
        export_lora(elsewhere, tmp_path / "x", layout="comfyui")
    assert list(tmp_path.iterdir()) == []


def test_cogvideox_gets_the_names_of_comfyuis_cogvideox(tmp_path: Path) -> None:
    (file,) = export_lora(TINY_MODELS["cogvideox-2b"].random_erasure("lora"), tmp_path / "x", layout="comfyui")
    modules = {key.rsplit(".", 2)[0] for key in load_file(file)}
    assert modules == {f"diffusion_model.blocks.{block}.{name}" for block in range(2) for name in ("q", "k", "v", "attn_out")}


def split_attentions(weights: dict[str, Tensor], ours: str, qkv: str, out: str) -> dict[str, Tensor]:
    """The video side of two blocks' attentions, their fused matrix in three; names with a place for the block's number."""
    split = {}
    for block in range(2):
        name, parts = ours.format(block), weights[f"{qkv.format(block)}.weight"].chunk(3)
        split.update({f"{name}.{part}.weight": weight for part, weight in zip(("to_q", "to_k", "to_v"), parts, strict=True)})
        split[f"{name}.to_out.0.weight"] = weights[f"{out.format(block)}.weight"]
    return split


def mochi_to_diffusers(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """As diffusers' reader does it; that one is for 48 blocks only."""
    return split_attentions(weights, "transformer_blocks.{}.attn1", "blocks.{}.attn.qkv_x", "blocks.{}.attn.proj_x")


def hunyuan_video_to_diffusers(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The single-stream blocks' fused matrix, split as diffusers' reader does it; that one is for width 3072 only."""
    split = {}
    for block in range(2):
        fused = weights[f"single_blocks.{block}.linear1.weight"]
        width = fused.shape[1]
        names = ("attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp")
        parts = fused.split((width, width, width, len(fused) - 3 * width))
        split.update(
            {f"single_transformer_blocks.{block}.{name}.weight": part for name, part in zip(names, parts, strict=True)}
        )
    return split


def hunyuan_video_15_to_diffusers(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """The video side of the two-stream blocks."""
    theirs = "double_blocks.{}.img_attn"
    return split_attentions(weights, "transformer_blocks.{}.attn", f"{theirs}.qkv", f"{theirs}.proj")


CONVERTERS: dict[str, Callable[..., dict[str, Tensor]]] = {
    "wan": originals.convert_wan_transformer_to_diffusers,
    "ltx": originals.convert_ltx_transformer_checkpoint_to_diffusers,
    "hunyuan_video": hunyuan_video_to_diffusers,
    "hunyuan_video_15": hunyuan_video_15_to_diffusers,
    "mochi": mochi_to_diffusers,
}
"""diffusers' own readers of the original layouts, which are ComfyUI's, or the same cuts where those know one size only."""
COMFY_ROWS = {
    "wan": "wan-2.1",
    "ltx": "ltx-video",
    "hunyuan_video": "hunyuan-video",
    "hunyuan_video_15": "hunyuan-video-1.5",
    "mochi": "mochi",
    "cogvideox": "cogvideox-5b",
}
STRENGTH = 0.7


@pytest.fixture(scope="module")
def merged(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Erasure, list[str] | None, Path]]:
    """Every architecture's export, applied by ComfyUI to its own model of the same size."""
    if not (COMFYUI / "comfy" / "lora.py").is_file():
        pytest.skip("there is no ComfyUI; ./run setup puts one in place, or COMFYUI_DIR names one")
    folder = tmp_path_factory.mktemp("comfyui")
    erasures, jobs = {}, []
    for family, name in COMFY_ROWS.items():
        erasures[family] = TINY_MODELS[name].random_erasure("lora")
        (lora,) = export_lora(erasures[family], folder / family, layout="comfyui")
        out = folder / f"{family}-merged.safetensors"
        jobs.append({"family": family, "lora": str(lora), "strength": STRENGTH, "out": str(out)})
    (folder / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
    paths = [str(REPOSITORY / "tools" / "comfyui" / "shim"), os.environ.get("PYTHONPATH", "")]
    script = Path(__file__).with_name("comfy_merge.py")
    answer = subprocess.run(
        [os.environ.get("COMFYUI_PYTHON") or sys.executable, str(script), str(folder / "jobs.json")],
        cwd=COMFYUI, env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)}, capture_output=True, text=True,
    )  # fmt: skip
    assert answer.returncode == 0, answer.stderr[-3000:]
    leftovers: dict[str, Any] = json.loads(answer.stdout.splitlines()[-1])
    return {job["family"]: (erasures[job["family"]], leftovers[job["family"]], Path(job["out"])) for job in jobs}


@pytest.mark.comfy
@pytest.mark.parametrize("family", COMFY_ROWS)
def test_comfyui_takes_every_key_and_changes_the_weights_as_the_erasers_do(merged: Any, family: str) -> None:
    erasure, leftovers, out = merged[family]
    if leftovers is None:
        pytest.skip(f"this ComfyUI has no native {family}")
    assert leftovers == []
    weights = load_file(out)
    if family not in CONVERTERS:
        return
    before, after = (
        CONVERTERS[family]({key.removeprefix(when): tensor for key, tensor in weights.items() if key.startswith(when)})
        for when in ("before.", "after.")
    )
    sites = {key.rsplit(".", 2)[0] for key in erasure.tensors}
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert changed == {f"{site}.weight" for site in sites}
    for site in sites:
        expected = erasure.tensors[f"{site}.lora_B.weight"] @ erasure.tensors[f"{site}.lora_A.weight"]
        change = after[f"{site}.weight"] - before[f"{site}.weight"]
        torch.testing.assert_close(change, STRENGTH * expected, atol=1e-5, rtol=1e-4)
