"""Guard."""

from comfy_api.v0_0_2 import io

from t2vu_core import T2VModel
from t2vu_core.guards import GUARDS, make_guard

from . import comfy_bridge
from .checks import check_concept, problem
from .declare import ALIASES, Model, lines, schema, text_input


class Guard(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VUGuard",
            display_name="Guard",
            description=(
                "Keeps a concept out while clips are sampled, without training. The input model does not change. Guards are "
                "easy to circumvent and often harm other concepts; they combine with erasers."
            ),
            search_aliases=["safree", "videoeraser", *ALIASES],
            inputs=[
                Model.Input("model", tooltip="The model to guard, with or without erasers."),
                io.Combo.Input(
                    "method",
                    options=list(GUARDS),
                    default="negative_prompt",
                    tooltip="negative_prompt: guidance away from the concept. safree: projects the prompt's words away from "
                    "the concept in the first steps. video_eraser: the same in all steps, and guidance away from the concept "
                    "with momentum.",
                ),
                text_input("concepts", "What to keep out, one per line, in the words of a prompt.", example="ghost"),
            ],
            outputs=[Model.Output("guarded", display_name="model", tooltip="The guarded model, for Sample Video.")],
        )

    @classmethod
    def validate_inputs(cls, concepts: str | None = None) -> bool | str:
        return problem(check_concept, concepts)

    @classmethod
    @comfy_bridge.outside_inference_mode
    def execute(cls, model: T2VModel, method: str, concepts: str) -> io.NodeOutput:
        return io.NodeOutput(model.with_guard(make_guard(method, lines(concepts))))
