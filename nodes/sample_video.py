"""Sample Video."""

from typing import Any

from comfy_api.v0_0_2 import io

from t2vu_core import T2VModel
from t2vu_core.model import SampleStep

from . import comfy_bridge
from .checks import check_size, problem
from .declare import MODELS_OWN, Model, advanced, number_input, schema, seed_input, text_input
from .videos import as_images, video_of


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
                advanced(io.String, "negative_prompt", default="", optional=True, tooltip="What the clip should not show."),
                _number(io.Int, "steps", 1000, "Denoising steps."),
                _number(io.Float, "guidance", 100.0, "Guidance scale. 1: no guidance.", step=0.1),
                _number(io.Int, "frames", 1024, "Number of frames."),
                _number(io.Int, "width", 4096, "Width in pixels."),
                _number(io.Int, "height", 4096, "Height in pixels."),
                _number(io.Float, "fps", 120.0, "Frames per second of the video output.", folded=True, step=0.5),
            ],
            outputs=[
                io.Image.Output("images", display_name="images", tooltip="The frames, for image nodes such as Save Image."),
                io.Video.Output("video", display_name="video", tooltip="The clip, for Save Video."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, width: int | None = 0, height: int | None = 0, frames: int | None = 0) -> bool | str:
        return problem(check_size, width, height, frames)

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
        progress.show(lambda: clips)
        images = as_images([clips[0]])
        return io.NodeOutput(images, video_of(images, fps if fps > 0 else model.family.defaults.fps))


def _number(kind: Any, name: str, most: float, tooltip: str, **options: Any) -> io.Input:
    return number_input(kind, name, most, tooltip, zero=MODELS_OWN, **options)
