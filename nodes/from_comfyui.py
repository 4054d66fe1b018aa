"""T2V Model from ComfyUI."""

from typing import Any

from comfy_api.v0_0_2 import io

from t2vu_core import T2VModel

from . import comfy_bridge
from .declare import Model, advanced, number_input, schema
from .native import SCHEDULERS, Sampled, model_from_comfyui, words_of
from .words import said

LATENTS_OWN = "as in the latent"


class FromComfyUI(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VUFromComfyUI",
            display_name="T2V Model from ComfyUI",
            description=(
                "Makes a model for this pack's nodes out of a graph's MODEL, CLIP and VAE: erasers are trained, sampled and "
                "measured on them, in their precision and with their memory management. Nothing is copied or changed."
            ),
            search_aliases=["native", "convert", "wan", "ltx", "hunyuan", "gguf", "fp8", "load diffusion model"],
            inputs=[*_model_inputs(), *_size_inputs(), *_sampling_inputs()],
            outputs=[Model.Output("made", display_name="model", tooltip="For Velocity Erase Fine-tune and the other nodes.")],
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
        model_low_noise: Any = None,
        conditioning: Any = None,
        width: int = 0,
        height: int = 0,
        num_frames: int = 0,
        shift: float = 0.0,
        fps: float = 16.0,
        scheduler: str = "simple",
        boundary: float = 0.875,
    ) -> io.NodeOutput:
        sampled = Sampled(steps, cfg, shift, scheduler, boundary, fps)
        models = [model] if model_low_noise is None else [model, model_low_noise]
        pixels = num_frames, height, width
        made: T2VModel = model_from_comfyui(models, clip, vae, sampled, latent=latent, pixels=pixels, conditioning=conditioning)
        return io.NodeOutput(made, ui=said(words_of(made)))


def _model_inputs() -> list[io.Input]:
    """What the graph has loaded, and how it samples."""
    return [
        io.Model.Input("model", tooltip="From Load Diffusion Model or a GGUF loader, with your LoRAs and sampling nodes."),
        io.Clip.Input("clip", tooltip="The text encoder of the same graph."),
        io.Vae.Input("vae", tooltip="The VAE of the same graph."),
        io.Int.Input("steps", default=20, min=1, max=1000, tooltip="The steps of your KSampler."),
        io.Float.Input("cfg", default=5.0, min=0.0, max=100.0, step=0.1, tooltip="The cfg of your KSampler. 1: no guidance."),
        io.Latent.Input("latent", optional=True, tooltip="The empty latent of your graph: it sets the size of the clips."),
        io.Model.Input(
            "model_low_noise", optional=True, tooltip="For Wan 2.2 A14B: the low-noise model; model is the high-noise one."
        ),
        io.Conditioning.Input(
            "conditioning",
            optional=True,
            tooltip="What a CONDITIONING holds besides the text, such as a start image or a guidance strength, goes to every "
            "prompt. Its text is not used.",
        ),
    ]


def _size_inputs() -> list[io.Input]:
    """The size of the clips, where no latent is connected."""
    return [
        number_input(io.Int, "width", 4096, "Width in pixels.", zero=LATENTS_OWN),
        number_input(io.Int, "height", 4096, "Height in pixels.", zero=LATENTS_OWN),
        number_input(io.Int, "num_frames", 1024, "Number of frames.", zero=LATENTS_OWN),
    ]


def _sampling_inputs() -> list[io.Input]:
    """The rest of how the graph samples."""
    return [
        number_input(
            io.Float, "shift", 100.0, "Shift of the noise schedule.", zero="as in the MODEL, or a sampling node before it",
            folded=True, step=0.01,
        ),
        advanced(
            io.Float, "fps", default=16.0, min=1.0, max=120.0, step=0.5, optional=True,
            tooltip="Frames per second of saved clips.",
        ),
        advanced(
            io.Combo, "scheduler", options=list(SCHEDULERS), default="simple", optional=True,
            tooltip="The scheduler of your KSampler. Clips are sampled with euler.",
        ),
        advanced(
            io.Float, "boundary", default=0.875, min=0.0, max=1.0, step=0.005, optional=True,
            tooltip="With two models: the noise level from which on the high-noise model computes. Wan 2.2: 0.875, "
            "image to video 0.9.",
        ),
    ]  # fmt: skip
