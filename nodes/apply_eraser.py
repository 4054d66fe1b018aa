"""Apply Eraser."""

from comfy_api.v0_0_2 import io

from t2vu_core.erasure import Erasure
from t2vu_core.model import T2VModel

from . import comfy_bridge
from .declare import Eraser, Model, other_base_input, schema, strength_input


class ApplyEraser(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VUApplyEraser",
            display_name="Apply Eraser",
            description=(
                "Gives a model with an eraser on it. The model that comes in stays as it is, so a graph can "
                "sample both. Chain several to erase several concepts."
            ),
            search_aliases=["erase", "unlearn", "lora", "remove concept"],
            inputs=[
                Model.Input("model", tooltip="The model that the eraser was trained on."),
                Eraser.Input("eraser", tooltip="From Velocity Erase Fine-tune or Load Erasure."),
                strength_input("model"),
                other_base_input("the eraser"),
            ],
            outputs=[Model.Output("erased", display_name="model", tooltip="The model with the concept erased.")],
        )

    @classmethod
    @comfy_bridge.outside_inference_mode
    def execute(cls, model: T2VModel, eraser: Erasure, strength: float, allow_other_base: bool = False) -> io.NodeOutput:
        return io.NodeOutput(model.with_erasure(eraser, strength, allow_other_base=allow_other_base))
