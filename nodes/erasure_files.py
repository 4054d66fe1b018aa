"""Save Erasure, Load Erasure and Load Unlearned Encoder."""

from comfy_api.v0_0_2 import io

from t2vu_core import Erasure, UserError
from t2vu_core.erasure import KIND_TITLES, is_whole
from t2vu_core.evaluation.report.wording import spoken

from . import comfy_bridge
from .checks import problem
from .declare import Eraser, UnlearnedEncoder, file_name_input, overwrite_input, schema
from .words import said

LOADERS = {"eraser": "Load Erasure", "unlearned_encoder": "Load Unlearned Encoder"}
"""The node that loads each kind of erasure."""


class SaveErasure(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VUSaveErasure",
            display_name="Save Erasure",
            description=(
                "Writes an erasure to output/erasures as one safetensors file, with the concept, the base, the settings of the "
                "training and the scores if it was measured."
            ),
            search_aliases=["save eraser", "export erasure"],
            inputs=[
                io.MultiType.Input("erasure", types=[Eraser, UnlearnedEncoder], tooltip="An eraser or an unlearned encoder."),
                file_name_input("output/erasures"),
                overwrite_input(),
            ],
            outputs=[io.String.Output("file", display_name="file", tooltip="The file as Load Erasure lists it.")],
            is_output_node=True,
        )

    @classmethod
    def execute(cls, erasure: Erasure | None, name: str = "", overwrite: bool = False) -> io.NodeOutput:
        if erasure is None:
            raise UserError("There is no erasure to save: the evaluated model has none. Apply one to it first.")
        path = comfy_bridge.new_erasure_file(name.strip() or comfy_bridge.default_name(erasure), overwrite=overwrite)
        note = ""
        if overwrite and erasure.partial and is_whole(path):
            note = f": a {erasure.partial} does not replace {path.name}, which is not one"
            path = comfy_bridge.new_erasure_file(comfy_bridge.erasure_name(path), overwrite=False)
        if erasure.source and erasure.source.is_outdated(path):
            note = f": {path.name} has changed since it was loaded and stays as it is"
            path = comfy_bridge.new_erasure_file(comfy_bridge.erasure_name(path), overwrite=False)
        saved = comfy_bridge.erasure_name(erasure.save(path))
        return io.NodeOutput(saved, ui=said(f"saved as {saved}{note}"))


class _Loader(io.ComfyNode):
    """Reads the chosen file, and reads it again only when it has changed."""

    KIND: str
    """The kind of erasure that the node loads."""

    @classmethod
    def validate_inputs(cls, file: str | None = None) -> bool | str:
        return problem(comfy_bridge.erasure_file, file)

    @classmethod
    def fingerprint_inputs(cls, file: str) -> str:
        return comfy_bridge.fingerprint(comfy_bridge.erasure_file(file))

    @classmethod
    @comfy_bridge.outside_inference_mode
    def execute(cls, file: str) -> io.NodeOutput:
        return _load(file, cls.KIND)


class LoadErasure(_Loader):
    KIND = "eraser"

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VULoadErasure",
            display_name=LOADERS["eraser"],
            description="Reads an eraser and shows its concept, its base model, and its scores.",
            search_aliases=["load eraser"],
            inputs=[_file_input()],
            outputs=[
                Eraser.Output("eraser", display_name="eraser", tooltip="For Apply Eraser."),
                _description_output("Concepts, base model, method and scores as text."),
            ],
        )


class LoadUnlearnedEncoder(_Loader):
    KIND = "unlearned_encoder"

    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VULoadEncoder",
            display_name=LOADERS["unlearned_encoder"],
            description="Reads an unlearned text encoder and shows its concept, its base, and its scores.",
            search_aliases=["load erasure", "text encoder"],
            inputs=[_file_input()],
            outputs=[
                UnlearnedEncoder.Output("encoder", display_name="encoder", tooltip="For both Apply Unlearned Encoder nodes."),
                _description_output("Concepts, encoder, method and scores as text."),
            ],
        )


def _file_input() -> io.Input:
    tooltip = "Erasure files in output/erasures and models/erasures, subfolders included."
    return io.Combo.Input("file", options=comfy_bridge.erasure_names(), tooltip=tooltip)


def _description_output(tooltip: str) -> io.Output:
    return io.String.Output("description", display_name="description", tooltip=tooltip)


def _load(file: str, kind: str) -> io.NodeOutput:
    """An erasure of that kind and its description. Raises UserError, with the right node, for another kind."""
    erasure = Erasure.load(comfy_bridge.erasure_file(file))
    if erasure.kind != kind:
        raise UserError(
            f"{file} holds an {KIND_TITLES[erasure.kind]}, but this node loads an {KIND_TITLES[kind]}: "
            f"use {LOADERS[erasure.kind]}."
        )
    text = describe(erasure)
    return io.NodeOutput(erasure, text, ui=said(text))


def describe(erasure: Erasure) -> str:
    """The erasure in a few lines of text."""
    return "\n".join(
        [
            f"Erases: {', '.join(erasure.concepts)}",
            f"From: {erasure.base.name} ({erasure.base.family}, {erasure.base.hash[:12]})",
            f"Method: {erasure.method}, {erasure.created}",
            f"Scores: {spoken(erasure.scores)}",
            *([f"Only a {erasure.partial}: the training was stopped before its end."] if erasure.partial else []),
        ]
    )
