"""Guards, attacks and the closed form on a model of this pack: what each of them gives on miniature-ltx."""

from __future__ import annotations

from pathlib import Path

import torch

from t2vu_core import ClosedFormRecipe, Erasure, T2VModel, erase_closed_form
from t2vu_core.evaluation import load_prompt_set
from t2vu_core.evaluation.attacks import ATTACKS, AttackBudget, AttackTask
from t2vu_core.evaluation.attacks.run import attack_once
from t2vu_core.evaluation.detectors import open_detector
from t2vu_core.guards import GUARDS, make_guard

FORMATS = ("float32", "fp16", "fp8", "fp8_scaled", "gguf")
"""Of text encoder files."""
COARSE = ("fp8", "fp8_scaled", "gguf")
PAIRS = (*((how, how) for how in FORMATS), *(("float32", own) for own in COARSE), *((how, "float32") for how in COARSE))
"""In which format an encoder is trained, and in which it is applied."""
PROMPT = "a ghost and a cat under a starry night"
BUDGET = AttackBudget(steps=1, batch_size=2, tokens=2, target_clips=2, sampling_steps=2, measured_clips=2)


def clip_of(model: T2VModel) -> torch.Tensor:
    return model.sample([PROMPT], seeds=[1], num_inference_steps=2, guidance_scale=3.0).contiguous()


def closed_form(model: T2VModel) -> Erasure:
    return erase_closed_form(model, "ghost", ClosedFormRecipe(concept_prompts=2, preserve_prompts=4, seed=0))


def clips_of(model: T2VModel, eraser: Erasure) -> dict[str, torch.Tensor]:
    """A clip of the model, under each guard, and with an eraser."""
    guarded = {name: clip_of(model.with_guard(make_guard(name, ["ghost"]))) for name in GUARDS}
    return {"plain": clip_of(model), **guarded, "closed_form": clip_of(model.with_erasure(eraser))}


def attacked(model: T2VModel, folder: Path) -> dict[str, list[bool]]:
    """What a few steps of each attack find."""
    prompts = folder / "prompts.txt"
    prompts.write_text("a red ghost floats\na ghost in the rain\n", encoding="utf-8")
    task = AttackTask("ghost", "ghost", open_detector("miniature", model), load_prompt_set(prompts, "ghost"), BUDGET)
    with torch.inference_mode(False):
        return {name: attack_once(name, model, task.target(model)).found for name in ATTACKS}
