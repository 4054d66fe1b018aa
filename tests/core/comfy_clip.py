"""Run inside ComfyUI's folder: put unlearned encoders on ComfyUI's own tiny text encoders.

`python comfy_clip.py JOBS.json` reads [{"name", "kind", "config", "weights", "other_weights", "erasure", "lora", "factors",
"strength", "out"}]. For every job it writes to `out` the encoder's weights after stock Load LoRA of both files, after our
node (`node.`), and of the CLIP that came in (`kept.`), and answers on standard output in JSON: the keys that nothing took,
and what our node said to a CLIP of other weights and to one of another kind.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

jobs_file, repository = sys.argv[1], Path(__file__).resolve().parents[2]
sys.path.insert(0, os.getcwd())
sys.argv = [sys.argv[0], "--cpu"]
# First, as in ComfyUI's main.py: comfy's own folder has a module of that name too.
importlib.import_module("utils.install_util")
import comfy.options  # noqa: E402

comfy.options.enable_args_parsing()
import comfy.clip_model  # noqa: E402
import comfy.model_patcher  # noqa: E402
import comfy.sd  # noqa: E402
import comfy.sd1_clip  # noqa: E402
import comfy.text_encoders.llama  # noqa: E402
import comfy.text_encoders.t5  # noqa: E402
import torch  # noqa: E402
from leftovers import leftovers  # noqa: E402
from safetensors.torch import load_file, save_file  # noqa: E402

NAMES = {
    "clip": ("clip_l", comfy.clip_model.CLIPTextModel),
    "t5": ("t5xxl", comfy.text_encoders.t5.T5),
    "umt5": ("umt5xxl", comfy.text_encoders.t5.T5),
    "llama": ("llama", comfy.text_encoders.llama.Llama2),
    "qwen2": ("qwen25_7b", comfy.text_encoders.llama.Qwen25_3B),
}


def pack() -> Any:
    """The node pack's part over ComfyUI's own models, imported as ComfyUI imports a pack."""
    folder = repository / "nodes"
    spec = importlib.util.spec_from_file_location("t2vu_pack", folder / "__init__.py", submodule_search_locations=[str(folder)])
    module = importlib.util.module_from_spec(spec)
    sys.modules["t2vu_pack"] = module
    spec.loader.exec_module(module)
    return importlib.import_module("t2vu_pack.native")


def build(kind: str, config: dict[str, Any], weights: str) -> Any:
    """A CLIP object around ComfyUI's own encoder with these weights."""
    name, model_class = NAMES[kind]
    encoder = comfy.sd1_clip.SDClipModel(
        textmodel_json_config=config, dtype=torch.float32, model_class=model_class,
        special_tokens={"start": 0, "end": 1, "pad": 1}, layer_norm_hidden_state=False,
    )  # fmt: skip
    missing = encoder.transformer.load_state_dict(load_file(weights), strict=False).missing_keys
    assert not [key for key in missing if "text_projection" not in key], missing
    holder = torch.nn.Module()
    setattr(holder, name, encoder)
    clip = comfy.sd.CLIP(no_init=True)
    clip.cond_stage_model, clip.tokenizer, clip.layer_idx, clip.tokenizer_options = holder, None, None, {}
    clip.use_clip_schedule, clip.apply_hooks_to_conds = False, None
    clip.patcher = comfy.model_patcher.ModelPatcher(holder, torch.device("cpu"), torch.device("cpu"))
    return clip


def patched_weights(clip: Any, prefix: str) -> dict[str, torch.Tensor]:
    clip.patcher.patch_model(torch.device("cpu"))
    weights = {f"{prefix}{key}": value.clone() for key, value in clip.cond_stage_model.state_dict().items()}
    clip.patcher.unpatch_model(torch.device("cpu"))
    return weights


def said(native: Any, clip: Any, erasure: Any, **options: Any) -> str | None:
    try:
        native.with_encoder(clip, erasure, 1.0, **{"allow_other_base": False, **options})
    except ValueError as error:
        return str(error)
    return None


def run(native: Any, job: dict[str, Any], others: list[dict[str, Any]]) -> dict[str, Any]:
    from t2vu_core.erasure import Erasure

    erasure, clip = Erasure.load(job["erasure"]), build(job["kind"], job["config"], job["weights"])
    with leftovers() as left:
        _, with_lora = comfy.sd.load_lora_for_models(None, clip, load_file(job["lora"]), 0.0, job["strength"])
        _, with_factors = comfy.sd.load_lora_for_models(None, clip, load_file(job["factors"]), 0.0, job["strength"])
        erased = native.with_encoder(clip, erasure, job["strength"], allow_other_base=False)
        again = native.with_encoder(erased, erasure, job["strength"], allow_other_base=False)
    out = {**patched_weights(with_lora, "lora."), **patched_weights(erased, "node."), **patched_weights(again, "twice.")}
    out |= patched_weights(with_factors, "factors.")
    save_file({**out, **patched_weights(clip, "kept.")}, job["out"])
    other = build(job["kind"], job["config"], job["other_weights"])
    wrong = next(entry for entry in others if entry["kind"] != job["kind"])
    return {
        "leftovers": left,
        "other": said(native, other, erasure),
        "allowed": said(native, other, erasure, allow_other_base=True),
        "wrong": said(native, build(wrong["kind"], wrong["config"], wrong["weights"]), erasure, allow_other_base=True),
    }


with open(jobs_file, encoding="utf-8") as file:
    jobs = json.load(file)
native = pack()
with torch.no_grad():
    sys.stdout.write("\n" + json.dumps({job["name"]: run(native, job, jobs) for job in jobs}))
