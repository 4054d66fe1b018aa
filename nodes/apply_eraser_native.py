"""Apply Eraser (MODEL), to ComfyUI's own models."""

from typing import Any

from comfy_api.v0_0_2 import io

from t2vu_core import Erasure, UserError
from t2vu_core.interchange.denoisers import DENOISERS, ONLY_DENOISER, denoiser_tensors

from . import comfy_bridge
from .declare import Eraser, advanced, schema, strength_input
from .native import Part, said_of, with_eraser
from .words import said


class ApplyEraserNative(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VUApplyEraserNative",
            display_name="Apply Eraser (MODEL)",
            description=(
                "Applies an eraser of either kind to one of ComfyUI's own models, for graphs with KSampler. The input model "
                "does not change, so one graph can sample both. Chain several nodes to erase several concepts."
            ),
            search_aliases=["erase", "unlearn", "lora", "native"],
            inputs=[
                io.Model.Input("model", tooltip="ComfyUI's own model, from Load Diffusion Model."),
                Eraser.Input("eraser", tooltip="An eraser that was trained on the same model."),
                strength_input("model"),
                io.Boolean.Input(
                    "same_base",
                    default=False,
                    tooltip="Confirms that this is a fine-tune of the model the eraser was trained on. Not needed for that "
                    "model in bf16, fp8 or GGUF, unless the eraser's file is of version 0.1.",
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
                _share_input("start_at", 0.0, "The share of the sampling at which the eraser starts. 0: from the first step."),
                _share_input("end_at", 1.0, "The share of the sampling at which the eraser ends. 1: after the last step."),
            ],
            outputs=[io.Model.Output("erased", display_name="model", tooltip="The model with the concept erased.")],
        )

    @classmethod
    @comfy_bridge.outside_inference_mode
    def execute(
        cls,
        model: Any,
        eraser: Erasure,
        strength: float,
        same_base: bool,
        denoiser: str = ONLY_DENOISER,
        start_at: float = 0.0,
        end_at: float = 1.0,
    ) -> io.NodeOutput:
        if eraser.kind != "eraser":
            raise UserError("This is an unlearned text encoder: apply it with Apply Unlearned Encoder (CLIP).")
        tensors, part = denoiser_tensors(eraser, denoiser), Part(start_at, end_at)
        erased = with_eraser(model, tensors, eraser.base.family, strength=strength, part=part)
        return io.NodeOutput(erased, ui=said(said_of(model, eraser, confirmed=same_base, denoiser=denoiser)))


def _share_input(name: str, default: float, tooltip: str) -> io.Input:
    return advanced(io.Float, name, default=default, min=0.0, max=1.0, step=0.05, round=0.001, optional=True, tooltip=tooltip)
