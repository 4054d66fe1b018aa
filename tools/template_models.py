"""The models of the templates *Erase from ...* in ComfyUI's own classes on the meta device: shapes, no weights.

Run in ComfyUI's folder by tools/template_plans.py: `python template_models.py FILE [NAME ...]` plans the training run that each
template asks for and writes the plans to FILE. Of the text encoder only the width and number of its embeddings are real.
"""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import nn

from t2vu_core.memory.plan import MemoryPlan, Planner
from t2vu_core.recipes import LOW_MEMORY, VelocityRecipe
from tools.comfyui.inside import PACK, start
from tools.comfyui.server import REPOSITORY

FP8 = torch.float8_e4m3fn
WAN = {
    "image_model": "wan2.1", "model_type": "t2v", "in_dim": 16, "out_dim": 16, "text_dim": 4096, "patch_size": (1, 2, 2),
    "freq_dim": 256, "window_size": (-1, -1), "qk_norm": True, "cross_attn_norm": True, "eps": 1e-6,
}  # fmt: skip
WAN_1_3B = {**WAN, "dim": 1536, "ffn_dim": 8960, "num_heads": 12, "num_layers": 30}
WAN_14B = {**WAN, "dim": 5120, "ffn_dim": 13824, "num_heads": 40, "num_layers": 40}
LTX_2B = {"image_model": "ltxv"}
HUNYUAN = {
    "image_model": "hunyuan_video", "in_channels": 16, "out_channels": 16, "patch_size": [1, 2, 2], "vec_in_dim": 768,
    "axes_dim": [16, 56, 56], "context_in_dim": 4096, "hidden_size": 3072, "mlp_ratio": 4.0, "num_heads": 24, "depth": 20,
    "depth_single_blocks": 40, "theta": 256, "qkv_bias": True, "guidance_embed": True, "vision_in_dim": None,
}  # fmt: skip
"""Settings as ComfyUI's loader finds them in the released files; LTX-Video's are the defaults of ComfyUI's class."""


@dataclass(frozen=True)
class Released:
    """A released model as its template loads it."""

    kind: str
    """ComfyUI's class of its configuration."""
    settings: Mapping[str, Any]
    dtype: torch.dtype
    """Of the weights in memory."""
    ratios: tuple[int, int]
    """Pixels and frames of a latent."""
    text_tokens: int
    masked: bool = False
    pooled: int = 0
    count: int = 1
    """How many denoisers it has."""


MODELS = {
    "erase_from_wan_2_1_1_3b": Released("WAN21_T2V", WAN_1_3B, torch.float16, (8, 4), 512),
    "erase_from_wan_2_2_a14b": Released("WAN21_T2V", WAN_14B, FP8, (8, 4), 512, count=2),
    "erase_from_ltx_video": Released("LTXV", LTX_2B, torch.bfloat16, (32, 8), 128, masked=True),
    "erase_from_hunyuan_video": Released("HunyuanVideo", HUNYUAN, FP8, (8, 4), 256, masked=True, pooled=768),
}


def planned(name: str) -> MemoryPlan:
    """The plan of the training run that a template asks for."""
    graph = json.loads((REPOSITORY / "workflows" / "api" / f"{name}.json").read_text(encoding="utf-8"))
    inputs = {node["class_type"]: node["inputs"] for node in graph.values()}
    made, erase = inputs["T2VUFromComfyUI"], inputs["T2VUVelocityErase"]
    native: Any = importlib.import_module(f"{PACK}.nodes.native")
    sampled = native.Sampled(made["steps"], made["cfg"], made["shift"], made["scheduler"], made["boundary"], made["fps"])
    released, pixels = MODELS[name], (made["num_frames"], made["height"], made["width"])
    vae = SimpleNamespace(
        spacial_compression_decode=lambda: released.ratios[0], temporal_compression_decode=lambda: released.ratios[1]
    )
    models = [_model(released) for _ in range(released.count)]
    model = native.model_from_comfyui(models, _Clip(released), vae, sampled, pixels=pixels)
    kind = {} if erase["kind"] == "auto" else {"kind": erase["kind"]}
    memory = LOW_MEMORY if erase["low_memory"] else {}
    recipe = VelocityRecipe.preset(erase["preset"], num_frames=erase["num_frames"], **kind, **memory)
    return Planner(model.family.shaped(), recipe).plan()


def _model(released: Released) -> Any:
    """A MODEL on the meta device."""
    supported: Any = importlib.import_module("comfy.supported_models")
    patcher: Any = importlib.import_module("comfy.model_patcher")
    config = getattr(supported, released.kind)({**_newer(released), **released.settings})
    config.custom_operations = None
    config.set_inference_dtype(released.dtype, torch.bfloat16 if released.dtype == FP8 else None)
    model = config.get_model({}, "", device=torch.device("meta"))
    return patcher.ModelPatcher(model, torch.device("cpu"), torch.device("cpu"))


def _newer(released: Released) -> dict[str, Any]:
    """What newer versions of ComfyUI can do in HunyuanVideo and have no default for."""
    if released.kind != "HunyuanVideo":
        return {}
    parameters = importlib.import_module("comfy.ldm.hunyuan_video.model").HunyuanVideoParams
    return dict.fromkeys(parameters.__dataclass_fields__, False)


class _Clip:
    """Embeddings of the right width and number."""

    def __init__(self, released: Released) -> None:
        self._released = released
        self.tokenizer = SimpleNamespace(clip="shapes", shapes=SimpleNamespace(inv_vocab={}))
        self.patcher = SimpleNamespace(patches={}, backup={}, object_patches={})
        shapes: Any = nn.Module()
        shapes.clip, shapes.shapes = "shapes", nn.Module()
        shapes.shapes.transformer = nn.Linear(1, 1)
        self.cond_stage_model = shapes

    def tokenize(self, text: str) -> str:
        return text

    def encode_from_tokens_scheduled(self, tokens: str) -> Any:
        released, parts = self._released, dict[str, Any]()
        if released.masked:
            parts["attention_mask"] = torch.ones(1, released.text_tokens, dtype=torch.long)
        if released.pooled:
            parts["pooled_output"] = torch.zeros(1, released.pooled)
        return [[torch.zeros(1, released.text_tokens, 4096), parts]]


def main(arguments: list[str] | None = None) -> None:
    """Plan in this process, in which ComfyUI is started."""
    parser = argparse.ArgumentParser(prog="template_models", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("file", type=Path, help="where the plans go, as JSON")
    parser.add_argument("names", nargs="*", default=list(MODELS), help="templates")
    options = parser.parse_args(arguments)
    start("--cpu")
    plans = {}
    for name in options.names:
        plan = planned(name)
        fields = ("weights", "erasers", "prompts", "activations", "sampling", "trajectories", "peak", "needed", "least")
        plans[name] = {field: getattr(plan, field) for field in fields}
    options.file.write_text(json.dumps(plans), encoding="utf-8")


if __name__ == "__main__":
    main()
