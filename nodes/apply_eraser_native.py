"""Apply Eraser (MODEL)."""

from typing import Any

from comfy_api.v0_0_2 import io

from t2vu_core.erasure import Erasure
from t2vu_core.errors import UserError
from t2vu_core.interchange.comfyui_names import to_comfyui
from t2vu_core.interchange.lora_files import STRETCHES, by_denoiser, lora_pairs

from . import comfy_bridge
from .declare import Eraser, advanced, schema, strength_input

ONLY = "only"
DENOISERS = {ONLY: "", **{title: prefix for prefix, title in STRETCHES.items()}}


class ApplyEraserNative(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VUApplyEraserNative",
            display_name="Apply Eraser (MODEL)",
            description=(
                "Puts an eraser of the LoRA kind on one of ComfyUI's own models, for stock graphs with KSampler. The model "
                "that comes in stays as it is."
            ),
            search_aliases=["erase", "unlearn", "lora", "native"],
            inputs=[
                io.Model.Input("model", tooltip="ComfyUI's own model, from Load Diffusion Model."),
                Eraser.Input("eraser", tooltip="An eraser of the LoRA kind, trained on the same model as a diffusers folder."),
                strength_input("model"),
                io.Boolean.Input(
                    "same_base",
                    default=False,
                    tooltip="Say that this is the model the eraser was trained on. The weights in ComfyUI's own files "
                    "cannot be compared with those of a diffusers folder.",
                ),
                advanced(
                    io.Combo,
                    "denoiser",
                    options=list(DENOISERS),
                    default=ONLY,
                    optional=True,
                    tooltip="For Wan 2.2 A14B, which of its two models this is. Every other model is the only one.",
                ),
            ],
            outputs=[io.Model.Output("erased", display_name="model", tooltip="The model with the concept erased.")],
        )

    @classmethod
    @comfy_bridge.outside_inference_mode
    def execute(cls, model: Any, eraser: Erasure, strength: float, same_base: bool, denoiser: str = ONLY) -> io.NodeOutput:
        comfy_bridge.check_strength(strength)
        if not same_base:
            raise UserError(
                f"This eraser was trained on {eraser.base.name} ({eraser.base.family}); ComfyUI's own files cannot be "
                "compared with that. Switch on same_base if they hold the same weights."
            )
        parts = by_denoiser(lora_pairs(eraser))
        offered = [title for title, prefix in DENOISERS.items() if prefix in parts and (title == ONLY) == (len(parts) == 1)]
        if denoiser not in offered:
            raise UserError(f"For this eraser, denoiser must be {' or '.join(offered)}, not {denoiser!r}.")
        pairs = to_comfyui(eraser.base.family, parts[DENOISERS[denoiser]])
        return io.NodeOutput(comfy_bridge.with_lora(model, pairs, strength, eraser.base.family))
