"""Load Miniature (MODEL, CLIP, VAE, LATENT)."""

from typing import Any

from comfy_api.v0_0_2 import io

from . import comfy_bridge
from .declare import schema
from .native.miniature import MINIATURES, PRECISIONS, load_miniature


class LoadMiniatureNative(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VULoadMiniatureNative",
            display_name="Load Miniature (MODEL, CLIP, VAE, LATENT)",
            description=(
                "Loads a bundled miniature as ComfyUI's own MODEL, CLIP and VAE, so that graphs with stock nodes run on any "
                "machine: CLIP Text Encode, KSampler (euler, simple), VAE Decode."
            ),
            search_aliases=["miniature", "native", "checkpoint", "ltx", "cogvideox"],
            inputs=[
                io.Combo.Input(
                    "name",
                    options=list(MINIATURES),
                    tooltip="miniature-ltx: LTX-Video, 64 x 64; KSampler with 20 steps, cfg 3; not finished, it draws a named "
                    "subject in 86 to 97 % of clips, two subjects in 83 %. miniature-unet: an image model of Stable "
                    "Diffusion's classes, 32 x 32; 25 steps, cfg 4. miniature: CogVideoX, 32 x 32; 25 steps, cfg 4; needs "
                    "ComfyUI 0.21. Sampler euler and scheduler simple for all.",
                ),
                io.Combo.Input(
                    "precision",
                    options=list(PRECISIONS),
                    default="fp32",
                    tooltip="How the denoiser's weights are stored, as files of large models are: fp8_scaled is fp8 with a "
                    "scale for each linear layer. The text encoder is bf16 unless this is fp32.",
                ),
            ],
            outputs=[
                io.Model.Output("loaded", display_name="model", tooltip="The denoiser."),
                io.Clip.Output("encoder", display_name="clip", tooltip="The text encoder."),
                io.Vae.Output("decoder", display_name="vae", tooltip="The VAE."),
                io.Latent.Output("empty", display_name="latent", tooltip="An empty clip, or image, of the miniature's size."),
            ],
        )

    @classmethod
    @comfy_bridge.outside_inference_mode
    def execute(cls, name: str, precision: str) -> io.NodeOutput:
        loaded: tuple[Any, ...] = load_miniature(name, precision)
        return io.NodeOutput(*loaded)
