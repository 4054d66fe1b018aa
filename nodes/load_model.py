"""Load T2V Model."""

import torch
from comfy_api.v0_0_2 import io

from t2vu_core import UserError, load_model

from . import comfy_bridge
from .checks import problem
from .declare import Model, advanced, schema

DTYPES = {"auto": None, "float32": torch.float32, "bfloat16": torch.bfloat16}


class LoadT2VModel(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VULoadModel",
            display_name="Load T2V Model",
            description=(
                "Loads a text-to-video model with nothing erased: a bundled model or a diffusers folder. Nodes after it never "
                "change it, so one graph can sample it with and without erasers."
            ),
            search_aliases=["load video model", "diffusers", "cogvideox", "miniature"],
            inputs=[
                io.Combo.Input(
                    "model",
                    options=comfy_bridge.model_names(),
                    tooltip="A bundled model, or a diffusers folder in models/t2v or models/diffusers. Folders of unsupported "
                    "architectures are not listed.",
                ),
                advanced(
                    io.Combo,
                    "dtype",
                    options=list(DTYPES),
                    default="auto",
                    optional=True,
                    tooltip="Precision of the weights. auto: bfloat16 on a GPU that supports it well, else float32. An eraser "
                    "fits the model in either precision.",
                ),
            ],
            outputs=[Model.Output("loaded", display_name="model", tooltip="The model with nothing erased.")],
        )

    @classmethod
    def fingerprint_inputs(cls, model: str, dtype: str = "auto") -> str:
        return comfy_bridge.fingerprint(comfy_bridge.model_folder(model))

    @classmethod
    def validate_inputs(cls, model: str | None = None) -> bool | str:
        return problem(comfy_bridge.model_folder, model)

    @classmethod
    @comfy_bridge.outside_inference_mode
    def execute(cls, model: str, dtype: str = "auto") -> io.NodeOutput:
        folder = comfy_bridge.model_folder(model)
        if dtype not in DTYPES:
            raise UserError(f"There is no dtype {dtype!r}; choose one of {', '.join(DTYPES)}.")
        comfy_bridge.make_room()
        precision = DTYPES[dtype] or comfy_bridge.default_dtype()
        return io.NodeOutput(load_model(folder, dtype=precision, device=comfy_bridge.device()))
