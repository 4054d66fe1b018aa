"""How long each stage of `miniature-ltx` trains, and on what."""

from __future__ import annotations

from dataclasses import dataclass, field

from t2vu_core.miniature_build.ltx.caption_bank import CaptionPlan


@dataclass(frozen=True)
class LtxPlan:
    """Budgets in seconds of the device at hand; the sizes are for a GPU of 40 GB or more."""

    vae_seconds: float = 110.0
    text_encoder_seconds: float = 20.0
    detector_seconds: float = 45.0
    denoiser_seconds: float = 250.0
    total_seconds: float | None = None
    """The whole build is to end by then: the denoiser trains shorter if the other stages took longer."""
    vae_clips: int = 30_000
    vae_batch: int = 96
    detector_clips: int = 20_000
    detector_batch: int = 256
    text_encoder_batch: int = 512
    num_clips: int = 150_000
    captions_per_clip: int = 4
    num_readings: int = 100_000
    denoiser_batch: int = 256
    caption_dropout: float = 0.12
    captions: CaptionPlan = field(default_factory=CaptionPlan)
    seed: int = 0

    @classmethod
    def smoke(cls, seconds: float) -> LtxPlan:
        """Sizes that a CPU can bear, to see that every stage runs; the budgets add up to about `seconds`."""
        return cls(
            vae_seconds=0.3 * seconds,
            text_encoder_seconds=0.1 * seconds,
            detector_seconds=0.2 * seconds,
            denoiser_seconds=0.4 * seconds,
            vae_clips=32,
            vae_batch=2,
            detector_clips=64,
            detector_batch=8,
            text_encoder_batch=16,
            num_clips=64,
            captions_per_clip=2,
            num_readings=400,
            denoiser_batch=8,
        )
