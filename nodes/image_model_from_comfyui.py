"""Image Model from ComfyUI."""

from typing import Any

from comfy_api.v0_0_2 import io

from . import comfy_bridge
from .declare import ImageModelSocket, number_input, schema
from .native import ImageSettings, image_model_from_comfyui, shots_of
from .words import said

LATENTS_OR_USUAL = "as in the latent, or 512 without one"


class ImageModelFromComfyUI(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VUImageModelFromComfyUI",
            display_name="Image Model from ComfyUI",
            description=(
                "Makes an image model for Few-Shot Unlearn Encoder out of a Stable Diffusion checkpoint: its MODEL supplies "
                "the gradient, its CLIP unlearns. The unlearned encoder works in every graph with the same CLIP, such as one "
                "with AnimateDiff. Nothing is copied or changed."
            ),
            search_aliases=["native", "checkpoint", "stable diffusion", "animatediff", "clip"],
            inputs=[
                io.Model.Input("model", tooltip="From Load Checkpoint, a Stable Diffusion model."),
                io.Clip.Input("clip", tooltip="From the same checkpoint."),
                io.Vae.Input("vae", tooltip="From the same checkpoint."),
                io.Int.Input("steps", default=20, min=1, max=1000, tooltip="Steps of generated shots."),
                io.Float.Input("cfg", default=7.5, min=0.0, max=100.0, step=0.1, tooltip="Guidance of generated shots."),
                io.Latent.Input(
                    "latent",
                    optional=True,
                    tooltip="An empty latent image of the size of the shots, as your KSampler gets it.",
                ),
                number_input(io.Int, "width", 4096, "Width of the shots in pixels.", zero=LATENTS_OR_USUAL),
                number_input(io.Int, "height", 4096, "Height of the shots in pixels.", zero=LATENTS_OR_USUAL),
            ],
            outputs=[
                ImageModelSocket.Output("made", display_name="image model", tooltip="For Few-Shot Unlearn Encoder: through.")
            ],
        )

    @classmethod
    @comfy_bridge.outside_inference_mode
    def execute(
        cls,
        model: Any,
        clip: Any,
        vae: Any,
        steps: int,
        cfg: float,
        latent: Any = None,
        width: int = 0,
        height: int = 0,
    ) -> io.NodeOutput:
        made = image_model_from_comfyui(model, clip, vae, ImageSettings(height, width, steps, cfg), latent)
        return io.NodeOutput(made, ui=said(shots_of(made)))
