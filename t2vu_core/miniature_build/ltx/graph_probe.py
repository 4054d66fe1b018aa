"""Whether a training step can be one CUDA graph on this machine, tried in a process of its own.

A capture that fails can leave a process unable to use the GPU; the builder asks this module first. Run as
`python -m t2vu_core.miniature_build.ltx.graph_probe FILE`: writes "denoiser", "text encoder" into FILE, a line for each
step that was captured, repeated and learned.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from t2vu_core.miniature.worlds import LABELS
from t2vu_core.miniature_build.ltx.architecture import LATENT_CHANNELS, make_text_encoder, make_transformer
from t2vu_core.miniature_build.ltx.caption_bank import END
from t2vu_core.miniature_build.ltx.device import prepare
from t2vu_core.miniature_build.ltx.train_denoiser import EncodedClips, train_denoiser
from t2vu_core.miniature_build.ltx.train_text_encoder import train_text_encoder

log = logging.getLogger(__name__)

VOCABULARY, ROWS, SECONDS = 64, 512, 3.0


def probe(file: Path) -> None:
    """Try both steps and write down which of them work."""
    device = torch.device("cuda")
    prepare(device, 0)
    tokens = torch.randint(3, VOCABULARY, (ROWS, 2, 40), device=device).to(torch.int16)
    tokens[..., 20] = END
    clips = EncodedClips(
        torch.randn(ROWS, 5, 4, 4, LATENT_CHANNELS, device=device).bfloat16(),
        torch.ones(ROWS, 5, 4, 4, 1, device=device).bfloat16(),
    )
    targets = torch.zeros(ROWS, len(LABELS), dtype=torch.int16, device=device)
    text_encoder, transformer = make_text_encoder(VOCABULARY).to(device), make_transformer().to(device)
    before = transformer.proj_out.weight.detach().clone()

    def denoiser() -> Tensor:
        train_denoiser(transformer, text_encoder, clips, tokens, seconds=SECONDS, graph=True)
        return (transformer.proj_out.weight - before).abs().max()

    def reader() -> Tensor:
        return torch.tensor(train_text_encoder(text_encoder, tokens[:, 0], targets, seconds=SECONDS, graph=True))

    attempts: dict[str, Callable[[], Tensor]] = {"denoiser": denoiser, "text encoder": reader}
    works = []
    for name, attempt in attempts.items():
        start = time.monotonic()
        outcome = attempt().item()
        log.info("graph of the %s: %.4f in %.0f s", name, outcome, time.monotonic() - start)
        if 0 < outcome < float("inf"):
            works.append(name)
            file.write_text("\n".join(works), encoding="utf-8")


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s probe %(message)s", datefmt="%H:%M:%S")
    probe(Path(sys.argv[1]))
