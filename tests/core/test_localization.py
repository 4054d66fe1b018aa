"""The concept's mask: it is the model's own attention, it points at the concept's words, and it fits in memory."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from t2vu_core.families import ClipSize, EraserSite, Family, text_attention
from t2vu_core.families.text_attention import mask_bytes, text_columns, watched_text
from t2vu_core.objectives.localization import concept_mask, localization_loss, outside_mask, prediction_difference
from tests.core.tiny_models import TINY_MODELS, TinyModel

PROMPTS = ["a red ghost floats over a quiet green hill", "a street in pixel art style"]
CONCEPTS = ["ghost", "pixel art style"]


@pytest.fixture
def family(tiny: TinyModel) -> Family:
    return tiny.model.family


@pytest.fixture
def positions(family: Family) -> list[list[int]]:
    found = [family.concept_positions(prompt, concept) for prompt, concept in zip(PROMPTS, CONCEPTS, strict=True)]
    assert all(found)
    return found


def first_point(tiny: TinyModel, size: ClipSize | None = None) -> tuple[Any, ...]:
    family, size = tiny.model.family, size or tiny.size
    latents = torch.randn(2, *family.latent_shape(size), generator=torch.Generator().manual_seed(0))
    timesteps = family.make_scheduler(tiny.steps, size).timesteps[:1].expand(2)
    return latents, timesteps, family.encode(PROMPTS), size


def watched(tiny: TinyModel, positions: Sequence[Sequence[int]], layers: Any = "all") -> Tensor:
    family, point = tiny.model.family, first_point(tiny)
    with torch.no_grad(), family.text_attention(positions, tiny.size, layers) as watch:
        family.predict(*point)
    return watch.mean()


@contextlib.contextmanager
def values_of_ones(family: Family, site: EraserSite, positions: Sequence[Sequence[int]], size: ClipSize) -> Iterator[list]:
    """Within, the layer's value projections say 1 at the text positions and 0 elsewhere, in every head.

    What the layer's own attention then gives is, in every head's first number, the attention to these positions.
    """
    module, seen = site.module, []
    tokens, heads = math.prod(family.site_grid(site, size)), site.module.heads
    joint = getattr(module, "add_v_proj", None) is None and family.text_keys != "alone"

    def ones(offset: int) -> Any:
        def hook(module: Any, args: Any, output: Tensor) -> Tensor:
            value = torch.zeros_like(output).unflatten(-1, (heads, -1))
            for row in range(len(value)):
                wanted = positions[row * len(positions) // len(value)]
                value[row, [offset + position for position in wanted], :, 0] = 1.0
            return value.flatten(-2)

        return hook

    def nothing(module: Any, args: Any, output: Tensor) -> Tensor:
        return torch.zeros_like(output)

    def see(hidden: Tensor) -> None:
        first = hidden.unflatten(-1, (heads, -1))[..., 0].mean(-1)
        seen.append(first[:, -tokens:] if family.text_keys == "before_video" else first)

    handles = []
    if getattr(module, "add_v_proj", None) is not None:
        handles += [module.to_v.register_forward_hook(nothing), module.add_v_proj.register_forward_hook(ones(0))]
    else:
        offset = tokens if joint and family.text_keys == "after_video" else 0
        handles.append(module.to_v.register_forward_hook(ones(offset)))
    if module.to_out is None:
        handles.append(module.register_forward_hook(lambda module, args, output: see(output[0])))
    else:
        handles.append(module.to_out[0].register_forward_pre_hook(lambda module, args: see(args[0])))
    try:
        yield seen
    finally:
        for handle in handles:
            handle.remove()


def sites_of_the_first_pass(family: Family) -> list[EraserSite]:
    return [site for site in family.eraser_sites() if not site.name.startswith("transformer_2.")]


def test_the_mask_is_the_models_own_attention_to_the_concepts_tokens(
    tiny: TinyModel, family: Family, positions: list[list[int]]
) -> None:
    point, theirs = first_point(tiny), []
    grid = family.token_grid(tiny.size)
    for site in sites_of_the_first_pass(family):
        own = family.site_grid(site, tiny.size)
        with torch.no_grad(), watched_text({site.module: own}, positions, own, family.text_keys) as watch:
            family.predict(*point)
        with torch.no_grad(), values_of_ones(family, site, positions, tiny.size) as seen:
            family.predict(*point)
        expected = torch.cat(seen).reshape(2, -1)
        assert expected.std() > 0
        torch.testing.assert_close(watch.mean(), expected, atol=1e-6, rtol=1e-4)
        if own == grid:
            theirs.append(expected)
    if len(theirs) == len(sites_of_the_first_pass(family)):
        torch.testing.assert_close(watched(tiny, positions), torch.stack(theirs).mean(0), atol=1e-6, rtol=1e-4)


def test_watching_does_not_change_what_is_computed(tiny: TinyModel, family: Family, positions: list[list[int]]) -> None:
    point = first_point(tiny)
    with torch.no_grad():
        plain = family.predict(*point)
        with family.text_attention(positions, tiny.size):
            assert torch.equal(family.predict(*point), plain)
        assert torch.equal(family.predict(*point), plain)
    assert not any(site.module._forward_hooks or site.module._forward_pre_hooks for site in family.eraser_sites())


def test_the_mask_points_at_the_concepts_words(tiny: TinyModel, family: Family, positions: list[list[int]]) -> None:
    ghost = watched(tiny, positions)
    hill = watched(tiny, [family.concept_positions(PROMPTS[0], "green hill"), positions[1]])
    assert ghost.shape == (2, math.prod(family.token_grid(tiny.size)))
    assert not torch.allclose(ghost[0], hill[0])
    assert torch.equal(ghost[1], hill[1])
    nothing = watched(tiny, [[], positions[1]])
    assert not nothing[0].any()
    both = watched(tiny, [[*positions[0], *family.concept_positions(PROMPTS[0], "green hill")], positions[1]])
    torch.testing.assert_close(both[0], ghost[0] + hill[0])


def test_letters_in_quotation_marks_do_not_move_the_mask() -> None:
    tiny = TINY_MODELS["hunyuan-video-1.5"]
    family, (latents, timesteps, _, size) = tiny.model.family, first_point(tiny)
    prompts = ['a ghost beside a sign that says "HELLO"', "a ghost in the rain"]
    positions = [family.concept_positions(prompt, "ghost") for prompt in prompts]
    point = (latents, timesteps, family.encode(prompts), size)
    with torch.no_grad(), family.text_attention(positions, size) as watch:
        family.predict(*point)
    letters = int(point[2].glyph_mask_BG[0].sum())
    assert letters > 5
    shifted, theirs = [[place + letters for place in positions[0]], positions[1]], []
    for site in family.eraser_sites():
        with torch.no_grad(), values_of_ones(family, site, shifted, size) as seen:
            family.predict(*point)
        theirs.append(torch.cat(seen).reshape(2, -1))
    torch.testing.assert_close(watch.mean(), torch.stack(theirs).mean(0), atol=1e-6, rtol=1e-4)


def test_only_the_rows_that_say_the_concept_are_watched(tiny: TinyModel, positions: list[list[int]]) -> None:
    torch.testing.assert_close(watched(tiny, positions[:1]), watched(tiny, positions)[:1], atol=1e-7, rtol=1e-5)


def test_the_middle_of_two_denoisers_is_the_middle_of_each() -> None:
    tiny = TINY_MODELS["wan-2.2-14b"]
    positions = [tiny.model.family.concept_positions(PROMPTS[0], CONCEPTS[0])]
    # Two layers have no outer ones. Counted through both denoisers, the first one's first layer would be outside.
    assert torch.equal(watched(tiny, positions, "middle"), watched(tiny, positions))


def test_the_columns_are_those_of_a_plain_softmax() -> None:
    query, key = torch.randn(2, 3, 50, 8), torch.randn(2, 3, 70, 8)
    mask = torch.rand(2, 1, 1, 70) > 0.2
    plain = torch.softmax((query @ key.mT / math.sqrt(8)).masked_fill(~mask, -math.inf), -1)
    expected = torch.stack([plain[0, :, :, [4, 5]].sum(-1).mean(0), plain[1, :, :, [60]].sum(-1).mean(0)])
    torch.testing.assert_close(text_columns(query, key, [[4, 5], [60]], mask=mask), expected, atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("kernel", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION])
def test_blocks_of_queries_give_what_one_block_gives(monkeypatch: pytest.MonkeyPatch, kernel: SDPBackend) -> None:
    query, key = torch.randn(1, 2, 100, 16), torch.randn(1, 2, 120, 16)
    whole = text_columns(query, key, [[3]])
    monkeypatch.setattr(text_attention, "SCORES_BYTES", 7 * 4 * 2 * 120)
    with sdpa_kernel(kernel):
        torch.testing.assert_close(text_columns(query, key, [[3]]), whole, atol=1e-7, rtol=1e-5)


class LargestTensor(TorchDispatchMode):
    """The most numbers that any tensor made within holds."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        output = func(*args, **(kwargs or {}))
        sizes = [leaf.numel() for leaf in tree_leaves(output) if isinstance(leaf, Tensor)]
        self.numbers = max([self.numbers, *sizes])
        return output


def largest(num_video: int, num_text: int = 8, heads: int = 2) -> int:
    length = num_video + num_text
    query, key = torch.randn(1, heads, num_video, 16), torch.randn(1, heads, length, 16)
    with LargestTensor() as seen:
        text_columns(query, key, [[0]])
    return seen.numbers


@pytest.mark.parametrize("kernel", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION])
def test_the_masks_memory_grows_with_the_clip_and_not_with_its_square(
    monkeypatch: pytest.MonkeyPatch, kernel: SDPBackend
) -> None:
    monkeypatch.setattr(text_attention, "SCORES_BYTES", 64 * 2**10)
    with sdpa_kernel(kernel):
        small, large = largest(500), largest(2000)
    assert large <= 4.1 * small
    assert large < 2000 * 2000 / 10, "a map of all tokens by all tokens was made"


def test_a_mask_of_the_full_size_cogvideox_2b_fits_in_half_a_gigabyte() -> None:
    latent_frames, rows, columns, heads = 13, 30, 45, 30
    num_video = latent_frames * rows * columns
    at_49_frames = mask_bytes(num_video=num_video, num_text=226, heads=heads, head_dim=64)
    assert at_49_frames < 0.5e9
    assert mask_bytes(num_video=2 * num_video, num_text=226, heads=heads, head_dim=64) < 2 * at_49_frames


class PeakBytes(TorchDispatchMode):
    """The bytes of all tensors made within that are alive at the same time, at the most."""

    def __init__(self) -> None:
        super().__init__()
        self.alive: dict[int, int] = {}
        self.peak = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        import weakref

        output = func(*args, **(kwargs or {}))
        for leaf in tree_leaves(output):
            if isinstance(leaf, Tensor):
                storage = leaf.untyped_storage()
                key = storage._cdata
                if key not in self.alive:
                    self.alive[key] = storage.nbytes()
                    weakref.finalize(storage, self.alive.pop, key, None)
        self.peak = max(self.peak, sum(self.alive.values()))
        return output


@pytest.mark.parametrize("kernel", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION])
@pytest.mark.parametrize("num_video", [300, 2000])
def test_the_stated_memory_is_not_exceeded(kernel: SDPBackend, num_video: int) -> None:
    query, key = torch.randn(2, 3, num_video, 16), torch.randn(2, 3, num_video + 20, 16)
    with sdpa_kernel(kernel), PeakBytes() as seen:
        text_columns(query, key, [[0], [3, 4]])
    assert seen.peak > 0
    assert seen.peak <= mask_bytes(num_video=num_video, num_text=20, heads=3, head_dim=16, clips=2)


def test_the_mask_of_the_predictions_lies_on_the_tokens_where_they_differ(tiny: TinyModel, family: Family) -> None:
    frames, rows, columns = family.token_grid(tiny.size)
    neutral = torch.randn(1, *family.latent_shape(tiny.size))
    concept = neutral.clone().movedim(family.channel_axis, 1)
    steps, height, width = (have // tokens for have, tokens in zip(concept.shape[2:], (frames, rows, columns), strict=True))
    concept[:, :, (frames - 1) * steps :, :height, width : 2 * width] += 1.0
    difference = prediction_difference(
        concept.movedim(1, family.channel_axis), neutral, family.channel_axis, (frames, rows, columns)
    )
    assert concept_mask(difference, (frames, rows, columns)).nonzero().tolist() == [[0, (frames - 1) * rows * columns + 1]]


def test_a_mask_is_stretched_within_each_frame() -> None:
    attention = torch.tensor([[1.0, 2.0, 3.0, 10.0, 10.0, 30.0, 5.0, 5.0, 5.0]])
    mask = concept_mask(attention, (3, 1, 3))
    assert mask.tolist() == [[0.0, 0.5, 1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0]]
    assert outside_mask(mask, 0.5).tolist() == [[1, 0, 0, 1, 1, 0, 1, 1, 1]]
    assert outside_mask(mask, 0.0).tolist() == [[1, 0.5, 0, 1, 1, 0, 1, 1, 1]]


def test_only_what_an_eraser_adds_outside_the_mask_costs() -> None:
    removed = torch.ones(2, 4, 3)
    outside = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, 1.0, 0.0, 0.0]])
    assert localization_loss(removed, outside).tolist() == [0.0, 0.5]
