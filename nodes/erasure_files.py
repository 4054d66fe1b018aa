"""Save Erasure and Load Erasure."""

from comfy_api.v0_0_2 import io

from t2vu_core.erasure import KIND_TITLES, Erasure
from t2vu_core.errors import UserError
from t2vu_core.evaluation.verdict import spoken

from . import comfy_bridge
from .declare import Eraser, UnlearnedEncoder, schema


class SaveErasure(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VUSaveErasure",
            display_name="Save Erasure",
            description="Writes an erasure into output/erasures, as one safetensors file that says what it erases from what.",
            search_aliases=["save eraser", "export erasure"],
            inputs=[
                io.MultiType.Input("erasure", types=[Eraser, UnlearnedEncoder], tooltip="What a training gave."),
                io.String.Input(
                    "name",
                    default="",
                    placeholder="the concept's name",
                    tooltip="File name in output/erasures; styles/noir makes a subfolder. Empty: the concept's name.",
                ),
                io.Boolean.Input(
                    "overwrite",
                    default=False,
                    optional=True,
                    tooltip="Replace a file of that name. Off: a number is added and both are kept.",
                ),
            ],
            outputs=[io.String.Output("file", display_name="file", tooltip="The file, relative to output/erasures.")],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, erasure: Erasure, name: str = "", overwrite: bool = False) -> io.NodeOutput:
        path = comfy_bridge.new_erasure_file(name or erasure_stem(erasure), overwrite=overwrite)
        saved = comfy_bridge.erasure_name(erasure.save(path))
        comfy_bridge.Progress(cls.hidden.unique_id).say(f"saved as {saved}")
        return io.NodeOutput(saved)


class LoadErasure(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VULoadErasure",
            display_name="Load Erasure",
            description="Reads an eraser from output/erasures or models/erasures, and says what it erases and how well.",
            search_aliases=["load eraser"],
            inputs=[
                io.Combo.Input(
                    "file",
                    options=comfy_bridge.erasure_names(),
                    tooltip="Erasure files in output/erasures and models/erasures.",
                ),
            ],
            outputs=[
                Eraser.Output("eraser", display_name="eraser", tooltip="For Apply Eraser."),
                io.String.Output(
                    "description", display_name="description", tooltip="Concepts, base model, recipe and scores, to read."
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
        if erasure.kind != "eraser":
            raise UserError(
                f"{file} holds an {KIND_TITLES[erasure.kind]}; Load Unlearned Encoder loads it, "
                "this node loads erasers of a denoiser."
            )
        text = describe(erasure)
        comfy_bridge.Progress(cls.hidden.unique_id).say(text)
        return io.NodeOutput(erasure, text)


def describe(erasure: Erasure) -> str:
    """The erasure in a few lines for a person."""
    return "\n".join(
        [
            f"Erases: {', '.join(erasure.concepts)}",
            f"From: {erasure.base.name} ({erasure.base.family}, {erasure.base.hash[:12]})",
            f"Method: {erasure.method}, {erasure.created}",
            f"Scores: {spoken(erasure.scores)}",
        ]
    )


def erasure_stem(erasure: Erasure) -> str:
    """A file name made of the concepts; any words give a plain one."""
    words = "-".join(erasure.concepts)
    return "".join(letter if letter.isalnum() or letter in "-_" else "_" for letter in words)[:80]
