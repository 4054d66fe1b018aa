"""Apply Unlearned Encoder, to a model of this pack and to ComfyUI's CLIP."""

from typing import Any

from comfy_api.v0_0_2 import io

from t2vu_core import Erasure, T2VModel

from . import comfy_bridge
from .declare import Model, UnlearnedEncoder, other_base_input, schema, strength_input
from .native import with_encoder


class ApplyUnlearnedEncoder(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VUApplyEncoder",
            display_name="Apply Unlearned Encoder",
            description=(
                "Returns a model whose text encoder no longer represents a concept. The input model does not change, so one "
                "graph can sample before and after. Chain several nodes to erase several concepts; the node combines with "
                "Apply Eraser."
            ),
            search_aliases=["erase", "unlearn", "text encoder", "remove concept"],
            inputs=[
                Model.Input("model", tooltip="Any video model that shares the text encoder that was trained."),
                UnlearnedEncoder.Input("encoder", tooltip="From Few-Shot Unlearn Encoder or Load Unlearned Encoder."),
                strength_input("encoder"),
                other_base_input(
                    "Apply it even though it was trained on other weights, or with another tokenizer of the same size."
                ),
            ],
            outputs=[Model.Output("unlearned", display_name="model", tooltip="The model with the unlearned encoder.")],
        )

    @classmethod
    @comfy_bridge.outside_inference_mode
    def execute(cls, model: T2VModel, encoder: Erasure, strength: float, allow_other_base: bool = False) -> io.NodeOutput:
        return io.NodeOutput(model.with_erasure(encoder, strength, allow_other_base=allow_other_base))


class ApplyUnlearnedEncoderClip(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VUApplyEncoderClip",
            display_name="Apply Unlearned Encoder (CLIP)",
            description=(
                "Applies an unlearned encoder to ComfyUI's own CLIP, for graphs with CLIP Text Encode and KSampler. The "
                "input CLIP does not change."
            ),
            search_aliases=["erase", "unlearn", "clip", "text encoder"],
            inputs=[
                io.Clip.Input("clip", tooltip="ComfyUI's CLIP that holds the text encoder that was trained, from Load CLIP."),
                UnlearnedEncoder.Input("encoder", tooltip="From Few-Shot Unlearn Encoder or Load Unlearned Encoder."),
                strength_input("encoder"),
                other_base_input(
                    "Apply it even though the weights differ by more than rounding: to a fine-tune of the text encoder."
                ),
            ],
            outputs=[io.Clip.Output("unlearned", display_name="clip", tooltip="For CLIP Text Encode.")],
        )

    @classmethod
    def execute(cls, clip: Any, encoder: Erasure, strength: float, allow_other_base: bool = False) -> io.NodeOutput:
        return io.NodeOutput(with_encoder(clip, encoder, strength, allow_other_base=allow_other_base))
