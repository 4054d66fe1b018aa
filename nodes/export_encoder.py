"""Export Unlearned Encoder."""

from comfy_api.v0_0_2 import io

from t2vu_core import Erasure
from t2vu_core.interchange import export_encoder
from t2vu_core.interchange.encoder_files import EncoderExport

from . import comfy_bridge
from .declare import UnlearnedEncoder, lora_file_inputs, schema
from .words import said

MAX_RANK = 4096


class ExportEncoder(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VUExportEncoder",
            display_name="Export Unlearned Encoder",
            description=(
                "Writes an unlearned encoder as a LoRA file for ComfyUI's own text encoders. The stock Load LoRA applies it "
                "to a CLIP, so that graphs with CLIP Text Encode and KSampler use it without this pack."
            ),
            search_aliases=["save lora", "convert encoder", "clip lora", "text encoder"],
            inputs=[
                UnlearnedEncoder.Input("encoder", tooltip="From Few-Shot Unlearn Encoder or Load Unlearned Encoder."),
                io.Int.Input(
                    "rank",
                    default=0,
                    min=0,
                    max=MAX_RANK,
                    tooltip="0 writes every value of the change. Above 0, the change of each layer is written as its best "
                    "low-rank factors of that rank: a smaller, approximate file.",
                ),
                *lora_file_inputs(),
            ],
            outputs=[
                io.String.Output("file", display_name="file", tooltip="The file in that folder."),
                io.Float.Output(
                    "error",
                    display_name="error",
                    tooltip="The share of the change that the factors leave out, from 0 to 1; 0 for an exact file.",
                ),
            ],
            is_output_node=True,
        )

    @classmethod
    @comfy_bridge.outside_inference_mode
    def execute(cls, encoder: Erasure, rank: int, folder: str, name: str = "", overwrite: bool = False) -> io.NodeOutput:
        path = comfy_bridge.new_lora_file(folder, name.strip() or comfy_bridge.default_name(encoder), overwrite=overwrite)
        written = export_encoder(encoder, path, rank=rank or None)
        return io.NodeOutput(comfy_bridge.lora_name(folder, written.file), written.error, ui=said(_summary(written)))


def _summary(written: EncoderExport) -> str:
    exact = f"the factors leave out {written.error:.1%} of the change" if written.error else "exact"
    return f"saved as {written.file.name}, {written.num_bytes / 2**20:.1f} MiB, {exact}"
