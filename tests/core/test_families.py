"""Every architecture, on the real classes at tiny size: it computes what its stock pipeline computes, and erasers fit."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from t2vu_core.errors import UserError
from t2vu_core.families import ClipSize, Family, TextCondition
from tests.core.tiny_models import TINY_MODELS, TinyModel

PROMPTS = ["a red ghost floats over a quiet green hill", "a street in pixel art style"]


@pytest.fixture
def family(tiny: TinyModel) -> Family:
    return tiny.model.family


@pytest.fixture
def point(tiny: TinyModel, family: Family) -> tuple[Tensor, Tensor, TextCondition, ClipSize]:
    """Two places on the way from noise to clip, the first step and the last, with a prompt each."""
    latents = torch.randn(2, *family.latent_shape(tiny.size), generator=torch.Generator().manual_seed(0))
    timesteps = family.make_scheduler(tiny.steps, tiny.size).timesteps
    return latents, timesteps[[0, -1]], family.encode(PROMPTS), tiny.size


@pytest.mark.smoke
def test_sampling_gives_the_stock_pipelines_clips_for_the_same_seeds(tiny: TinyModel) -> None:
    ours = tiny.sample_ours(tiny.model, PROMPTS, [5, 6], tiny.guidance_scale)
    stock = tiny.sample_stock(tiny.stock(), PROMPTS, [5, 6], tiny.guidance_scale)
    torch.testing.assert_close(ours, stock, atol=1e-5, rtol=0)
    assert ours.shape == (2, tiny.num_frames, 3, tiny.height, tiny.width)
    other_seed = tiny.sample_ours(tiny.model, PROMPTS, [5, 7], tiny.guidance_scale)
    torch.testing.assert_close(other_seed[0], ours[0], atol=1e-5, rtol=0)
    assert (other_seed[1] - ours[1]).abs().max() > 1e-3


def test_every_denoiser_pass_is_the_stock_pipelines(tiny: TinyModel) -> None:
    stock = tiny.stock()
    theirs = recorded_passes(stock, lambda: tiny.sample_stock(stock, PROMPTS[:1], [3], 1.0))
    ours = recorded_passes(tiny.model.family.pipeline, lambda: tiny.sample_ours(tiny.model, PROMPTS[:1], [3], 1.0))
    other = recorded_passes(tiny.model.family.pipeline, lambda: tiny.sample_ours(tiny.model, PROMPTS[1:], [3], 1.0))
    assert len(ours) == tiny.steps
    assert [name for name, _ in ours] == [name for name, _ in theirs]
    for (_, our), (_, their), (_, with_other_prompt) in zip(ours, theirs, other, strict=True):
        torch.testing.assert_close(our, their, atol=1e-5, rtol=1e-5)
        assert (our - with_other_prompt).abs().max() > 1e-4, "the comparison cannot see the prompt"


def recorded_passes(pipeline: Any, run: Callable[[], object]) -> list[tuple[str, Tensor]]:
    """What each denoiser gave while `run` ran, in order."""
    passes: list[tuple[str, Tensor]] = []
    handles = [
        module.register_forward_hook(lambda module, args, output, name=name: passes.append((name, output[0].float())))
        for name in ("transformer", "transformer_2", "unet")
        if (module := getattr(pipeline, name, None)) is not None
    ]
    run()
    for handle in handles:
        handle.remove()
    return passes


def test_two_denoisers_share_the_way_at_the_boundary() -> None:
    tiny = TINY_MODELS["wan-2.2-14b"]
    family = tiny.model.family
    names = [name for name, _ in recorded_passes(family.pipeline, lambda: tiny.sample_ours(tiny.model, PROMPTS[:1], [3], 1.0))]
    assert names == sorted(names)
    assert set(names) == {"transformer", "transformer_2"}
    latents = torch.randn(2, *family.latent_shape(tiny.size))
    timesteps = family.make_scheduler(tiny.steps, tiny.size).timesteps[[0, -1]]
    condition = family.encode(PROMPTS)
    mixed = family.predict(latents, timesteps, condition, tiny.size)
    for row in range(2):
        rows = slice(row, row + 1)
        alone = family.predict(latents[rows], timesteps[rows], condition[rows], tiny.size)
        torch.testing.assert_close(mixed[rows], alone, atol=1e-5, rtol=1e-5)


def test_erasers_see_every_video_token_and_no_text_token(tiny: TinyModel, family: Family, point: Any) -> None:
    num_text = point[2].embeds_BSD.shape[1] + tiny.beside_text
    before = site_outputs(family, point)
    for site in family.eraser_sites():
        num_video = math.prod(family.site_grid(site, point[3]))
        assert num_text != num_video, "the test could not tell text from video"
        changed: list[torch.Size] = []

        def paint(hidden: Tensor, changed: list[torch.Size] = changed) -> Tensor:
            changed.append(hidden.shape)
            return torch.full_like(hidden, 7.0)

        handle = site.module.register_forward_hook(lambda module, args, output, site=site: site.edit(output, paint))
        after = site_outputs(family, point)[site.name]
        handle.remove()
        # A UNet's frames are rows of the batch.
        assert all(shape[0] * shape[1] % num_video == 0 and shape[2] == site.width for shape in changed)
        seen = sum(shape[0] * shape[1] for shape in changed)
        assert seen == 2 // len(family.denoisers) * num_video, "each denoiser has its own stretch"
        for (video, text), (_, old_text) in zip(after, before[site.name], strict=True):
            assert (video == 7.0).all()
            if text is not None:
                assert text.shape[1] == num_text
                assert torch.equal(text, old_text), f"{site.name} changes text tokens"


def site_outputs(family: Family, point: Any) -> dict[str, list[tuple[Tensor, Any]]]:
    """(video, text or None) of every call of every site, as whoever stands behind it sees them."""
    outputs: dict[str, list[tuple[Tensor, Any]]] = {site.name: [] for site in family.eraser_sites()}
    handles = [
        site.module.register_forward_hook(
            lambda module, args, output, name=site.name: outputs[name].append(
                output if isinstance(output, tuple) else (output, None)
            )
        )
        for site in family.eraser_sites()
    ]
    with torch.no_grad():
        family.predict(*point)
    for handle in handles:
        handle.remove()
    return outputs


def test_the_token_grid_says_where_in_the_clip_a_token_lies(family: Family, point: Any) -> None:
    latents, timesteps, condition, size = point
    frames, rows, columns = family.token_grid(size)
    frame, row, column = frames - 1, 0, 1
    time_axis = 0 if family.name == "cogvideox" else 1
    height, width = latents.shape[-2] // rows, latents.shape[-1] // columns
    steps = latents.shape[1 + time_axis] // frames
    changed = latents.clone()
    where = [slice(None)] * latents.ndim
    where[1 + time_axis] = slice(frame * steps, (frame + 1) * steps)
    where[-2:] = [slice(row * height, (row + 1) * height), slice(column * width, (column + 1) * width)]
    changed[tuple(where)] += 1.0
    tokens = [first_tokens(family, (given, timesteps, condition, size)) for given in (latents, changed)]
    moved = (tokens[0] != tokens[1]).any(dim=(0, 2)).nonzero().flatten().tolist()
    assert moved == [(frame * rows + row) * columns + column]


def first_tokens(family: Family, point: Any) -> Tensor:
    """The video tokens that enter the first block of the denoiser that sees row 0."""
    denoiser = next(iter(family.denoisers.values()))
    if "unet" in family.denoisers:
        return first_pixels(family, point)
    block = getattr(denoiser, "transformer_blocks", None) or denoiser.blocks
    seen: list[Tensor] = []
    handle = block[0].register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(args[0] if args else kwargs["hidden_states"]), with_kwargs=True
    )
    with torch.no_grad():
        family.predict(*point)
    handle.remove()
    return seen[0][:1]


def first_pixels(family: Family, point: Any) -> Tensor:
    """The same for a UNet, in which neighbours mix from the first layer on: what enters it."""
    seen: list[Tensor] = []
    conv = family.denoisers["unet"].conv_in
    handle = conv.register_forward_pre_hook(lambda module, args: seen.append(args[0]))
    with torch.no_grad():
        family.predict(*point)
    handle.remove()
    return seen[0].flatten(2).transpose(1, 2).reshape(len(point[0]), -1, seen[0].shape[1])[:1]


@pytest.mark.smoke
@pytest.mark.parametrize(
    ("prompt", "concept", "said"),
    [
        ("a red ghost floats over a quiet green hill", "ghost", "ghost"),
        ("Ghost, seen from far away; the ghost's hill", "ghost", "ghostghost's"),
        ("two ghosts and a clown dance slowly", "ghost", "ghosts"),
        ("a street in Pixel Art style, with an old clown", "pixel art style", "pixelart"),
        ("portrait of a robot  in pixel  art style", "in pixel art style", "pixelart"),
        ("a polar bear plays drums", "ghost", ""),
        ("a ghostwriter and a host", "ghost", ""),
        ("the main content of the video", "video", "video"),
    ],
)
def test_the_concepts_tokens_are_found_in_the_prompt(family: Family, prompt: str, concept: str, said: str) -> None:
    positions = family.concept_positions(prompt, concept)
    ids = encoded_ids(family, prompt)
    spelled = family.pipeline.tokenizer.decode(ids[positions]) if positions else ""
    assert re.sub(r"[\s,;]", "", spelled).lower() == said
    length = family.encode([prompt]).embeds_BSD.shape[1]
    assert all(0 <= position < length for position in positions)


def encoded_ids(family: Family, prompt: str) -> Tensor:
    """The ids behind the S embeddings: what the text encoder was given, of which pipelines drop only the start."""
    seen: list[Tensor] = []
    handle = family.pipeline.text_encoder.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(args[0] if args else kwargs["input_ids"]), with_kwargs=True
    )
    length = family.encode([prompt]).embeds_BSD.shape[1]
    handle.remove()
    return seen[0][0, -length:]


def test_chinese_concepts_are_found_between_other_letters() -> None:
    from t2vu_core.families.spelling import concept_tokens
    from tests.core.tiny_tokenizers import llama_tokenizer

    tokenizer = llama_tokenizer()
    text = "一只猫在跑"
    positions = concept_tokens(tokenizer, text, "猫", max_length=64)
    assert tokenizer.decode([tokenizer(text).input_ids[position] for position in positions]) == "猫"


def test_a_tokenizer_that_knows_no_characters_says_what_to_install() -> None:
    from transformers import ByT5Tokenizer

    from t2vu_core.families.spelling import concept_tokens

    with pytest.raises(UserError, match="no fast form here: .*; install transformers 5"):
        concept_tokens(ByT5Tokenizer(), "a ghost", "ghost", max_length=8)


def test_a_batch_of_prompts_is_encoded_as_each_prompt_alone(family: Family) -> None:
    together = family.encode(["", *PROMPTS])
    apart = TextCondition.cat([family.encode([prompt]) for prompt in ("", *PROMPTS)])
    for one, other in zip(fields(together), fields(apart), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)
    for one, other in zip(fields(together[[2]].expand(3)), fields(apart[[2, 2, 2]]), strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def fields(condition: TextCondition) -> Iterator[Tensor]:
    for field in dataclasses.fields(condition):
        if (value := getattr(condition, field.name)) is not None:
            yield value


def test_impossible_sizes_are_refused_with_sizes_that_work(tiny: TinyModel, family: Family) -> None:
    family.check_size(tiny.size)
    family.check_size(family.defaults.size)
    with pytest.raises(UserError, match="multiples of") as refused:
        family.check_size(ClipSize(tiny.num_frames, tiny.height + 3, tiny.width))
    width, height = map(int, re.search(r"for example (\d+) x (\d+)", str(refused.value)).groups())
    family.check_size(ClipSize(tiny.num_frames, height, width))
    if tiny.any_frames:
        family.check_size(ClipSize(tiny.num_frames + 1, tiny.height, tiny.width))
    else:
        with pytest.raises(UserError, match="k \\+ 1") as refused:
            family.check_size(ClipSize(tiny.num_frames + 1, tiny.height, tiny.width))
        for frames in map(int, re.search(r"for example (\d+) or (\d+)", str(refused.value)).groups()):
            if frames <= family.defaults.size.num_frames:
                family.check_size(ClipSize(frames, tiny.height, tiny.width))
    with pytest.raises(UserError):
        tiny.model.sample("a ghost", num_frames=tiny.num_frames, height=tiny.height, width=tiny.width + 1)


def test_a_motion_adapter_refuses_clips_longer_than_it_knows() -> None:
    with pytest.raises(UserError, match="up to 16 frames; 17 are more"):
        TINY_MODELS["animatediff"].model.sample("a ghost", num_frames=17, height=32, width=32)


def test_bfloat16_loads_and_computes_the_same_within_its_precision(tiny: TinyModel, point: Any) -> None:
    from t2vu_core.model import load_model

    half = load_model(tiny.folder, dtype=torch.bfloat16, device="cpu")
    assert half.family.dtype == torch.bfloat16
    assert half.base.hash == tiny.model.base.hash, "an erasure of the one must fit the other"
    with torch.no_grad():
        exact = tiny.model.family.predict(*point)
        close = half.family.predict(point[0], point[1], half.family.encode(PROMPTS), point[3])
    assert close.dtype == torch.float32
    assert (close - exact).norm() / exact.norm() < 0.1
    clip = half.sample(PROMPTS[0], **{**tiny.clip, "num_inference_steps": 2}, guidance_scale=tiny.guidance_scale)
    assert torch.isfinite(clip).all()


def test_nothing_of_the_base_can_be_trained(family: Family) -> None:
    modules = [part for part in family.pipeline.components.values() if isinstance(part, nn.Module)]
    assert not any(parameter.requires_grad for module in modules for parameter in module.parameters())
    assert not any(module.training for module in modules)


@pytest.mark.parametrize("name", ["ltx-video", "mochi"])
def test_a_schedule_that_cannot_be_one_step_long_says_so(name: str) -> None:
    tiny = TINY_MODELS[name]
    with pytest.raises(UserError, match="needs at least 2 steps"):
        tiny.model.sample(PROMPTS[:1], seeds=0, **{**tiny.clip, "num_inference_steps": 1})
