"""Export LoRA."""

from pathlib import Path
from typing import Any

from comfy_api.v0_0_2 import io

from t2vu_core import Erasure, UserError
from t2vu_core.interchange import LAYOUTS, export_lora
from t2vu_core.interchange.comfyui_names import FIRST_VERSION
from t2vu_core.interchange.lora_files import file_endings
from t2vu_core.interchange.merge_error import MergeError

from . import comfy_bridge
from .declare import Eraser, lora_file_inputs, schema
from .native import merged_into
from .words import said

NOT_MEASURED = "In fp8 models merging rounds a small change away: connect model to measure it, or use Apply Eraser (MODEL)."


class ExportLora(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VUExportLora",
            display_name="Export LoRA",
            description=(
                "Writes an eraser of the kind lora as a LoRA file that works without this pack: with Load LoRA on ComfyUI's "
                "own video models, or in diffusers."
            ),
            search_aliases=["save lora", "convert eraser", "diffusers lora"],
            inputs=[
                Eraser.Input("eraser", tooltip="An eraser of the kind lora. A bottleneck cannot be written as a LoRA."),
                io.Combo.Input(
                    "layout",
                    options=list(LAYOUTS),
                    default="comfyui",
                    tooltip="Whose layer names to use: comfyui for ComfyUI's own models, diffusers for its pipelines.",
                ),
                *lora_file_inputs(),
                io.Model.Input(
                    "model",
                    optional=True,
                    tooltip="ComfyUI's own model that Load LoRA will merge the file into. Connected: the node measures what "
                    "rounding to fp8 leaves of the change. It is not changed.",
                ),
            ],
            outputs=[
                io.String.Output(
                    "files",
                    display_name="files",
                    tooltip="The files in that folder, one per line; two for a model with two denoisers.",
                )
            ],
            is_output_node=True,
        )

    @classmethod
    @comfy_bridge.outside_inference_mode
    def execute(
        cls, eraser: Erasure, layout: str, folder: str, name: str = "", overwrite: bool = False, model: Any = None
    ) -> io.NodeOutput:
        chosen = next((known for known in LAYOUTS if known == layout), None)
        if chosen is None:
            raise UserError(f"There is no layout {layout!r}; choose one of {', '.join(LAYOUTS)}.")
        name, endings = name.strip() or comfy_bridge.default_name(eraser), file_endings(eraser)
        path = comfy_bridge.new_lora_file(folder, name, overwrite=overwrite, endings=endings)
        merged = None if model is None else merged_into(model, eraser)
        files = export_lora(eraser, path, layout=chosen)
        names = "\n".join(comfy_bridge.lora_name(folder, file) for file in files)
        return io.NodeOutput(names, ui=said(_summary(eraser, files, layout, merged)))


def _summary(eraser: Erasure, files: list[Path], layout: str, merged: MergeError | None) -> str:
    parts = [f"saved as {', '.join(file.name for file in files)}"]
    needed = FIRST_VERSION.get(eraser.base.family) if layout == "comfyui" else None
    if needed:
        parts.append(f"ComfyUI has such models from version {needed} on")
    if merged is not None:
        advice = "" if merged.tolerable else "; use Apply Eraser (MODEL), which merges nothing"
        parts.append(f"{merged}{advice}")
    told = "; ".join(parts)
    return f"{told}\n{NOT_MEASURED}" if merged is None and layout == "comfyui" else told
