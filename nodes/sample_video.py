"""Sample Video."""

from fractions import Fraction

from comfy_api.v0_0_2 import InputImpl, Types, io
from torch import Tensor

from t2vu_core import T2VModel
from t2vu_core.model import SampleStep

from . import comfy_bridge
from .declare import Model, number_input, schema, seed_input, text_input


class SampleVideo(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VUSampleVideo",
            display_name="Sample Video",
            description=(
                "Samples a clip from a prompt. To see what an eraser does, use the same seed on the model before and after "
                "Apply Eraser."
            ),
            search_aliases=["generate video", "text to video", "sampler"],
            inputs=[
                Model.Input("model", tooltip="A model, with or without erasers."),
                text_input("prompt", "What the clip shows."),
                seed_input("Seed of the starting noise. The same seed gives the same clip.", changes=True),
                text_input("negative_prompt", "What the clip should not show.", optional=True),
                number_input(io.Int, "steps", 1000, "Denoising steps. 0: the model's own number."),
                number_input(
                    io.Float,
                    "guidance",
                    100.0,
                    "Guidance scale. 0: the model's own; 1: no guidance.",
                    step=0.1,
                ),
                number_input(io.Int, "frames", 1024, "Number of frames. 0: the model's own."),
                number_input(io.Int, "width", 4096, "Width in pixels. 0: the model's own."),
                number_input(io.Int, "height", 4096, "Height in pixels. 0: the model's own."),
                number_input(
                    io.Float, "fps", 120.0, "Frames per second of the video output. 0: the model's own.", folded=True, step=0.5
                ),
            ],
            outputs=[
                io.Image.Output("images", display_name="images", tooltip="The frames, for image nodes such as Save Image."),
                io.Video.Output("video", display_name="video", tooltip="The clip, for Save Video."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @comfy_bridge.outside_inference_mode
    def execute(
        cls,
        model: T2VModel,
        prompt: str,
        seed: int,
        negative_prompt: str = "",
        steps: int = 0,
        guidance: float = 0.0,
        frames: int = 0,
        width: int = 0,
        height: int = 0,
        fps: float = 0.0,
    ) -> io.NodeOutput:
        progress = comfy_bridge.Progress(cls.hidden.unique_id)

        def on_step(step: SampleStep) -> None:
            progress.report(step.step, step.total, step.preview)

        with comfy_bridge.enough_memory("a clip was sampled", "lower frames, width or height, or load the model in fp8"):
            clips = model.sample(
                prompt,
                seeds=seed,
                negative_prompt=negative_prompt,
                num_frames=frames or None,
                height=height or None,
                width=width or None,
                num_inference_steps=steps or None,
                guidance_scale=None if guidance == 0 else guidance,
                on_step=on_step,
            )
        images = clips[0].permute(0, 2, 3, 1).contiguous()
        return io.NodeOutput(images, _video(images, fps if fps > 0 else model.family.defaults.fps))


def _video(images: Tensor, fps: float) -> InputImpl.VideoFromComponents:
    """A VIDEO of frames (F, H, W, 3)."""
    rate = Fraction(fps).limit_denominator(1000)
    return InputImpl.VideoFromComponents(Types.VideoComponents(images=images, frame_rate=rate))
