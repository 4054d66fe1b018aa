"""The localisation loss: what the erasers add outside the masks, collected while the denoiser computes."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from t2vu_core.errors import UserError
from t2vu_core.families.base import Family
from t2vu_core.families.clip_size import ClipSize
from t2vu_core.families.eraser_site import EraserSite
from t2vu_core.objectives.localization import localization_loss


class OutsideMask:
    """`record` sees every eraser's output; `loss` is what the first rows of the batch add outside their masks."""

    def __init__(self, family: Family, sites: list[EraserSite], size: ClipSize) -> None:
        self._family, self._size = family, size
        self._sites = {site.name: site for site in sites}
        self._outside: Tensor | None = None
        self._open = False
        self._parts: list[Tensor] = []

    def begin(self, outside_BN: Tensor | None, timesteps_B: Tensor) -> None:
        """Call before a pass. `outside_BN`, 1 - M, belongs to the first rows of its batch; with None nothing is recorded."""
        self._outside, self._timesteps, self._parts, self._open = outside_BN, timesteps_B, [], True

    def record(self, site_name: str, removed: Tensor) -> None:
        """For `EraserSet.attached`. Gradient checkpointing calls it again in the backward pass, with the same result."""
        if self._outside is None or not torch.is_grad_enabled():
            return
        rows = self._family.passes(site_name, self._timesteps).nonzero().flatten()
        rows = rows[rows < len(self._outside)]
        if not len(rows):
            return
        outside = self._at_site(self._outside[rows], self._sites[site_name], removed.shape[1])
        part = localization_loss(removed[: len(outside)], outside).sum() / (len(outside) // len(rows))
        if self._open:
            self._parts.append(part)

    def loss(self) -> Tensor:
        """Mean over layers, sum over the masked rows: Eq. 9 before its mean over clips."""
        self._open = False
        assert self._outside is not None
        if not self._parts:
            raise UserError(
                "This model cannot measure what the eraser adds outside the concept while it saves memory: set localization "
                "to 0, or switch low_memory (gradient_checkpointing) off."
            )
        layers = len(self._sites) // len(self._family.denoisers)
        return torch.stack(self._parts).sum() / layers

    def _at_site(self, outside_BN: Tensor, site: EraserSite, num_tokens: int) -> Tensor:
        """The same masks on the tokens of a site: a UNet has fewer of them inside, with frames as rows of the batch."""
        grid, own = self._family.token_grid(self._size), self._family.site_grid(site, self._size)
        if own != grid:
            outside_BN = F.interpolate(outside_BN.unflatten(1, grid), own[1:], mode="bilinear").flatten(1)
        return outside_BN.reshape(-1, num_tokens)
