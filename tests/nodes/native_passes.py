"""Erasers under what else changes the passes of a MODEL: regions, start images, other packs' nodes, caches, compilers."""

from __future__ import annotations

from typing import Any

import comfy.hooks
import comfy.lora
import torch
from comfy.patcher_extension import WrappersMP
from comfy_api.torch_helpers import set_torch_compile_wrapper
from comfy_extras.nodes_easycache import EasyCacheNode
from comfy_extras.nodes_model_advanced import ModelSamplingSD3
from native_ksampler import erased, off, on_throughout, sample
from native_models import folder, found, given, keep, load, said
from safetensors.torch import load_file, save_file


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
    there = load("wan").model.apply_model(x, sigma, c_crossattn=text, transformer_options=dict(options))
    plain = model.model.apply_model(x, sigma, c_crossattn=text, transformer_options={})
    said["a copy"] = torch.equal(own, there) and not torch.allclose(own, plain, rtol=1e-2)
