"""Models whose denoiser is a single file or quantised: the same erasures, gradients and identity as the diffusers folder's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import diffusers
import pytest
import torch
from torch import Tensor

from t2vu_core.base_identity import compare_bases
from t2vu_core.errors import UserError
from t2vu_core.families import Family
from t2vu_core.memory.frozen_linears import pass_gradients
from t2vu_core.memory.placement import Placement
from t2vu_core.model import load_model
from t2vu_core.quantised_weights import has_quantised, stored_weights
from t2vu_core.recipes import VelocityRecipe
from t2vu_core.training.velocity.train import erase_velocity
from tests.core.gguf_files import weights, write_gguf, write_safetensors
from tests.core.test_memory_placement import FEW, gradients
from tests.core.tiny_models import TINY_MODELS, TinyModel

LTX = "ltx-video"
SINGLE = ("hunyuan-video", LTX, "mochi", "wan-2.1")


@pytest.fixture
def tiny() -> TinyModel:
    return TINY_MODELS[LTX]


@pytest.fixture
def gguf_file(tiny: TinyModel, tmp_path: Path) -> Path:
    return write_gguf(tmp_path / "ltx-Q4_0.gguf", weights(tiny), "Q4_0")


def with_values_of(placed: Family, tiny: TinyModel) -> Family:
    """The plain model with the numbers of a quantised one."""
    plain = load_model(tiny.folder, device="cpu").family
    state, changed = plain.pipeline.transformer.state_dict(), 0
    for name, stored in stored_weights(placed.pipeline.transformer):
        changed += not torch.equal(state[name], stored.values.float())
        state[name].copy_(stored.values)
    assert changed > 10, "the weights are rounded"
    return plain


def assert_same_direction(ours: dict[str, Tensor], theirs: dict[str, Tensor]) -> None:
    assert set(ours) == set(theirs)
    first, second = (torch.cat([each[name].flatten() for name in theirs]) for each in (ours, theirs))
    assert second.abs().max() > 0
    assert torch.cosine_similarity(first, second, dim=0) > 0.999


def quantised_folder(tiny: TinyModel, to: Path, config: Any) -> Path:
    """The model's folder with its denoiser quantised, as `save_pretrained` writes it."""
    folder = Path(shutil.copytree(tiny.folder, to / tiny.name))
    shutil.rmtree(folder / "transformer")
    kind = type(tiny.model.family.pipeline.transformer)
    kind.from_pretrained(tiny.folder / "transformer", quantization_config=config).save_pretrained(folder / "transformer")
    return folder


@pytest.mark.parametrize("name", SINGLE)
def test_a_safetensors_file_is_the_model_of_its_folder(name: str, tmp_path: Path) -> None:
    tiny = TINY_MODELS[name]
    file = write_safetensors(tmp_path / "single.safetensors", weights(tiny))
    model = load_model(file, config=tiny.folder, device="cpu")
    assert model.name == "single"
    assert model.base.hash == tiny.model.base.hash
    assert torch.equal(model.sample("a cat", **tiny.clip), tiny.model.sample("a cat", **tiny.clip))


def test_a_file_in_a_diffusers_folder_needs_no_config_and_the_folder_no_weights(tiny: TinyModel, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny.folder, tmp_path / "ltx"))
    for path in (folder / "transformer").glob("*.safetensors"):
        path.unlink()
    file = write_safetensors(folder / "transformer" / "released.safetensors", weights(tiny))
    assert load_model(file, device="cpu").base.hash == tiny.model.base.hash


def test_parts_that_stay_in_float32_do_so_from_a_single_file_too(tmp_path: Path) -> None:
    tiny = TINY_MODELS["wan-2.1"]
    file = write_safetensors(tmp_path / "wan.safetensors", weights(tiny))
    ours = load_model(file, config=tiny.folder, dtype=torch.bfloat16, device="cpu").family.pipeline.transformer.state_dict()
    theirs = load_model(tiny.folder, dtype=torch.bfloat16, device="cpu").family.pipeline.transformer.state_dict()
    assert {name: value.dtype for name, value in ours.items()} == {name: value.dtype for name, value in theirs.items()}
    assert len({value.dtype for value in ours.values()}) == 2


def test_two_files_are_the_two_denoisers_of_wan_22(tmp_path: Path) -> None:
    tiny = TINY_MODELS["wan-2.2-14b"]
    parts = {name: tiny.model.family.denoisers[name].state_dict() for name in ("transformer", "transformer_2")}
    files = [write_safetensors(tmp_path / f"{name}.safetensors", state) for name, state in parts.items()]
    both = load_model(files[0], config=tiny.folder, model_low_noise=files[1], device="cpu")
    assert both.base.hash == tiny.model.base.hash
    swapped = load_model(files[1], config=tiny.folder, model_low_noise=files[0], device="cpu")
    assert swapped.base.hash != tiny.model.base.hash
    folder = Path(shutil.copytree(tiny.folder, tmp_path / "wan"))
    for path in (folder / "transformer_2").glob("*.safetensors"):
        path.unlink()
    with pytest.raises(UserError, match="two denoisers.*--model-low-noise"):
        load_model(files[0], config=folder, device="cpu")


@pytest.mark.parametrize("kind", ["Q8_0", "Q4_0"])
def test_gradients_through_gguf_weights_are_those_of_the_unpacked_model(kind: str, tiny: TinyModel, tmp_path: Path) -> None:
    file = write_gguf(tmp_path / "ltx.gguf", weights(tiny), kind)
    model = load_model(file, config=tiny.folder, device="cpu")
    assert has_quantised(model.family.pipeline.transformer)
    plain = with_values_of(model.family, tiny)
    for sites in ("bottleneck", "lora"):
        ours = gradients(tiny, model.family, checkpointing=False, kind=sites)
        assert_same_direction(ours, gradients(tiny, plain, checkpointing=False, kind=sites))


def test_a_backward_pass_keeps_no_unpacked_weight(tiny: TinyModel, gguf_file: Path) -> None:
    family = load_model(gguf_file, config=tiny.folder, device="cpu").family
    kept: list[Tensor] = []

    def keep(value: Tensor) -> Tensor:
        kept.append(value)
        return value

    layers = [part for part in family.pipeline.transformer.modules() if hasattr(getattr(part, "weight", None), "quant_shape")]
    matrices = {tuple(sorted(layer.weight.quant_shape)) for layer in layers}
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda value: value):
        gradients(tiny, family, checkpointing=False, kind="bottleneck")
    assert kept
    assert matrices
    assert not [value for value in kept if tuple(sorted(value.shape)) in matrices and value.ndim == 2]


def test_offloaded_gguf_blocks_have_the_same_gradients(tiny: TinyModel, gguf_file: Path) -> None:
    ours = load_model(gguf_file, config=tiny.folder, device="cpu", placement=Placement("blocks")).family
    theirs = load_model(gguf_file, config=tiny.folder, device="cpu").family
    found = gradients(tiny, ours, checkpointing=True)
    for name, gradient in gradients(tiny, theirs, checkpointing=True).items():
        assert torch.equal(found[name], gradient), name


def test_one_eraser_file_serves_the_folder_fp8_and_gguf(tiny: TinyModel, gguf_file: Path, tmp_path: Path) -> None:
    rounded = {name: value.to(torch.float8_e4m3fn) for name, value in weights(tiny).items()}
    models = {
        "GGUF Q4_0": load_model(gguf_file, config=tiny.folder, device="cpu"),
        "fp8": load_model(
            write_safetensors(tmp_path / "fp8.safetensors", rounded), config=tiny.folder, device="cpu", dtype=torch.bfloat16
        ),
    }
    for said, model in models.items():
        assert f"the same but for rounding ({said}" in str(compare_bases(tiny.model.base, model.base))
        model.with_erasure(tiny.random_erasure("bottleneck"))
    recipe = VelocityRecipe(**{**FEW, "gradient_checkpointing": False}, num_frames=9, height=64, width=96)
    erasure = erase_velocity(models["GGUF Q4_0"], "ghost", recipe)
    tiny.model.with_erasure(erasure)
    models["fp8"].with_erasure(erasure)


def test_another_model_in_a_gguf_file_is_told_from_rounding(tiny: TinyModel, tmp_path: Path) -> None:
    other = {name: value + 0.3 * value.std() * torch.randn_like(value) if value.ndim == 2 else value
             for name, value in weights(tiny).items()}  # fmt: skip
    model = load_model(write_gguf(tmp_path / "other.gguf", other, "Q8_0"), config=tiny.folder, device="cpu")
    with pytest.raises(UserError, match="weights differ"):
        model.with_erasure(tiny.random_erasure("bottleneck"))


def quanto() -> Any:
    pytest.importorskip("optimum.quanto", reason="optimum-quanto is not installed")
    return diffusers.QuantoConfig(weights_dtype="int8")


def torchao() -> Any:
    quantization = pytest.importorskip("torchao.quantization", reason="torchao is not installed")
    return diffusers.TorchAoConfig(quantization.Int8WeightOnlyConfig())


@pytest.mark.parametrize("config", [quanto, torchao])
def test_folders_with_quantised_denoisers_train_and_are_recognised(
    config: Callable[[], Any], tiny: TinyModel, tmp_path: Path
) -> None:
    model = load_model(quantised_folder(tiny, tmp_path, config()), device="cpu")
    assert "the same but for rounding" in str(compare_bases(tiny.model.base, model.base))
    ours = gradients(tiny, model.family, checkpointing=False, kind="lora")
    assert_same_direction(ours, gradients(tiny, with_values_of(model.family, tiny), checkpointing=False, kind="lora"))
    with pytest.raises(UserError, match="stored quantised; base_dtype=fp8"):
        load_model(model.family.folder or "", device="cpu", placement=Placement("none", "fp8"))
    with pytest.raises(UserError, match="cannot be offloaded: use offload=encoder"):
        load_model(model.family.folder or "", device="cpu", placement=Placement("blocks"))


def test_bitsandbytes_layers_pass_gradients() -> None:
    """diffusers loads such folders on a GPU only; the layer itself computes on the CPU."""
    bitsandbytes = pytest.importorskip("bitsandbytes", reason="bitsandbytes is not installed")
    plain = torch.nn.Linear(64, 64)
    layer = bitsandbytes.nn.Linear4bit(64, 64, quant_type="nf4", compute_dtype=torch.float32)
    layer.load_state_dict(plain.state_dict())
    model = torch.nn.Sequential(layer.to("cpu").requires_grad_(False))
    ((_, stored), _) = stored_weights(model)
    hidden = torch.randn(5, 64, requires_grad=True)
    pass_gradients(model)
    model(hidden).square().sum().backward()
    output = hidden.detach() @ stored.values.T + plain.bias
    assert hidden.grad is not None
    assert torch.cosine_similarity(hidden.grad.flatten(), (2 * output @ stored.values).flatten(), dim=0) > 0.999


def refusal(*source: Any, **options: Any) -> str:
    with pytest.raises(UserError) as caught:
        load_model(*source, device="cpu", **options)
    return str(caught.value)


def test_what_a_single_file_lacks_is_said(tiny: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    state = weights(tiny)
    file = write_safetensors(tmp_path / "ltx.safetensors", state)
    assert "Give a diffusers folder of the same model as config (--config DIR)" in refusal(file)
    assert "belong to a model in a single file" in refusal(tiny.folder, config=tiny.folder)
    assert "leave model_low_noise out" in refusal(file, config=tiny.folder, model_low_noise=file)
    other = tmp_path / "ltx.ckpt"
    shutil.copy(file, other)
    assert "single files must be .safetensors or .gguf" in refusal(other, config=tiny.folder)
    scaled = write_safetensors(tmp_path / "scaled.safetensors", {**state, "a.scale_weight": torch.ones(1)})
    assert "ComfyUI's own format" in refusal(scaled, config=tiny.folder)
    half = write_safetensors(tmp_path / "half.safetensors", dict(list(state.items())[: len(state) // 2]))
    assert "it lacks weights. It must hold the weights of a LTXVideoTransformer3DModel" in refusal(half, config=tiny.folder)
    wan = TINY_MODELS["wan-2.1"]
    assert "WanTransformer3DModel" in refusal(file, config=wan.folder)
    cogvideox = TINY_MODELS["cogvideox-2b"]
    assert "diffusers cannot load a CogVideoXTransformer3DModel from a single file" in refusal(file, config=cogvideox.folder)
    monkeypatch.setattr("t2vu_core.single_files.is_gguf_available", lambda: False)
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF")
    assert "pip install gguf" in refusal(broken, config=tiny.folder)


def test_a_broken_gguf_file_is_a_sentence(tiny: TinyModel, tmp_path: Path) -> None:
    pytest.importorskip("gguf", reason="gguf is not installed")
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF" + bytes(60))
    assert "broken.gguf cannot be loaded" in refusal(broken, config=tiny.folder)


def test_a_missing_library_of_a_quantised_folder_is_named(tiny: TinyModel, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(tiny.folder, tmp_path / "ltx"))
    path = folder / "transformer" / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    config["quantization_config"] = {"quant_method": "torchao", "quant_type": {"default": {"_data": {"dim": -1}}}}
    path.write_text(json.dumps(config), encoding="utf-8")
    absent = "t2vu_core.model_folders.importlib.metadata.version"
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(absent, _not_found)
        assert "quantized by torchao, which is not installed: pip install torchao" in refusal(folder)


def _not_found(name: str) -> str:
    import importlib.metadata

    raise importlib.metadata.PackageNotFoundError(name)


def test_the_commands_take_a_single_file(
    t2vu: Callable[..., tuple[int, str, str]], tiny: TinyModel, gguf_file: Path, tmp_path: Path
) -> None:
    size = ("num_frames=9", "height=64", "width=96")
    few = (*size, "steps=1", "concept_trajectories=1", "preserve_trajectories=1", "trajectory_steps=2", "rank=2")
    options = [part for each in few for part in ("--method-option", each)]
    model = ["--model", gguf_file, "--config", tiny.folder]
    out = tmp_path / "ghost.safetensors"
    code, printed, error = t2vu("erase", *model, "--concept", "ghost", "--out", out, "--memory", "16", *options, "--json")
    assert code == 0, error
    assert json.loads(printed)["model"] == "ltx-Q4_0"
    assert "16 GB: 9 frames" in error
    assert "not measured" in error
    code, _, error = t2vu("sample", "--model", gguf_file, "--prompt", "a cat", "--out", tmp_path / "cat.mp4")
    assert code == 2
    assert "--config DIR" in error
