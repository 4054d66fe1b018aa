"""The extension that ComfyUI loads: the list of its nodes."""

from comfy_api.v0_0_2 import ComfyExtension, io

from . import comfy_bridge
from .apply_encoder import ApplyUnlearnedEncoder, ApplyUnlearnedEncoderClip
from .apply_eraser import ApplyEraser
from .apply_eraser_native import ApplyEraserNative
from .checked_inputs import with_checked_inputs
from .closed_form_erase import ClosedFormErase
from .compare import CompareBeforeAndAfter
from .erasure_files import LoadErasure, LoadUnlearnedEncoder, SaveErasure
from .evaluate import EvaluateErasure
from .export_encoder import ExportEncoder
from .export_lora import ExportLora
from .few_shot import FewShotUnlearn
from .from_comfyui import FromComfyUI
from .guard import Guard
from .image_model_from_comfyui import ImageModelFromComfyUI
from .load_miniature_native import LoadMiniatureNative
from .load_model import LoadT2VModel
from .sample_video import SampleVideo
from .velocity_erase import VelocityErase


class T2VUnlearning(ComfyExtension):
    """Erase concepts from text-to-video models."""

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        nodes = [
            LoadT2VModel,
            LoadMiniatureNative,
            FromComfyUI,
            ImageModelFromComfyUI,
            FewShotUnlearn,
            ApplyUnlearnedEncoder,
            ApplyUnlearnedEncoderClip,
            VelocityErase,
            ClosedFormErase,
            ApplyEraser,
            ApplyEraserNative,
            SampleVideo,
            CompareBeforeAndAfter,
            SaveErasure,
            LoadErasure,
            LoadUnlearnedEncoder,
            ExportLora,
            ExportEncoder,
            EvaluateErasure,
            Guard,
        ]
        return [with_checked_inputs(node) for node in nodes]


async def comfy_entrypoint() -> ComfyExtension:
    comfy_bridge.register_folders()
    comfy_bridge.warn_of_copies()
    return T2VUnlearning()
