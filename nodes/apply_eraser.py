"""Apply Eraser, to a model of this pack."""

from comfy_api.v0_0_2 import io

from t2vu_core import Erasure, T2VModel
from t2vu_core.base_identity import compare_bases

from . import comfy_bridge
from .declare import ALIASES, Eraser, Model, other_base_input, schema, strength_input
from .words import said


class ApplyEraser(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VUApplyEraser",
            display_name="Apply Eraser",
            description=(
                "Returns a model with an eraser applied. The input model does not change, so one graph can sample before "
                "and after. Chain several nodes to erase several concepts."
            ),
            search_aliases=["erase", "unlearn", "lora", "remove concept", *ALIASES],
            inputs=[
                Model.Input("model", tooltip="The model that the eraser was trained on."),
                Eraser.Input("eraser", tooltip="From Velocity Erase Fine-tune or Load Erasure."),
                strength_input("model"),
                other_base_input(
                    "Apply the eraser even though it was trained on other weights, such as those of the base of a fine-tune."
                ),
            ],
            outputs=[Model.Output("erased", display_name="model", tooltip="The model with the concept erased.")],
        )

    @classmethod
    @comfy_bridge.outside_inference_mode
    def execute(cls, model: T2VModel, eraser: Erasure, strength: float, allow_other_base: bool = False) -> io.NodeOutput:
        erased = model.with_erasure(eraser, strength, allow_other_base=allow_other_base)
        found = compare_bases(eraser.base, model.base) or "other weights"
        return io.NodeOutput(erased, ui=said(f"trained on {eraser.base.name}; this model: {found}"))
