"""Builds `miniature-ltx` from nothing, stage by stage, on the GPU if there is one.

Stages leave their result in the work folder; one whose result is there is not repeated, one that was interrupted
goes on from its state file. Captions are written by other processes while the VAE trains.
"""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import torch
from diffusers import AutoencoderKLLTXVideo, LTXPipeline, LTXVideoTransformer3DModel
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import T5EncoderModel

from t2vu_core.errors import UserError
from t2vu_core.miniature.bundled import LTX_NAME, WEIGHTS
from t2vu_core.miniature.detector import MiniatureDetector, detector_path, load_detector
from t2vu_core.miniature.worlds import WORLD_64
from t2vu_core.miniature_build.detector_training import train_detector
from t2vu_core.miniature_build.ltx import graph_probe
from t2vu_core.miniature_build.ltx.architecture import make_scheduler, make_text_encoder, make_transformer, make_vae
from t2vu_core.miniature_build.ltx.caption_bank import build_bank, load_bank, load_tokenizer
from t2vu_core.miniature_build.ltx.device import bf16, default_device, prepare
from t2vu_core.miniature_build.ltx.judge import draw_sheet, judge
from t2vu_core.miniature_build.ltx.plan import LtxPlan
from t2vu_core.miniature_build.ltx.train_denoiser import Mode, encode_captions, encode_clips, train_denoiser
from t2vu_core.miniature_build.ltx.train_text_encoder import train_text_encoder
from t2vu_core.miniature_build.ltx.train_vae import draw_clips, peak_signal_to_noise, train_vae

log = logging.getLogger(__name__)

GUIDANCE_SCALE, STEPS = 3.0, 20
PROBE_TIMEOUT = 240.0
FACTS = "facts.json"
STAGES_BEFORE = ("vae", "detector", "text_encoder")
"""The denoiser needs their results."""
GRAPHS = "graphs.txt"
"""Names of the steps that can be CUDA graphs here."""
SECONDS_TO_JUDGE = 30.0
SNAPSHOTS = (
    "pipeline/transformer/diffusion_pytorch_model.safetensors",
    "pipeline/text_encoder/model.safetensors",
    "pipeline/vae/diffusion_pytorch_model.safetensors",
)
"""Where the denoiser's stage keeps its weights, in half precision, from time to time and at the end."""


class Builder:
    """The work folder, the device and what the stages found out."""

    def __init__(self, work: Path, plan: LtxPlan, *, on_result: Callable[[], None] = lambda: None) -> None:
        self.work, self.plan, self.on_result = work, plan, on_result
        self.device, self.started = default_device(), time.monotonic()
        work.mkdir(parents=True, exist_ok=True)
        self.facts_file = work / FACTS
        self.facts = json.loads(self.facts_file.read_text(encoding="utf-8")) if self.facts_file.is_file() else {"seconds": {}}

    def run(self, wait_for_bank: Callable[[], object]) -> None:
        """All stages; a failed stage of the detector or of the judging does not stop the others."""
        prepare(self.device, self.plan.seed)
        probe = self._start_probe()
        stages: dict[str, Callable[[], None]] = {
            "vae": self.vae,
            "detector": self.detector,
            "text_encoder": self.text_encoder,
            "denoiser": self.denoiser,
            "judge": self.judge,
        }
        for name, stage in stages.items():
            if name in self.facts["seconds"]:
                continue
            if name in ("text_encoder", "denoiser"):
                self._finish_probe(probe)
                if wait_for_bank() not in (None, 0):
                    raise RuntimeError("The process that writes the captions failed; its message is above.")
            start = time.monotonic()
            try:
                stage()
            except Exception:
                if name not in ("detector", "judge"):
                    raise
                log.exception("stage %s failed", name)
                continue
            self.facts["seconds"][name] = round(time.monotonic() - start, 1)
            self.note({})

    def note(self, values: dict[str, object]) -> None:
        """Keep findings in `facts.json`, and say that there is something new."""
        self.facts |= values | {"plan": asdict(self.plan), "device": self._device_name()}
        self.facts_file.write_text(json.dumps(self.facts, indent=1), encoding="utf-8")
        self.on_result()

    def bank(self) -> None:
        """Captions and tokenizer; run in a process of its own while the VAE trains."""
        plan = self.plan
        if not (self.work / "bank.safetensors").is_file():
            build_bank(
                self.work,
                num_clips=plan.num_clips,
                per_clip=plan.captions_per_clip,
                num_readings=plan.num_readings,
                plan=plan.captions,
                seed=plan.seed,
            )

    def vae(self) -> None:
        """Train the VAE and measure it on unseen clips."""
        plan, vae = self.plan, make_vae().to(self.device)
        train_vae(
            vae, seconds=plan.vae_seconds, seed=plan.seed, pool_size=plan.vae_clips, batch_size=plan.vae_batch,
            graph=self._graph(graph_probe.VAE), state=self.work / "vae.state",
        )  # fmt: skip
        quality = peak_signal_to_noise(
            vae, draw_clips(min(256, plan.vae_clips), self.device, seed=plan.seed + 77, distractors=0.0)
        )
        log.info("vae: %.2f dB on unseen clips", quality)
        _save(vae, self.work / "vae")
        self.note({"vae_psnr": round(quality, 2)})

    def detector(self) -> None:
        """Train the detector on renders and on what the VAE makes of them."""
        plan, vae = self.plan, self._load_vae()

        @torch.no_grad()
        def reconstruct(clips: Tensor) -> Tensor:
            parts = []
            for part in clips.split(64):
                with bf16(self.device):
                    pixels = part.float().transpose(1, 2)
                    drawn = vae.decode(vae.encode(pixels).latent_dist.mode()).sample
                parts.append(drawn.transpose(1, 2).to(clips.dtype))
            return torch.cat(parts)

        detector = MiniatureDetector(WORLD_64)
        train_detector(
            detector, seconds=plan.detector_seconds, seed=plan.seed, reconstruct=reconstruct, device=self.device,
            num_clips=plan.detector_clips, batch_size=plan.detector_batch, state=self.work / "detector.state",
        )  # fmt: skip
        values = {name: value.detach().half().cpu().contiguous() for name, value in detector.state_dict().items()}
        save_file(values, str(self.work / "detector-64.safetensors"))

    def text_encoder(self) -> None:
        """Teach the text encoder to read."""
        bank, plan = load_bank(self.work, self.device), self.plan
        text_encoder = make_text_encoder(len(load_tokenizer(self.work))).to(self.device)
        share = train_text_encoder(
            text_encoder, bank["read_tokens"], bank["read_targets"], seconds=plan.text_encoder_seconds,
            batch_size=plan.text_encoder_batch, graph=self._graph(graph_probe.TEXT_ENCODER),
            state=self.work / "text_encoder.state",
        )  # fmt: skip
        log.info("text encoder: every fact read in %.1f %% of captions", 100 * share)
        _save(text_encoder, self.work / "text_encoder")
        self.note({"captions_read": round(share, 4)})

    def denoiser(self) -> None:
        """Train the denoiser on what the text encoder makes of the captions, and put the pipeline into the work folder."""
        bank, plan, vae = load_bank(self.work, self.device), self.plan, self._load_vae()
        clips = encode_clips(vae, bank["labels"], seed=plan.seed + 11)
        text_encoder = T5EncoderModel.from_pretrained(self.work / "text_encoder").float().to(self.device).eval()
        captions = encode_captions(text_encoder, bank["tokens"])
        transformer = self._start_of_denoiser().to(self.device)

        def snapshot() -> None:
            for module, target in zip((transformer, text_encoder, vae), SNAPSHOTS, strict=True):
                values = {name: value.detach().half().cpu().contiguous() for name, value in module.state_dict().items()}
                (self.work / target).parent.mkdir(parents=True, exist_ok=True)
                save_file(values, str(self.work / target))
            self.on_result()

        mode: Mode = "eager"
        if self._graph(graph_probe.COMPILED_DENOISER):
            mode = "compiled"
        elif self._graph(graph_probe.DENOISER):
            mode = "graph"
        train_denoiser(
            transformer, captions, clips, seconds=self._denoiser_seconds(), batch_size=plan.denoiser_batch,
            caption_dropout=plan.caption_dropout, mode=mode,
            state=self.work / "denoiser.state", on_state=snapshot,
        )  # fmt: skip
        snapshot()
        pipeline = LTXPipeline(make_scheduler(), vae, text_encoder, load_tokenizer(self.work), transformer)
        pipeline.to(dtype=torch.float16)
        pipeline.save_pretrained(self.work / "pipeline")
        self.on_result()

    def judge(self) -> None:
        """Sheet of samples, and what the detector says, at several guidance scales."""
        pipeline = LTXPipeline.from_pretrained(self.work / "pipeline").to(self.device, torch.float32)
        draw_sheet(pipeline, self.work / "sheet.png", guidance_scale=GUIDANCE_SCALE, steps=STEPS)
        self.on_result()
        weights = self.work / "detector-64.safetensors"
        if weights.is_file():
            detector = load_detector(weights).to(self.device)
            large = self.device.type == "cuda"
            for guidance in (GUIDANCE_SCALE, 1.0, 5.0) if large else (GUIDANCE_SCALE,):
                steps = STEPS if large else 2
                scores = judge(pipeline, detector, guidance_scale=guidance, steps=steps, count=128 if large else 2)
                log.info("guidance %.0f: %s", guidance, scores)
                self.note({f"guidance_{guidance:.0f}": scores})

    def _denoiser_seconds(self) -> float:
        plan = self.plan
        if plan.total_seconds is None:
            return plan.denoiser_seconds
        left = plan.total_seconds - (time.monotonic() - self.started) - SECONDS_TO_JUDGE
        log.info("%.0f s are left for the denoiser", left)
        return max(1.0, min(plan.denoiser_seconds, left))

    def _load_vae(self) -> AutoencoderKLLTXVideo:
        return AutoencoderKLLTXVideo.from_pretrained(self.work / "vae").to(self.device).eval().requires_grad_(False)

    def _start_of_denoiser(self) -> LTXVideoTransformer3DModel:
        folder = self.work / "transformer"
        return LTXVideoTransformer3DModel.from_pretrained(folder).float() if folder.is_dir() else make_transformer()

    def _graph(self, name: str) -> bool:
        file = self.work / GRAPHS
        works = file.is_file() and name in file.read_text(encoding="utf-8").splitlines()
        log.info("the %s trains %s", name, "as a CUDA graph" if works else "step by step")
        return works

    def _device_name(self) -> str:
        return torch.cuda.get_device_name() if self.device.type == "cuda" else "cpu"

    def _start_probe(self) -> subprocess.Popen[bytes] | None:
        """Ask about the VAE's step at once, and about the others while it trains; answers of an earlier run count."""
        file = self.work / GRAPHS
        if self.device.type != "cuda" or file.is_file():
            return None
        command = [sys.executable, "-m", "t2vu_core.miniature_build.ltx.graph_probe", str(file)]
        subprocess.run([*command, graph_probe.VAE], check=False)
        return subprocess.Popen([*command, *graph_probe.LATER])

    def _finish_probe(self, probe: subprocess.Popen[bytes] | None) -> None:
        if probe is None:
            return
        try:
            probe.wait(PROBE_TIMEOUT)
        except subprocess.TimeoutExpired:
            probe.kill()
            log.warning("the probe of CUDA graphs did not end in time")


def go_on_from_bundled(work: Path) -> None:
    """Make the bundled model the start of a build in the fresh folder `work`: only its denoiser is trained, and further.

    Raises UserError if there is a build in `work` already.
    """
    if (work / FACTS).exists():
        raise UserError(f"There is a build in {work} already; choose a new folder to train the bundled model further.")
    work.mkdir(parents=True, exist_ok=True)
    for part in ("vae", "text_encoder", "transformer"):
        shutil.copytree(WEIGHTS / LTX_NAME / part, work / part)
    shutil.copyfile(detector_path(WORLD_64), work / "detector-64.safetensors")
    built = json.loads((WEIGHTS / LTX_NAME / "build.json").read_text(encoding="utf-8"))
    seconds = {"detector": 0.0} | built["seconds"]
    facts = {"vae_psnr": built["vae_psnr"], "further": built, "seconds": {name: seconds[name] for name in STAGES_BEFORE}}
    (work / FACTS).write_text(json.dumps(facts, indent=1), encoding="utf-8")


def copy_results(work: Path, out: Path) -> None:
    """Copy what is finished to `out`: at most eight files, the weights in half precision."""
    out.mkdir(parents=True, exist_ok=True)
    wanted = {
        "pipeline/transformer/diffusion_pytorch_model.safetensors": "transformer.safetensors",
        "pipeline/vae/diffusion_pytorch_model.safetensors": "vae.safetensors",
        "pipeline/text_encoder/model.safetensors": "text_encoder.safetensors",
        "tokenizer/tokenizer.json": "tokenizer.json",
        "detector-64.safetensors": "detector-64.safetensors",
        "facts.json": "facts.json",
        "sheet.png": "sheet.png",
    }
    for source, target in wanted.items():
        if (work / source).is_file():
            shutil.copyfile(work / source, out / target)


def _save(module: nn.Module, folder: Path) -> None:
    for parameter in module.parameters():
        parameter.data = parameter.data.contiguous()
    module.save_pretrained(folder)  # type: ignore[operator]
