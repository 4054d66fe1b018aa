"""Load Unlearned Encoder."""

from comfy_api.v0_0_2 import io

from t2vu_core.erasure import KIND_TITLES, Erasure
from t2vu_core.errors import UserError

from . import comfy_bridge
from .declare import UnlearnedEncoder, schema
from .erasure_files import describe


class LoadUnlearnedEncoder(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VULoadEncoder",
            display_name="Load Unlearned Encoder",
            description="Reads an unlearned encoder from output/erasures or models/erasures, and says what it forgot.",
            search_aliases=["load erasure", "text encoder"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=comfy_bridge.erasure_names(),
                    tooltip="Erasure files in output/erasures and models/erasures.",
                ),
            ],
            outputs=[
                UnlearnedEncoder.Output("encoder", display_name="encoder", tooltip="For Apply Unlearned Encoder."),
                io.String.Output(
                    "description", display_name="description", tooltip="Concepts, encoder, recipe and scores, to read."
                ),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def fingerprint_inputs(cls, file: str) -> str:
        return comfy_bridge.fingerprint(comfy_bridge.erasure_file(file))

    @classmethod
    @comfy_bridge.outside_inference_mode
    def execute(cls, file: str) -> io.NodeOutput:
        erasure = Erasure.load(comfy_bridge.erasure_file(file))
        if erasure.kind != "unlearned_encoder":
            raise UserError(
                f"{file} holds an {KIND_TITLES[erasure.kind]}; Load Erasure loads it, this node loads text encoders."
            )
        text = describe(erasure)
        comfy_bridge.Progress(cls.hidden.unique_id).say(text)
        return io.NodeOutput(erasure, text)
