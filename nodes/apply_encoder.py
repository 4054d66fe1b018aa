"""Apply Unlearned Encoder, to our model and to ComfyUI's CLIP."""

from typing import Any

from comfy_api.v0_0_2 import io

from t2vu_core.erasure import Erasure
from t2vu_core.model import T2VModel

from . import comfy_bridge
from .declare import Model, UnlearnedEncoder, other_base_input, schema, strength_input


class ApplyUnlearnedEncoder(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VUApplyEncoder",
            display_name="Apply Unlearned Encoder",
            description=(
                "Gives a model whose text encoder has forgotten. The model that comes in stays as it is, so a graph can "
                "sample both. Chain several, and erasers too."
            ),
            search_aliases=["erase", "unlearn", "text encoder", "remove concept"],
            inputs=[
                Model.Input("model", tooltip="A model with the text encoder that was trained."),
                UnlearnedEncoder.Input("encoder", tooltip="From Few-Shot Unlearn Encoder or Load Unlearned Encoder."),
                strength_input("encoder"),
                other_base_input("it"),
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
                "Gives ComfyUI's own CLIP with the unlearned encoder on it, for graphs with CLIP Text Encode and KSampler. "
                "The CLIP that comes in stays as it is."
            ),
            search_aliases=["erase", "unlearn", "clip", "text encoder"],
            inputs=[
                io.Clip.Input("clip", tooltip="ComfyUI's CLIP, from Load CLIP: the text encoder that was trained."),
                UnlearnedEncoder.Input("encoder", tooltip="From Few-Shot Unlearn Encoder or Load Unlearned Encoder."),
                strength_input("encoder"),
                other_base_input("it"),
            ],
            outputs=[io.Clip.Output("unlearned", display_name="clip", tooltip="For CLIP Text Encode.")],
        )

    @classmethod
    def execute(cls, clip: Any, encoder: Erasure, strength: float, allow_other_base: bool = False) -> io.NodeOutput:
        return io.NodeOutput(comfy_bridge.with_encoder(clip, encoder, strength, allow_other_base=allow_other_base))
