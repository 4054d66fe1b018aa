"""Which weights a MODEL has, and what an eraser finds and does in each architecture."""

from __future__ import annotations

import comfy.lora
import torch
from comfy.model_patcher import ModelPatcher
from comfy_tiny import MODELS, build
from native_models import folder, load, said
from quantised import blocks, scaled_fp8
from safetensors.torch import load_file
from t2vu_pack.nodes.native import Part, merged_into, same_weights
from t2vu_pack.nodes.native.apply import EraserOnPass
from t2vu_pack.nodes.native.architectures import architecture_of
from t2vu_pack.nodes.native.identity import base_sketch, weights_of
from t2vu_pack.nodes.native.loaded_weights import LoadedWeights

from t2vu_core import Erasure, UserError
from t2vu_core.erasers import EraserSet
from t2vu_core.erasure import Base
from t2vu_core.interchange.comfyui_names import to_comfyui
from t2vu_core.interchange.lora_files import lora_pairs
from t2vu_core.weight_sketch import compare

DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn)


def identity(family: str) -> None:
    models = {str(dtype).removeprefix("torch."): load(family, dtype=dtype) for dtype in DTYPES}
    if family == "wan":
        models |= {"scaled": scaled_fp8(), "Q8_0": blocks()}
    for name, model in models.items():
        for eraser in ("own", "other", "sketched", "tuned", "another"):
            erasure = Erasure.load(folder / f"{family}_{eraser}_base.safetensors")
            for confirmed in (False, True):
                try:
                    answer = same_weights(model, erasure, confirmed=confirmed)
                except UserError as error:
                    answer = str(error)
                said[f"{family} {name} {eraser}{' confirmed' if confirmed else ''}"] = answer


def trained_on_rounded_weights() -> None:
    """The base of an eraser that was trained on a file in a small format, against the model in full precision."""
    full = Erasure.load(folder / "wan_sketched_base.safetensors").base.sketch
    for name, model in {"fp8": load("wan", dtype=torch.float8_e4m3fn), "scaled": scaled_fp8(), "Q8_0": blocks()}.items():
        trained = base_sketch({"": model}, "0" * 64)
        said[f"trained in {name}"] = str(compare(trained, full))


@torch.no_grad()
def merging() -> None:
    """What Load LoRA leaves of a small LoRA in fp8 weights, against what Export LoRA says."""
    small = Erasure.load(folder / "wan_small.safetensors")
    said["float32 merging"] = str(merged_into(load("wan"), small))
    lora = {
        f"{name}.lora_{letter}.weight": part
        for name, pair in to_comfyui("wan", lora_pairs(small)).items()
        for letter, part in zip("AB", pair, strict=True)
    }
    for name, model in {"fp8": load("wan", dtype=torch.float8_e4m3fn), "scaled": scaled_fp8()}.items():
        found = merged_into(model, small)
        said.update({f"{name} error": found.error, f"{name} change": found.change, f"{name} merging": str(found)})
        keys, denoiser = comfy.lora.model_lora_keys_unet(model.model, {}), model.model.diffusion_model
        before = {key: LoadedWeights(model, denoiser)[f"{key}.weight"].float().clone() for key in layers_of(small)}
        model.add_patches(comfy.lora.load_lora(lora, keys), 1.0)
        model.patch_model()
        missed, wanted = 0.0, 0.0
        model.backup.clear()
        for key, weight in before.items():
            down, up = (lora[f"diffusion_model.{key}.lora_{letter}.weight"] for letter in "AB")
            after = LoadedWeights(model, denoiser)[f"{key}.weight"].float()
            missed += float((after - weight - up @ down).square().sum())
            wanted += float((up @ down).square().sum())
        said[f"{name} merged"] = (missed / wanted) ** 0.5


def layers_of(erasure: Erasure) -> list[str]:
    return [name.removeprefix("diffusion_model.") for name in to_comfyui("wan", lora_pairs(erasure))]


@torch.no_grad()
def every_architecture() -> None:
    """How many sites a bottleneck has in each, and how far a LoRA's layers are off the weights that Load LoRA would make."""
    for family in MODELS:
        model, files = build(family), [folder / f"any_{family}_{kind}.safetensors" for kind in ("bottleneck", "lora")]
        if model is None:
            said[f"{family} sites"] = None
            continue
        denoiser = model.diffusion_model
        bottleneck, lora = (Erasure.load(file) for file in files)
        said[f"{family} sites"] = [
            len(EraserOnPass(made.tensors, 1.0, Part(), family).sites(denoiser, architecture_of(denoiser)))
            for made in (bottleneck, lora)
        ]
        erasers = EraserSet.from_tensors(lora.tensors)
        said[f"{family} off"] = []
        for name, (down, up) in to_comfyui(family, lora_pairs(lora)).items():
            layer = model.get_submodule(name)
            given_rows = torch.randn(1, 3, layer.in_features)
            plain = layer(given_rows)
            with erasers.attached(erasers.fit(architecture_of(denoiser).sites(denoiser))):
                change = layer(given_rows) - plain
            wanted = given_rows @ (up @ down).T
            said[f"{family} off"].append(float((change - wanted).norm() / wanted.norm()))


@torch.no_grad()
def known_again() -> None:
    """The eraser that was trained on a model, on another, and on the diffusers folder with the same weights."""
    for family in ("mochi", "hunyuan_video_15"):
        own, other = (ModelPatcher(build(family), torch.device("cpu"), torch.device("cpu")) for _ in range(2))
        for parameter in other.model.parameters():
            parameter.data = torch.randn(parameter.shape)
        of_folder = Erasure.load(folder / f"any_{family}_lora.safetensors").base
        denoiser, given_weights = own.model.diffusion_model, load_file(folder / f"any_{family}_weights.safetensors")
        for name, part in architecture_of(denoiser).named_base_tensors(denoiser, dict(denoiser.named_parameters())):
            part.copy_(given_weights.pop(name))
        assert not given_weights
        trained = weights_of(own)
        assert trained is not None
        said[f"{family} folder's hash"] = trained.sketch.hash
        base = Base("trained here", family, trained.sketch.hash, trained.sketch)
        for name, model, of in (("own", own, base), ("other", other, base), ("folder", own, of_folder)):
            erasure = Erasure("eraser", ("ghost",), of, {}, "random")
            try:
                said[f"{family} {name}"] = same_weights(model, erasure, confirmed=False)
            except UserError as error:
                said[f"{family} {name}"] = str(error)
