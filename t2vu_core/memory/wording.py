"""A memory plan in sentences."""

from __future__ import annotations

from t2vu_core.families import ClipSize
from t2vu_core.memory.plan import GB, MemoryPlan

NOT_MEASURED = "Planned from shapes; not measured on a GPU."


def gigabytes(count: float) -> str:
    """A number of bytes in GB: 31 GB, 4.2 GB, 0.05 GB."""
    value = count / GB
    return f"{value:.0f} GB" if value >= 10 else f"{value:.1f} GB" if value >= 0.1 else f"{value:.2f} GB"


def clip(size: ClipSize) -> str:
    """17 frames of 480 x 832, height first as in the options' order."""
    return f"{size.num_frames} frame{'' if size.num_frames == 1 else 's'} of {size.height} x {size.width}"


def sentence(plan: MemoryPlan, most: MemoryPlan | None, limit: int) -> str:
    """Whether it fits, and which number of frames does: `most` is the plan with the most frames that fit."""
    if plan.fits(limit):
        return f"{plan.model} fits in {gigabytes(limit)} at {clip(plan.size)}: it needs {gigabytes(plan.needed)}."
    needs = f"{clip(plan.size)} need {gigabytes(plan.needed)}"
    if most is None:
        return f"{plan.model} does not fit in {gigabytes(limit)}: {needs}. {advice(plan)}"
    return f"{plan.model} fits in {gigabytes(limit)} at {clip(most.size)}; {needs}."


def advice(plan: MemoryPlan) -> str:
    """What to lower, in the stage that takes the most."""
    encodes = plan.loading + plan.encoding + plan.prompts == plan.peak
    return encoding_advice(plan) if encodes else training_advice(plan)


def encoding_advice(plan: MemoryPlan) -> str:
    """What makes room for the text encoder."""
    stays = plan.placement.offload == "none" and plan.least_weights is None
    return "Offload the text encoder (offload=encoder)." if stays else training_advice(plan)


def training_advice(plan: MemoryPlan) -> str:
    """What makes room for a training step, the largest part first."""
    if plan.least_weights is not None:
        return "Switch low_memory on, or lower the width, height and number of frames of the model's clips."
    smaller = "lower num_frames, height and width, or concept_batch and preserve_batch, or set gradient_checkpointing=true"
    if plan.with_encoder:
        smaller = f"leave out the rounds of learned tokens (probe_rounds=0), {smaller}"
    if plan.weights > plan.activations and not plan.placement.streams:
        return f"Store the denoiser in 8 bits (base_dtype=fp8) or offload its blocks (offload=blocks), or {smaller}."
    return f"{smaller.capitalize()}."
