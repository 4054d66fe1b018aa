"""Run inside ComfyUI's folder: `python image_model_in_process.py FOLDER` unlearns in ComfyUI's own Stable Diffusion classes.

Reads FOLDER/given.safetensors and given.json, trains the miniature-unet's CLIP through its MODEL as the node does, and
writes what KSampler draws with the original and with the unlearned CLIP to FOLDER/found.safetensors and found.json.
"""

from __future__ import annotations

import copy
import json
from typing import Any

from in_comfyui import folder

# isort: split
import comfy.sample
import torch
from safetensors.torch import load_file, save_file
from t2vu_pack.nodes.apply_encoder import ApplyUnlearnedEncoderClip
from t2vu_pack.nodes.from_comfyui import FromComfyUI
from t2vu_pack.nodes.image_model_from_comfyui import ImageModelFromComfyUI
from t2vu_pack.nodes.load_miniature_native import LoadMiniatureNative
from t2vu_pack.nodes.native import Part, with_eraser
from t2vu_pack.nodes.native.apply import denoiser_of
from t2vu_pack.nodes.native.found_sites import found_architecture, found_note

from t2vu_core import FewShotRecipe, UserError, unlearn_encoder
from t2vu_core.erasers import EraserSet

given, asked = load_file(folder / "given.safetensors"), json.loads((folder / "given.json").read_text(encoding="utf-8"))
found: dict[str, torch.Tensor] = {}
said: dict[str, Any] = {}


def keep(name: str, value: torch.Tensor) -> None:
    found[name] = value.detach().float().clone().contiguous()


@torch.inference_mode()
def drawn(model: Any, clip: Any, vae: Any, prompt: str) -> torch.Tensor:
    """A few images by KSampler: (B, H, W, 3)."""
    words, nothing = (clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in (prompt, ""))
    noise = given["noise"]
    latents = comfy.sample.sample(
        model, noise, 25, 4.0, "euler", "simple", words, nothing, torch.zeros_like(noise), seed=0, disable_pbar=True
    )
    return vae.decode(latents)


def gradient(image: Any) -> torch.Tensor:
    """Of a layer of the text encoder, through the frozen denoiser."""
    layer = dict(image.text.encoder.named_modules())["text_model.encoder.layers.1.mlp.fc1"]
    change = torch.zeros(layer.out_features, requires_grad=True)
    handle = layer.register_forward_hook(lambda module, args, output: output + change)
    sigmas = image._denoiser.sampling.sigmas[given["timesteps"]]
    with torch.enable_grad():
        image.predict(given["latents"], sigmas, image.encode(asked["prompts"])).pow(2).sum().backward()
    handle.remove()
    assert change.grad is not None
    return change.grad


@torch.no_grad()
def found_by_name(model: Any, clip: Any, vae: Any) -> None:
    """LoRA erasers on an architecture that is not in the table: the UNet's cross-attentions."""
    denoiser = denoiser_of(model.model.diffusion_model)
    architecture = found_architecture(denoiser)
    assert architecture is not None
    said["found"] = found_note(denoiser)
    sites = architecture.sites(denoiser)
    erasers = EraserSet.create(list(sites.values()), rank=2, seed=0)
    generator = torch.Generator().manual_seed(0)
    for parameter in erasers.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.1
    tensors, before = erasers.named_tensors(), drawn(model, clip, vae, "a ghost")
    erased = with_eraser(model, tensors, architecture.family, strength=1.0, part=Part())
    off = with_eraser(model, tensors, architecture.family, strength=0.0, part=Part())
    said["changed by"] = float((drawn(erased, clip, vae, "a ghost") - before).abs().mean())
    said["off"] = torch.equal(drawn(off, clip, vae, "a ghost"), before)
    said["without"] = torch.equal(drawn(model, clip, vae, "a ghost"), before)
    for name, denoiser_without in {"no attention": torch.nn.Sequential(torch.nn.Linear(2, 2))}.items():
        broken = model.clone()
        broken.add_object_patch("diffusion_model", denoiser_without)
        said[name] = refused(lambda broken=broken: with_eraser(broken, tensors, "wan", strength=1.0, part=Part()))
    said["other family"] = refused(lambda: with_eraser(model, tensors, "wan", strength=1.0, part=Part()))


def refused(call: Any) -> str:
    try:
        call()
    except UserError as error:
        return str(error)
    return ""


def main() -> None:
    with torch.inference_mode():
        model, clip, vae, latent = LoadMiniatureNative.execute("miniature-unet", "fp32").args
        (image,) = ImageModelFromComfyUI.execute(model, clip, vae, 25, 4.0, latent).args
    weights = copy.deepcopy({**model.model.state_dict(), **clip.cond_stage_model.state_dict()})
    said["size"] = list(image.size)
    wide = ImageModelFromComfyUI.execute(model, clip, vae, 25, 4.0, latent, 64)
    said["wide"], said["words"] = list(wide.args[0].size), wide.ui["text"][0]
    said["usual"] = list(ImageModelFromComfyUI.execute(model, clip, vae, 25, 4.0).args[0].size)
    keep("encoded", image.encode(asked["prompts"]).embeds_BSD)
    skipping = clip.clone()
    skipping.clip_layer(-2)
    (other,) = ImageModelFromComfyUI.execute(model, skipping, vae, 25, 4.0, latent).args
    said["skips a layer"] = not torch.equal(other.encode(asked["prompts"]).embeds_BSD, found["encoded"])
    said["another training"] = other.describe() != image.describe()
    keep("gradient", gradient(image))
    recipe = FewShotRecipe.preset("quick", **asked["recipe"])
    pictures = {name: given[name] for name in ("images",) if name in given}
    before = {concept: drawn(model, clip, vae, prompt) for concept, prompt in asked["drawn"].items()}
    unlearned = unlearn_encoder(None, "ghost", recipe, image_model=image)
    unlearned.save(folder / "native_encoder")
    said["remaining"], said["shots"] = unlearned.training["remaining"], unlearned.training["shots"]
    short = FewShotRecipe.preset("quick", **asked["recipe"] | {"steps": 2})
    said["given"] = unlearn_encoder(None, "ghost", short, image_model=image, images=pictures["images"]).training["shots"]
    (after_clip,) = ApplyUnlearnedEncoderClip.execute(clip, unlearned, 1.0).args
    for concept, prompt in asked["drawn"].items():
        keep(f"{concept} before", before[concept])
        keep(f"{concept} after", drawn(model, after_clip, vae, prompt))
        said[f"{concept} again"] = torch.equal(drawn(model, clip, vae, prompt), before[concept])
    now = {**model.model.state_dict(), **clip.cond_stage_model.state_dict()}
    said["weights"] = all(torch.equal(now[name], value) for name, value in weights.items())
    parts = [*model.model.modules(), *clip.cond_stage_model.modules()]
    said["hooks"] = sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in parts)
    said["odd size"] = refused(lambda: ImageModelFromComfyUI.execute(model, clip, vae, 25, 4.0, None, 30, 30))
    said["clips"] = refused(lambda: FromComfyUI.execute(model, clip, vae, 4, 3.0, width=32, height=32, num_frames=5))
    said["nothing"] = refused(lambda: unlearn_encoder(None, "ghost"))
    found_by_name(model, clip, vae)


main()
save_file(found, folder / "found.safetensors")
(folder / "found.json").write_text(json.dumps(said), encoding="utf-8")
