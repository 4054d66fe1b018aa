"""Apply Eraser (MODEL), to ComfyUI's own models."""

from typing import Any

from comfy_api.v0_0_2 import io

from t2vu_core import Erasure, UserError
from t2vu_core.interchange.lora_files import DENOISERS, ONLY_DENOISER, comfyui_pairs

from . import comfy_bridge
from .declare import Eraser, advanced, schema, strength_input


class ApplyEraserNative(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VUApplyEraserNative",
            display_name="Apply Eraser (MODEL)",
            description=(
                "Applies a LoRA eraser to one of ComfyUI's own models, for graphs with KSampler. The input model does not "
                "change, so one graph can sample both."
            ),
            search_aliases=["erase", "unlearn", "lora", "native"],
            inputs=[
                io.Model.Input("model", tooltip="ComfyUI's own model, from Load Diffusion Model."),
                Eraser.Input("eraser", tooltip="An eraser of the kind lora, trained on a diffusers folder of the same model."),
                strength_input("model"),
                io.Boolean.Input(
                    "same_base",
                    default=False,
                    tooltip="Confirms that this is the model the eraser was trained on. It must be confirmed, because the "
                    "weights of ComfyUI's files cannot be compared with those of a diffusers folder.",
                ),
                advanced(
                    io.Combo,
                    "denoiser",
                    options=list(DENOISERS),
                    default=ONLY_DENOISER,
                    optional=True,
                    tooltip="For Wan 2.2 A14B: which of its two models this is; apply the eraser to both. For every other "
                    "model: only.",
                ),
            ],
            outputs=[io.Model.Output("erased", display_name="model", tooltip="The model with the concept erased.")],
        )

    @classmethod
    @comfy_bridge.outside_inference_mode
    def execute(
        cls, model: Any, eraser: Erasure, strength: float, same_base: bool, denoiser: str = ONLY_DENOISER
    ) -> io.NodeOutput:
        comfy_bridge.check_strength(strength)
        if not same_base:
            raise UserError(
                f"This eraser was trained on {eraser.base.name} ({eraser.base.family}), and the weights of ComfyUI's files "
                "cannot be compared with it. Switch on same_base if this model has the same weights."
            )
        pairs = comfyui_pairs(eraser, denoiser)
        return io.NodeOutput(comfy_bridge.with_lora(model, pairs, strength, eraser.base.family))
