"""Whether a training step can be compiled, and be one CUDA graph, on this machine: tried in processes of their own.

A capture that fails can leave a process unable to use the GPU; the builder asks this module first. Run as
`python -m t2vu_core.miniature_build.ltx.graph_probe FILE [NAME ...]`: writes the names of the steps that were captured,
repeated and learned into FILE, a line for each.
"""

from __future__ import annotations

import logging
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
from torch import Tensor

from t2vu_core.miniature.worlds import LABELS
from t2vu_core.miniature_build.ltx.architecture import LATENT_CHANNELS, make_text_encoder, make_transformer, make_vae
from t2vu_core.miniature_build.ltx.caption_bank import END
from t2vu_core.miniature_build.ltx.device import prepare
from t2vu_core.miniature_build.ltx.plan import LtxPlan
from t2vu_core.miniature_build.ltx.train_denoiser import EncodedClips, Mode, encode_captions, train_denoiser
from t2vu_core.miniature_build.ltx.train_text_encoder import train_text_encoder
from t2vu_core.miniature_build.ltx.train_vae import train_vae

log = logging.getLogger(__name__)

VOCABULARY, ROWS, SECONDS = 64, 512, 3.0
TIMEOUT = 120.0
VAE, DENOISER, COMPILED_DENOISER, TEXT_ENCODER = "vae", "denoiser", "compiled denoiser", "text encoder"
LATER = (COMPILED_DENOISER, DENOISER, TEXT_ENCODER)
"""What the builder asks about while the VAE trains."""


def probe(file: Path, names: Sequence[str]) -> None:
    """Try the named steps, each in a process, and write down which of them work."""
    works = file.read_text(encoding="utf-8").splitlines() if file.is_file() else []
    for name in names:
        command = [sys.executable, "-m", "t2vu_core.miniature_build.ltx.graph_probe", "--try", name]
        try:
            succeeded = subprocess.run(command, timeout=TIMEOUT).returncode == 0
        except subprocess.TimeoutExpired:
            log.warning("the probe of the %s did not end in time", name)
            continue
        works += [name] if succeeded else []
        file.write_text("\n".join(works), encoding="utf-8")


def attempt(name: str) -> bool:
    """One step in this process, captured and repeated for some seconds: whether it changed the weights as it should."""
    prepare(torch.device("cuda"), 0)
    attempts: dict[str, Callable[[], Tensor]] = {
        VAE: _vae,
        DENOISER: lambda: _denoiser("graph"),
        COMPILED_DENOISER: lambda: _denoiser("compiled"),
        TEXT_ENCODER: _reader,
    }
    start = time.monotonic()
    outcome = attempts[name]().item()
    log.info("graph of the %s: %.4f in %.0f s", name, outcome, time.monotonic() - start)
    return 0 < outcome < float("inf")


def _vae() -> Tensor:
    vae = make_vae().cuda()
    before = vae.decoder.conv_out.conv.weight.detach().clone()
    train_vae(vae, seconds=SECONDS, seed=0, pool_size=ROWS, batch_size=LtxPlan().vae_batch, graph=True)
    return (vae.decoder.conv_out.conv.weight - before).abs().max()


def _tokens() -> Tensor:
    tokens = torch.randint(3, VOCABULARY, (ROWS, 2, 48), device="cuda").to(torch.int16)
    tokens[..., 20] = END
    return tokens


def _denoiser(mode: Mode) -> Tensor:
    clips = EncodedClips(
        torch.randn(ROWS, 5, 4, 4, LATENT_CHANNELS, device="cuda").bfloat16(),
        torch.ones(ROWS, 5, 4, 4, 1, device="cuda").bfloat16(),
    )
    captions = encode_captions(make_text_encoder(VOCABULARY).cuda(), _tokens())
    transformer = make_transformer().cuda()
    before = transformer.proj_out.weight.detach().clone()
    batch_size = LtxPlan().denoiser_batch
    train_denoiser(transformer, captions, clips, seconds=SECONDS, batch_size=batch_size, mode=mode)
    return (transformer.proj_out.weight - before).abs().max()


def _reader() -> Tensor:
    targets = torch.zeros(ROWS, len(LABELS), dtype=torch.int16, device="cuda")
    text_encoder = make_text_encoder(VOCABULARY).cuda()
    return torch.tensor(train_text_encoder(text_encoder, _tokens()[:, 0], targets, seconds=SECONDS, graph=True))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(asctime)s probe %(message)s", datefmt="%H:%M:%S")
    if sys.argv[1] == "--try":
        sys.exit(not attempt(sys.argv[2]))
    probe(Path(sys.argv[1]), sys.argv[2:] or (VAE, *LATER))
