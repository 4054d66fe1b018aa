"""Export Unlearned Encoder."""

from comfy_api.v0_0_2 import io

from t2vu_core.erasure import Erasure
from t2vu_core.interchange import export_encoder
from t2vu_core.interchange.encoder_files import EncoderExport

from . import comfy_bridge
from .declare import UnlearnedEncoder, schema
from .erasure_files import erasure_stem
from .export_lora import file_inputs

MAX_RANK = 4096


class ExportEncoder(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VUExportEncoder",
            display_name="Export Unlearned Encoder",
            description=(
                "Writes an unlearned encoder as a LoRA file for ComfyUI's own text encoders: the stock Load LoRA applies it "
                "to a CLIP. Such a file needs neither this pack nor its models."
            ),
            search_aliases=["save lora", "convert encoder", "clip lora", "text encoder"],
            inputs=[
                UnlearnedEncoder.Input("encoder", tooltip="From Few-Shot Unlearn Encoder or Load Unlearned Encoder."),
                io.Int.Input(
                    "rank",
                    default=0,
                    min=0,
                    max=MAX_RANK,
                    tooltip="0: every value of the change. Above: the best low-rank factors, a smaller file that says less.",
                ),
                *file_inputs(),
            ],
            outputs=[
                io.String.Output("file", display_name="file", tooltip="The file in that folder."),
                io.Float.Output(
                    "error",
                    display_name="error",
                    tooltip="The share of the change that low-rank factors leave out, 0 to 1; 0 where every value is there.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

    @classmethod
    @comfy_bridge.outside_inference_mode
    def execute(cls, encoder: Erasure, rank: int, folder: str, name: str = "", overwrite: bool = False) -> io.NodeOutput:
        path = comfy_bridge.new_lora_file(folder, name.strip() or erasure_stem(encoder), overwrite=overwrite)
        written = export_encoder(encoder, path, rank=rank or None)
        comfy_bridge.Progress(cls.hidden.unique_id).say(_say(written))
        return io.NodeOutput(comfy_bridge.lora_name(folder, written.file), written.error)


def _say(written: EncoderExport) -> str:
    exact = f"the factors leave out {written.error:.1%} of the change" if written.error else "every value of the change"
    return f"saved as {written.file.name}, {written.num_bytes / 2**20:.1f} MiB, {exact}"
