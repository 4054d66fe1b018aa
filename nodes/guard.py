"""Guard."""

from comfy_api.v0_0_2 import io

from t2vu_core.guards import GUARDS, make_guard
from t2vu_core.model import T2VModel

from . import comfy_bridge
from .declare import Model, lines, schema, text_input


class Guard(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VUGuard",
            display_name="Guard",
            description=(
                "Keeps a concept out while clips are sampled, without any training. Quick to try and easy to get around; "
                "it combines with erasers."
            ),
            search_aliases=["negative prompt", "safree", "videoeraser", "safety"],
            inputs=[
                Model.Input("model", tooltip="The model to guard, with or without erasers on it."),
                io.Combo.Input(
                    "method",
                    options=list(GUARDS),
                    default="negative_prompt",
                    tooltip="negative_prompt: guidance away from the concept. safree: turns the prompt's words away from "
                    "it. video_eraser: both, and guidance with momentum; takes half as long again.",
                ),
                text_input("concepts", "What to keep out, one a line, in the words of a prompt.", placeholder="ghost"),
            ],
            outputs=[Model.Output("guarded", display_name="model", tooltip="The model under the guard, for Sample Video.")],
        )

    @classmethod
    @comfy_bridge.outside_inference_mode
    def execute(cls, model: T2VModel, method: str, concepts: str) -> io.NodeOutput:
        return io.NodeOutput(model.with_guard(make_guard(method, lines(concepts))))
