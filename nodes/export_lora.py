"""Export LoRA."""

from pathlib import Path

from comfy_api.v0_0_2 import io

from t2vu_core.erasure import Erasure
from t2vu_core.errors import UserError
from t2vu_core.interchange import LAYOUTS, export_lora
from t2vu_core.interchange.comfyui_names import FIRST_VERSION
from t2vu_core.interchange.lora_files import file_endings

from . import comfy_bridge
from .declare import Eraser, file_name_input, overwrite_input, schema
from .erasure_files import erasure_stem


def file_inputs() -> list[io.Input]:
    """Where a LoRA file goes, and what it is called there."""
    tooltip = "models/loras: Load LoRA lists the file. output/loras: to take it elsewhere."
    folders = list(comfy_bridge.LORA_FOLDERS)
    folder = io.Combo.Input("folder", options=folders, default=folders[0], tooltip=tooltip)
    return [folder, file_name_input("that folder"), overwrite_input()]


class ExportLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VUExportLora",
            display_name="Export LoRA",
            description=(
                "Writes an eraser of the LoRA kind as a LoRA file: for ComfyUI's own models, where Load LoRA takes it, "
                "or for diffusers. Such a file needs neither this pack nor its models."
            ),
            search_aliases=["save lora", "convert eraser", "diffusers lora"],
            inputs=[
                Eraser.Input("eraser", tooltip="An eraser of the LoRA kind. One with a bottleneck cannot be a LoRA file."),
                io.Combo.Input(
                    "layout",
                    options=list(LAYOUTS),
                    default="comfyui",
                    tooltip="Whose names for the layers: ComfyUI's own models, or diffusers' pipelines.",
                ),
                *file_inputs(),
            ],
            outputs=[
                io.String.Output(
                    "files",
                    display_name="files",
                    tooltip="The files in that folder, one a line; two for a model with two denoisers.",
                )
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    @comfy_bridge.outside_inference_mode
    def execute(cls, eraser: Erasure, layout: str, folder: str, name: str = "", overwrite: bool = False) -> io.NodeOutput:
        chosen = next((known for known in LAYOUTS if known == layout), None)
        if chosen is None:
            raise UserError(f"There is no layout {layout!r}; there are {', '.join(LAYOUTS)}.")
        endings = file_endings(eraser)
        path = comfy_bridge.new_lora_file(folder, name.strip() or erasure_stem(eraser), overwrite=overwrite, endings=endings)
        files = export_lora(eraser, path, layout=chosen)
        comfy_bridge.Progress(cls.hidden.unique_id).say(_say(eraser, files, layout))
        return io.NodeOutput("\n".join(comfy_bridge.lora_name(folder, file) for file in files))


def _say(eraser: Erasure, files: list[Path], layout: str) -> str:
    said = f"saved as {', '.join(file.name for file in files)}"
    needed = FIRST_VERSION.get(eraser.base.family) if layout == "comfyui" else None
    return f"{said}; ComfyUI has such models from version {needed} on" if needed else said
