"""Run inside ComfyUI's folder: `python native_in_process.py FOLDER` samples ComfyUI's own tiny models with erasers.

Reads FOLDER/<family>.safetensors (a model in ComfyUI's format), given.safetensors (noise, conditions) and the erasers,
and writes what KSampler makes of them, as latents inside the model, to FOLDER/found.safetensors and found.json.
"""

from __future__ import annotations

import copy
import json
import sys
from typing import Any

from in_comfyui import folder, repository

# isort: split
import comfy.hooks
import comfy.lora
import comfy.sample
import comfy.samplers
import comfy.sd
import torch
from comfy.model_patcher import ModelPatcher
from comfy.patcher_extension import WrappersMP
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_extras.nodes_easycache import EasyCacheNode
from comfy_extras.nodes_model_advanced import ModelSamplingSD3
from safetensors.torch import load_file, save_file

sys.path.append(str(repository / "tests" / "core"))
from comfy_tiny import MODELS, build
from t2vu_pack.nodes.native import Part, merged_into, same_weights, with_eraser
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

given, found, said = load_file(folder / "given.safetensors"), {}, {}
STEPS, GUIDANCE = 4, 3.0


def load(family: str, **options: Any) -> Any:
    """As Load Diffusion Model does it: nodes run in inference mode."""
    with torch.inference_mode():
        return comfy.sd.load_diffusion_model(str(folder / f"{family}.safetensors"), model_options=options)


def erased(model: Any, kind: str, strength: float = 1.0, start_at: float = 0.0, end_at: float = 1.0) -> Any:
    family = model.model.model_config.unet_config["image_model"]
    family = {"wan2.1": "wan", "ltxv": "ltx"}.get(family, family)
    tensors = load_file(folder / f"{family}_{kind}.safetensors")
    return with_eraser(model, tensors, family, strength=strength, part=Part(start_at, end_at))


def condition(family: str, which: str, **more: Any) -> list[Any]:
    # ComfyUI's HunyuanVideo takes no mask for a batch of two; here every token counts.
    extra = {"pooled_output": "pooled"} | ({} if family == "hunyuan_video" else {"attention_mask": "mask"})
    beside = {theirs: given[f"{family}.{ours}"] for theirs, ours in extra.items() if f"{family}.{ours}" in given}
    return [[given[f"{family}.{which}"], {**beside, **more}]]


def sample(model: Any, family: str, **more: Any) -> torch.Tensor:
    """KSampler's euler and simple."""
    noise = given[f"{family}.noise"]
    text, empty = (condition(family, which, **more) for which in ("text", "empty"))
    with torch.inference_mode():
        out = comfy.sample.sample(
            model, noise, STEPS, GUIDANCE, "euler", "simple", text, empty, torch.zeros_like(noise), denoise=1.0, seed=7,
            disable_pbar=True,
        )  # fmt: skip
        found[f"{family}.sigmas"] = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), "simple", STEPS)
        return model.model.process_latent_in(out)


def keep(name: str, value: torch.Tensor) -> None:
    found[name] = value.detach().clone().contiguous()


def both_kinds(family: str) -> None:
    model = load(family)
    weights = copy.deepcopy(model.model.state_dict())
    missing = set(model.model.diffusion_model.state_dict()) - set(load_file(folder / f"{family}.safetensors"))
    assert not missing, sorted(missing)
    plain = sample(model, family)
    keep(f"{family}.plain", plain)
    for kind in ("bottleneck", "lora"):
        keep(f"{family}.{kind}", sample(erased(model, kind), family))
        said[f"{family}.{kind} off"] = torch.equal(sample(erased(model, kind, 0.0), family), plain)
    said[f"{family} again"] = torch.equal(sample(model, family), plain)
    after = model.model.state_dict()
    said[f"{family} weights"] = all(torch.equal(after[name], value) for name, value in weights.items())
    said[f"{family} hooks"] = sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.model.modules())


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


DTYPES = (torch.float32, torch.bfloat16, torch.float16, torch.float8_e4m3fn)


def scaled_fp8() -> Any:
    """Wan's matrices in fp8 with a scale each, as repackaged files have them."""
    stored = {}
    for name, tensor in load_file(folder / "wan.safetensors").items():
        if tensor.ndim == 2 and "blocks" in name:
            scale = tensor.abs().max() / 448
            stored[name], stored[name.replace(".weight", ".scale_weight")] = (tensor / scale).to(torch.float8_e4m3fn), scale
        else:
            stored[name] = tensor
    stored["scaled_fp8"] = torch.zeros(2, dtype=torch.float8_e4m3fn)
    with torch.inference_mode():
        return comfy.sd.load_diffusion_model_state_dict(stored)


class Blocks(torch.Tensor):
    """As ComfyUI-GGUF's tensors: bytes under another shape, which only their layer can read."""

    tensor_type, tensor_shape, patches = "Q8_0", torch.Size(()), ()

    @property
    def shape(self) -> torch.Size:
        return self.tensor_shape


class BlockLinear(torch.nn.Linear):
    def get_weight(self, tensor: Any, dtype: torch.dtype) -> torch.Tensor:
        rows = tensor.as_subclass(torch.Tensor).reshape(-1, 34)
        values = rows[:, 2:].view(torch.int8).float() * rows[:, :2].view(torch.float16).float()
        return values.reshape(tensor.tensor_shape).to(dtype)


def blocks() -> Any:
    """Wan's cross-attentions as Q8_0: 32 bytes and a scale in fp16."""
    model = load("wan")
    for block in model.model.diffusion_model.blocks:
        for layer in (block.cross_attn.q, block.cross_attn.k, block.cross_attn.v, block.cross_attn.o):
            rows = layer.weight.detach().clone().reshape(-1, 32)
            scale = (rows.abs().amax(1, keepdim=True) / 127).half()
            packed = torch.cat([scale.view(torch.uint8), (rows / scale.float()).round().to(torch.int8).view(torch.uint8)], 1)
            shape, layer.__class__ = layer.weight.shape, BlockLinear
            del layer.weight
            layer.weight = packed.as_subclass(Blocks)
            layer.weight.tensor_shape = shape
    return model


def parts_of_the_sampling(model: Any) -> None:
    keep("wan.late", sample(erased(model, "bottleneck", start_at=0.5), "wan"))
    halves = erased(erased(model, "bottleneck", end_at=0.5), "bottleneck", start_at=0.5)
    said["halves"] = torch.equal(sample(halves, "wan"), found["wan.bottleneck"])


def with_others(model: Any) -> None:
    stacked = erased(erased(model, "bottleneck"), "lora", 0.5)
    keep("wan.stacked", sample(stacked, "wan"))
    (shift,) = ModelSamplingSD3().patch(model, 3.0)
    (late,) = ModelSamplingSD3().patch(erased(model, "bottleneck"), 3.0)
    late_shift, early_shift = sample(late, "wan"), sample(erased(shift, "bottleneck"), "wan")
    keep("wan.shifted", early_shift)
    keep("wan.shifted_sigmas", found["wan.sigmas"])
    said["shift in either order"] = torch.equal(late_shift, early_shift)
    lora = comfy.lora.load_lora(load_file(folder / "style.safetensors"), comfy.lora.model_lora_keys_unet(model.model, {}))
    before, after = model.clone(), erased(model, "bottleneck")
    before.add_patches(lora, 1.0)
    after.add_patches(lora, 1.0)
    merged = sample(after, "wan")
    keep("wan.style", merged)
    said["lora in either order"] = torch.equal(sample(erased(before, "bottleneck"), "wan"), merged)
    hook = comfy.hooks.create_hook_lora(load_file(folder / "style.safetensors"), 1.0, 0.0)
    keep("wan.hooked", sample(erased(model, "bottleneck"), "wan", hooks=hook))
    said["plain after others"] = torch.equal(sample(model, "wan"), found["wan.plain"])


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


def on_throughout(model: Any, kind: str, family: str, **more: Any) -> torch.Tensor:
    """What sampling gives with the eraser's hooks on the denoiser for all of it: no wrapper has to find the passes."""
    denoiser = model.model.diffusion_model
    erasers = EraserSet.from_tensors(load_file(folder / f"{family}_{kind}.safetensors"))
    with torch.no_grad(), erasers.attached(erasers.fit(architecture_of(denoiser).sites(denoiser))):
        return sample(model, family, **more)


def off(ours: torch.Tensor, theirs: torch.Tensor, plain: torch.Tensor) -> list[float]:
    """How far the result with the wrapper is from that with hooks, and how far the eraser has moved it."""
    return [float((one - theirs).norm() / theirs.norm()) for one in (ours, plain)]


def every_pass(model: Any) -> None:
    """Regions, passes that do not fit into memory together, and other wrappers change the passes; each is erased."""
    left = torch.zeros(1, 8, 12)
    left[..., :6] = 1
    asked = {
        "a mask": {"mask": left, "mask_strength": 1.0},
        "an area": {"area": (3, 8, 6, 0, 0, 4), "strength": 1.0},
        "a part of the time": {"start_percent": 0.0, "end_percent": 0.5},
    }
    for kind in ("bottleneck", "lora"):
        for name, more in asked.items():
            plain, ours = sample(model, "wan", **more), sample(erased(model, kind), "wan", **more)
            said[f"{name}, {kind}"] = off(ours, on_throughout(model, kind, "wan", **more), plain)
    for name, apart in {"one pass a row": split_passes, "another wrapper": doubled}.items():
        other = apart(model)
        plain, ours = sample(other, "wan"), sample(erased(other, "bottleneck"), "wan")
        said[name] = off(ours, on_throughout(other, "bottleneck", "wan"), plain)
        late = apart(erased(model, "bottleneck"))
        said[f"{name}, after the eraser"] = torch.equal(sample(late, "wan"), ours)


def split_passes(model: Any) -> Any:
    """Each conditioning and each clip of the batch in a pass of its own, as other packs' nodes do it to save memory."""
    apart = model.clone()

    def wrapper(apply_model: Any, args: dict[str, Any]) -> torch.Tensor:
        rows = [
            apply_model(
                args["input"][row : row + 1], args["timestep"][row : row + 1],
                **{name: part[row : row + 1] if torch.is_tensor(part) else part for name, part in args["c"].items()},
            )
            for row in range(len(args["input"]))
        ]  # fmt: skip
        return torch.cat(rows)

    apart.set_model_unet_function_wrapper(wrapper)
    return apart


def doubled(model: Any) -> Any:
    """With a wrapper that computes each pass twice and takes the mean, on another input."""
    other = model.clone()

    def wrapper(executor: Any, x: torch.Tensor, t: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        return (executor(x, t, *args, **kwargs) + executor(x * 1.1, t, *args, **kwargs)) / 2

    other.add_wrapper_with_key(WrappersMP.DIFFUSION_MODEL, "tests", wrapper)
    return other


def start_image() -> None:
    """Wan with a start image in its CONDITIONING: 36 channels, of which 20 are the image's."""
    torch.manual_seed(0)
    state = load_file(folder / "wan.safetensors")
    state["patch_embedding.weight"] = torch.randn(128, 36, 1, 2, 2) * 0.05
    save_file(state, folder / "start_image.safetensors")
    model = load("start_image")
    image = {"concat_latent_image": torch.randn(1, 16, 3, 8, 12), "concat_mask": torch.ones(1, 1, 3, 8, 12)}
    said["image shows"] = off(sample(model, "wan", **image), sample(model, "wan"), sample(model, "wan"))[0]
    for kind in ("bottleneck", "lora"):
        plain, ours = sample(model, "wan", **image), sample(erased(model, kind), "wan", **image)
        said[f"a start image, {kind}"] = off(ours, on_throughout(model, kind, "wan", **image), plain)


def caches(model: Any) -> None:
    def cached(source: Any, threshold: float) -> torch.Tensor:
        (with_cache,) = EasyCacheNode.execute(source, threshold, 0.0, 1.0, False).result
        return sample(with_cache, "wan")

    keep("wan.cache_unused", cached(erased(model, "bottleneck"), 0.0))
    plain = cached(model, 3.0)
    keep("wan.cached", cached(erased(model, "bottleneck"), 3.0))
    keep("wan.cached_plain", plain)
    said["cached plain again"] = torch.equal(cached(model, 3.0), plain)


def compiled(model: Any) -> None:
    plain = model.clone()
    set_torch_compile_wrapper(model=plain, backend="eager")
    keep("wan.compiled", sample(plain, "wan"))
    keep("wan.compiled_then_erased", sample(erased(plain, "bottleneck"), "wan"))
    late = erased(model, "bottleneck")
    set_torch_compile_wrapper(model=late, backend="eager")
    keep("wan.erased_then_compiled", sample(late, "wan"))
    keep("wan.compiled_again", sample(plain, "wan"))
    said["frames compiled"] = torch._dynamo.utils.counters["frames"]["ok"]


@torch.inference_mode()
def on_a_copy(model: Any) -> None:
    """With several GPUs, ComfyUI computes on copies of the patcher's model."""
    options = {"wrappers": erased(model, "bottleneck").wrappers}
    x, sigma, text = given["wan.noise"], torch.tensor([0.7, 0.7]), given["wan.text"].expand(2, -1, -1)
    own = model.model.apply_model(x, sigma, c_crossattn=text, transformer_options=dict(options))
    there = copy.deepcopy(model.model).apply_model(x, sigma, c_crossattn=text, transformer_options=dict(options))
    plain = model.model.apply_model(x, sigma, c_crossattn=text, transformer_options={})
    said["a copy"] = torch.equal(own, there) and not torch.allclose(own, plain, rtol=1e-2)


def low_precision() -> None:
    for dtype in (torch.float8_e4m3fn, torch.bfloat16):
        model, name = load("wan", dtype=dtype), str(dtype).removeprefix("torch.")
        said[f"{name} computes in"] = str(model.model.manual_cast_dtype or model.model.get_dtype())
        keep(f"wan.{name}", sample(model, "wan"))
        for kind in ("bottleneck", "lora"):
            keep(f"wan.{name}.{kind}", sample(erased(model, kind), "wan"))
        said[f"{name} again"] = torch.equal(sample(model, "wan"), found[f"wan.{name}"])


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


def known_again() -> None:
    """Of a model that is not in diffusers' names: the eraser that was trained on it, on others, and on its folder."""
    for family in ("mochi", "hunyuan_video_15"):
        own, other = (ModelPatcher(build(family), torch.device("cpu"), torch.device("cpu")) for _ in range(2))
        for parameter in other.model.parameters():
            parameter.data = torch.randn(parameter.shape)
        with_folder_names = Erasure.load(folder / f"any_{family}_lora.safetensors").base
        trained = weights_of(own)
        assert trained is not None
        base = Base("trained here", family, trained.sketch.hash, trained.sketch)
        for name, model, of in (("own", own, base), ("other", other, base), ("folder", own, with_folder_names)):
            erasure = Erasure("eraser", ("ghost",), of, {}, "random")
            try:
                said[f"{family} {name}"] = same_weights(model, erasure, confirmed=False)
            except UserError as error:
                said[f"{family} {name}"] = str(error)


every_architecture()
known_again()
for family in ("wan", "ltx", "hunyuan_video"):
    both_kinds(family)
    identity(family)
wan = load("wan")
parts_of_the_sampling(wan)
with_others(wan)
every_pass(wan)
start_image()
caches(wan)
on_a_copy(wan)
merging()
trained_on_rounded_weights()
low_precision()
compiled(wan)
save_file(found, folder / "found.safetensors")
(folder / "found.json").write_text(json.dumps(said), encoding="utf-8")
