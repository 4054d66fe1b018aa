"""Run inside ComfyUI's folder: `python native_training_in_process.py FOLDER` trains erasers on ComfyUI's own tiny models.

Reads FOLDER/<family>.safetensors (a model in ComfyUI's format) and given.safetensors (noise, conditions), and writes what
it found to FOLDER/found.safetensors and found.json, and the trained erasers to FOLDER/trained_<kind>.safetensors.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from in_comfyui import folder

# isort: split
import comfy.clip_vision
import comfy.ldm.wan.model
import comfy.lora
import comfy.model_management
import comfy.nested_tensor
import comfy.ops
import comfy.sample
import torch
from native_gradients import gradients, precision
from native_models import (
    CLIPS,
    GUIDANCE,
    KINDS,
    PROMPTS,
    STEPS,
    batch,
    clip_for,
    erasers_for,
    found,
    given,
    load,
    made,
    said,
    shape_of,
    there,
    write,
)
from native_precision import asked_memory, in_half
from planned_memory import planned_and_real
from quantised import blocks
from safetensors.torch import load_file, save_file
from stand_ins import PlainPixels
from t2vu_pack.nodes import comfy_bridge
from t2vu_pack.nodes.native import Sampled, model_from_comfyui
from t2vu_pack.nodes.velocity_erase import LOWER
from torch import Tensor

from t2vu_core import (
    FewShotRecipe,
    UserError,
    VelocityRecipe,
    erase_velocity,
    unlearn_encoder,
)
from t2vu_core.erasers import EraserSet
from t2vu_core.families.text_condition import TextCondition
from t2vu_core.interchange.comfyui_names import to_comfyui
from t2vu_core.interchange.lora_files import lora_pairs
from t2vu_core.prompts.plan_text import plan_text
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.sampling import denoise, guided
from t2vu_core.training.few_shot.plan import plan_encoder

RECIPE = {
    "kind": "bottleneck", "steps": 8, "concept_trajectories": 2, "preserve_trajectories": 2, "trajectory_steps": 2, "rank": 4,
    "learning_rate": 1e-2,
}  # fmt: skip
SMALL = (16, 2, 4, 6)


def train(model: Any, *, cancel_at: int = 0, **options: Any) -> tuple[Any, list[int]]:
    steps: list[int] = []

    def on_progress(done: Any) -> None:
        if done.loss is not None:
            steps.append(done.step)
            if done.step == cancel_at:
                # As the button does it, from another thread: the next layer that computes takes it.
                comfy.model_management.interrupt_current_processing()

    recipe = VelocityRecipe.preset("quick", **{**RECIPE, **options})
    subject = made("wan", model, shape=SMALL)
    erasure = erase_velocity(subject, "ghost", recipe, unfinished_folder=folder / "unfinished", on_progress=on_progress)
    return erasure, steps


def same(one: Any, other: Any) -> bool:
    return all(torch.equal(one.tensors[name], value) for name, value in other.tensors.items())


def training() -> None:
    model = load("wan")
    weights = copy.deepcopy(model.model.state_dict())
    whole, _ = train(model)
    whole.save(folder / "trained_bottleneck.safetensors")
    train(model, kind="lora")[0].save(folder / "trained_lora.safetensors")
    try:
        train(model, cancel_at=3)
    except comfy_bridge.Cancelled as error:
        said["cancelled by"] = type(error).__name__
    said["cancel is taken"] = not comfy.model_management.processing_interrupted()
    resumed, steps = train(model)
    said["resumed at"], said["resumed is the same"] = steps[0], same(whole, resumed)
    said["recomputed is the same"] = same(whole, train(model, gradient_checkpointing=True)[0])
    said["another size is another run"] = not same(whole, other_size(model))
    said["memory"] = too_little_memory(model)
    after = model.model.state_dict()
    said["weights"] = all(torch.equal(after[name], value) for name, value in weights.items())
    said["left behind"] = sum(
        len(part._forward_hooks) + len(part._forward_pre_hooks) + ("forward" in vars(part)) for part in model.model.modules()
    )
    shadowed = vars(model.get_model_object("model_sampling"))
    said["left on the sampling"] = "calculate_denoised" in shadowed
    said["losses"] = whole.training["losses"]


def too_little_memory(model: Any) -> str:
    """What a user sees when the memory runs out in a step of a training run."""
    own = model.model.apply_model

    def too_large(*args: Any, **kwargs: Any) -> Tensor:
        if torch.is_grad_enabled():
            raise torch.cuda.OutOfMemoryError("CUDA out of memory.")
        return own(*args, **kwargs)

    model.model.apply_model = too_large
    try:
        with comfy_bridge.enough_memory("an eraser was trained", LOWER):
            train(model, seed=5)
    except UserError as error:
        return str(error)
    finally:
        del model.model.apply_model
    return ""


def other_size(model: Any) -> Any:
    subject = made("wan", model, shape=(16, 3, 4, 6))
    return erase_velocity(subject, "ghost", VelocityRecipe.preset("quick", **RECIPE), unfinished_folder=folder / "unfinished")


def ksampler(model: Any, text: Any, empty: Any, noise: Tensor) -> Tensor:
    with torch.inference_mode():
        out = comfy.sample.sample(
            model, noise, STEPS, GUIDANCE, "euler", "simple", text, empty, torch.zeros_like(noise), denoise=1.0, seed=7,
            disable_pbar=True,
        )  # fmt: skip
        return model.model.process_latent_in(out).clone()


def sampling(name: str) -> None:
    """Our loop on the same noise against KSampler, and a prediction for diffusers to compare with."""
    model = load(name)
    family: Any = made(name, model).family
    noise, size = torch.randn(1, *shape_of(name), generator=torch.Generator().manual_seed(4)), family.defaults.size
    text, empty = family.encode(["a ghost"]), family.encode([""])
    with torch.no_grad():
        plain = guided(family, size, text, empty, GUIDANCE)
        ours = denoise(family.make_scheduler(STEPS, size), noise, plain, step=family.step)
    clip = clip_for(name)
    rows = [clip.encode_from_tokens_scheduled(prompt) for prompt in ("a ghost", "")]
    theirs = ksampler(model, *rows, noise)
    x, sigmas, condition = batch(family)
    with torch.no_grad():
        together = family.predict(x, sigmas, condition, size)
        rows_alone = [
            family.predict(x[row : row + 1], sigmas[row : row + 1], family.encode([prompt]), size)
            for row, prompt in enumerate(PROMPTS)
        ]
    said[f"{name} rows"] = float((together - torch.cat(rows_alone)).norm() / together.norm())
    said[f"{name} off KSampler"] = float((ours - theirs).norm() / theirs.norm())
    said[f"{name} hash"] = family.base_hash


def predictions() -> None:
    """For the diffusers model with the same weights: a pass without and with each trained eraser."""
    family: Any = made("wan").family
    text = given["wan.text"].expand(2, -1, -1).clone()
    x, sigmas = given["wan.noise"], torch.tensor([0.7, 0.4])
    with torch.no_grad():
        found["plain"] = family.predict(x, sigmas, TextCondition(text), family.defaults.size)
        for kind in KINDS:
            for source in ("trained", "theirs"):
                erasers = EraserSet.from_tensors(load_file(folder / f"{source}_{kind}.safetensors"))
                with erasers.attached(erasers.fit(family.sites())):
                    found[f"{source} {kind}"] = family.predict(x, sigmas, TextCondition(text), family.defaults.size)


def attention() -> None:
    """Video tokens' attention to the text, whichever kernel ComfyUI would compute it with."""
    family: Any = made("wan").family
    size, condition = family.defaults.size, TextCondition(given["wan.text"].expand(2, -1, -1).clone())
    with torch.no_grad(), family.text_attention([[1, 2], [3]], size) as watch:
        family.predict(given["wan.noise"], torch.tensor([0.7, 0.4]), condition, size)
    found["attention"] = watch.mean()


def image_to_video() -> None:
    """A start image in the CONDITIONING goes into every row."""
    torch.manual_seed(0)
    net = comfy.ldm.wan.model.WanModel(
        model_type="t2v", dim=128, ffn_dim=256, num_heads=1, num_layers=2, in_dim=36, dtype=torch.float32, device="cpu",
        operations=comfy.ops.disable_weight_init,
    )  # fmt: skip
    state = {
        name: torch.ones_like(value) if "norm" in name and name.endswith("weight") else torch.randn(value.shape) * 0.05
        for name, value in net.state_dict().items()
    }
    save_file(state, folder / "i2v.safetensors")
    model = load("i2v")
    with torch.inference_mode():
        # As WanImageToVideo makes them.
        shown = {"concat_latent_image": torch.randn(1, 16, 3, 8, 12), "concat_mask": torch.ones(1, 1, 3, 8, 12)}
    outs = []
    for parts in (shown, {}):
        family: Any = made("wan", model, conditioning=[[torch.zeros(1, 1, 1), parts]]).family
        x, sigmas, condition = batch(family)
        erasers, sites = erasers_for(family, "bottleneck")
        with torch.enable_grad(), erasers.attached(sites):
            out = family.predict(x, sigmas, condition, family.defaults.size)
            out.square().mean().backward()
        outs.append(out.detach())
        said.setdefault("image gradients", []).append(sum(float(p.grad.norm()) for p in erasers.parameters()))
    said["image counts"] = float((outs[0] - outs[1]).norm() / outs[1].norm())
    conditioning(model)


def conditioning(model: Any) -> None:
    """CLIP Vision Encode's output reaches the pass and the hash; parts that cannot be repeated are refused."""
    text = torch.zeros(1, 1, 1)
    seen = [comfy.clip_vision.Output() for _ in range(2)]
    for number, output in enumerate(seen):
        output["penultimate_hidden_states"], output["mm_projected"] = torch.full((1, 3, 5), float(number)), None
    families = [made("wan", model, conditioning=[[text, {"clip_vision_output": output}]]).family for output in seen]
    given = families[1]._settings.others["clip_vision_output"]
    said["image embeds"] = [float(given.penultimate_hidden_states.mean()), families[0].describe() != families[1].describe()]
    said["refused conditioning"] = []
    for entries in ([[text, {"control": model}]], [[text, {}], [text, {}]]):
        try:
            made("wan", model, conditioning=entries)
        except UserError as error:
            said["refused conditioning"].append(str(error))


def on_top() -> None:
    """With a LoRA merged into the MODEL, the base is still the base, and the run is another one."""
    model = load("wan")
    style = load_file(folder / "style.safetensors")
    patched = model.clone()
    patched.add_patches(comfy.lora.load_lora(style, comfy.lora.model_lora_keys_unet(model.model, {})), 1.0)
    one, other = made("wan", model).family, made("wan", patched).family
    x, sigmas, condition = batch(one)
    with torch.no_grad():
        plain, styled, again = (family.predict(x, sigmas, condition, family.defaults.size) for family in (one, other, one))
    said["style counts"] = float((styled - plain).norm() / plain.norm())
    said["plain after style"] = torch.equal(again, plain)
    said["hash with style"] = other.base_hash == one.base_hash
    said["described apart"] = other.describe() != one.describe()
    sampled = Sampled(STEPS, GUIDANCE, shift=3.0)
    shifted = model_from_comfyui([model], clip_for("wan"), PlainPixels(8, 4), sampled, pixels=(9, 64, 96)).family
    said["shift"] = [float(each.make_scheduler(2, each.defaults.size).sigmas[1]) for each in (one, shifted)]


def two_models() -> None:
    """High and low noise, as in Wan 2.2 A14B: each row goes to one of them, and the file holds both."""
    other = {name: value * 1.05 for name, value in load_file(folder / "wan.safetensors").items()}
    save_file(other, folder / "low.safetensors")
    high, low = load("wan"), load("low")
    both: Any = model_from_comfyui(
        [high, low], clip_for("wan"), PlainPixels(8, 4), Sampled(STEPS, GUIDANCE, boundary=0.5), pixels=(9, 64, 96)
    ).family
    x, sigmas, condition = batch(both)
    with torch.no_grad():
        mixed = both.predict(x, sigmas, condition, both.defaults.size)
        apart = [made("wan", model).family.predict(x, sigmas, condition, both.defaults.size) for model in (high, low)]
    said["rows by noise"] = [float((mixed[row] - apart[row][row]).abs().max()) for row in (0, 1)]
    said["rows apart"] = float((apart[0][1] - apart[1][1]).abs().max())
    sites = both.eraser_sites()
    said["sites of both"] = sorted(site.name for site in sites)
    said["passes"] = [both.passes(name, sigmas).tolist() for name in ("blocks.0.attn2", "transformer_2.blocks.0.attn2")]
    erasers, sites = erasers_for(both, "lora")
    with torch.enable_grad(), erasers.attached(sites):
        both.predict(x, sigmas, condition, both.defaults.size).square().mean().backward()
    said["gradients of both"] = min(float(own.grad.norm()) for own in erasers.parameters())


def text_encoders() -> None:
    """A CLIP with a text encoder of no known kind, and one with a second encoder that is not trained."""
    clip = clip_for("wan")
    outer: Any = clip.cond_stage_model
    latent = {"samples": torch.zeros(1, *SMALL)}
    subject = model_from_comfyui([load("wan")], clip, PlainPixels(8, 4), Sampled(STEPS, GUIDANCE), latent=latent)
    try:
        unlearn_encoder(subject, "ghost")
    except UserError as error:
        said["unknown encoder"] = str(error)
    recipe = FewShotRecipe.preset("quick")
    said["one encoder"] = plan_encoder(subject, ConceptRequest.of("ghost"), recipe).warnings
    outer.clip_l = torch.nn.Module()
    outer.clip_l.transformer = torch.nn.Linear(1, 1)
    subject = model_from_comfyui([load("wan")], clip, PlainPixels(8, 4), Sampled(STEPS, GUIDANCE), latent=latent)
    said["two encoders"] = plan_text(plan_encoder(subject, ConceptRequest.of("ghost"), recipe).describe())


def planned() -> None:
    """An architecture that takes prompts of one length, and layers that only they themselves can unpack."""
    models = {"hunyuan_video_15": made("hunyuan_video_15"), "Q8_0": made("wan", blocks())}
    said["planned"] = {name: planned_and_real(model.family, kind="lora") for name, model in models.items()}


def by_name() -> None:
    """Training where erasers sit on layers that were found by name: the plan says so, and other kinds are refused."""
    subject, size = made("cosmos_predict2"), {"trajectory_steps": 2, "concept_trajectories": 1, "preserve_trajectories": 1}
    erasure = erase_velocity(subject, "ghost", VelocityRecipe.preset("quick", steps=1, rank=2, **size))
    said["plan by name"], said["by name"] = plan_text(erasure.prompts), erasure.base.family
    keys = comfy.lora.model_lora_keys_unet(load("cosmos_predict2").model, {})
    pairs = to_comfyui(erasure.base.family, lora_pairs(erasure))
    said["for Load LoRA"] = bool(pairs) and all(name in keys for name in pairs)
    try:
        erase_velocity(subject, "ghost", VelocityRecipe.preset("quick", steps=1, kind="bottleneck", **size))
    except UserError as error:
        said["bottleneck by name"] = str(error)


def pictures_and_sound() -> None:
    """A LATENT of both, as LTX-2's graphs have it: clips are as large as the pictures say."""
    if not there("ltx_2"):
        return
    both = comfy.nested_tensor.NestedTensor([torch.zeros(1, 128, 2, 3, 4), torch.zeros(1, 8, 5, 16)])
    parts = clip_for("ltx_2"), PlainPixels(32, 8)
    family = model_from_comfyui([load("ltx_2")], *parts, Sampled(STEPS, GUIDANCE), latent={"samples": both}).family
    said["pictures"] = dataclasses.astuple(family.defaults.size)


def parts() -> Iterator[Callable[[], None]]:
    for name in filter(there, CLIPS):
        yield partial(gradients, name)
        yield partial(sampling, name)
    yield from (
        precision,
        in_half,
        asked_memory,
        training,
        predictions,
        attention,
        image_to_video,
        on_top,
        two_models,
        text_encoders,
        by_name,
        pictures_and_sound,
        planned,
    )


for part in parts():
    part()
write()
