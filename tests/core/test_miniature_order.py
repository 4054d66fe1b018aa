"""The bundled miniature reads: the words' order says who stands where."""

from __future__ import annotations

import random

import torch
from torch import Tensor

from t2vu_core.miniature.captions import caption
from t2vu_core.miniature.world import FIRST, SECOND, render, sample_labels
from t2vu_core.model import load_model
from t2vu_core.sampling import noise

PAIRS = 24


def test_a_ghost_and_a_cat_is_not_a_cat_and_a_ghost() -> None:
    """From pure noise, where words alone decide, the clip is nearer to its own caption's render than to the swapped one's."""
    labels = sample_labels(PAIRS, torch.Generator().manual_seed(11), two_subjects=1.0, empty=0.0)
    swapped = labels.clone()
    swapped[:, [FIRST, SECOND]] = labels[:, [SECOND, FIRST]]
    prompts = [caption(row, random.Random(0)) for row in labels.tolist()]
    with torch.no_grad(), load_model("miniature").active() as family:
        size = family.defaults.size
        start = noise(family, size, range(PAIRS))
        timesteps = torch.full((PAIRS,), 999)
        # At the last timestep of zero terminal SNR the velocity is the negated clip.
        clips = family.decode(-family.predict(start, timesteps, family.encode(prompts), size), size)

    def distance(rows: Tensor) -> Tensor:
        render_01 = render(rows, torch.Generator().manual_seed(0)) / 2 + 0.5
        return (clips - render_01).square().flatten(1).mean(1)

    assert (distance(labels) < distance(swapped)).float().mean() >= 0.9
