"""Few-Shot Unlearn Encoder."""

import torch
from comfy_api.v0_0_2 import io

from t2vu_core.errors import UserError
from t2vu_core.image_model import ImageModel, load_image_model
from t2vu_core.miniature.bundled import image_model_of
from t2vu_core.model import T2VModel
from t2vu_core.objectives.few_shot import OBJECTIVES
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.recipes import PRESETS, FewShotRecipe
from t2vu_core.training.few_shot.train import unlearn_encoder
from t2vu_core.training.progress import TrainProgress

from . import comfy_bridge
from .declare import (
    Model,
    UnlearnedEncoder,
    advanced,
    lines,
    number_input,
    preserve_prompts_input,
    preset_input,
    schema,
    seed_input,
    steps_input,
    synonyms_input,
    text_input,
)
from .pictures import loss_picture
from .training_view import TrainingView

AUTO, NONE = "auto", "none"


class FewShotUnlearn(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VUFewShotUnlearn",
            display_name="Few-Shot Unlearn Encoder",
            description=(
                "Makes the text encoder forget a concept, from a few images of it. The denoiser stays as it is and only "
                "gives the direction; the models that come in are not changed."
            ),
            search_aliases=["unlearn text encoder", "few-shot", "erase concept", "train"],
            inputs=[
                Model.Input("model", tooltip="The video model whose text encoder is to forget."),
                text_input(
                    "concept", "What is to go, in the words of a prompt. Several concepts: one a line.", placeholder="ghost"
                ),
                preset_input(PRESETS),
                seed_input("Seed of shots and training. The same seed gives the same encoder."),
                io.Image.Input(
                    "images", optional=True, tooltip="A few images of the concept. Not connected: they are generated."
                ),
                io.Combo.Input(
                    "image_model",
                    options=[AUTO, NONE, *comfy_bridge.image_model_folders()],
                    default=AUTO,
                    optional=True,
                    tooltip="A Stable Diffusion folder that shares the text encoder; training through it is quickest. none: "
                    "the video model itself, on single frames. auto: the bundled partner of a bundled model, else none.",
                ),
                number_input(io.Int, "shots", 1000, "Images to generate. 0: as many as the preset has."),
                synonyms_input(),
                preserve_prompts_input(),
                advanced(
                    io.Combo,
                    "objective",
                    options=list(OBJECTIVES),
                    default=OBJECTIVES[0],
                    optional=True,
                    tooltip="What the encoder is trained for. ascent is the published form: it has no bound and harms more.",
                ),
                steps_input("Training steps at the most."),
            ],
            outputs=[
                UnlearnedEncoder.Output(
                    "encoder", display_name="encoder", tooltip="For Apply Unlearned Encoder and Save Erasure."
                ),
                io.Image.Output("learned_from", display_name="shots", tooltip="The images that it learned from."),
                io.Image.Output("loss", display_name="loss", tooltip="The course of the training loss."),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    @comfy_bridge.outside_inference_mode
    def execute(
        cls,
        model: T2VModel,
        concept: str,
        preset: str,
        seed: int,
        images: torch.Tensor | None = None,
        image_model: str = AUTO,
        shots: int = 0,
        synonyms: str = "",
        preserve_prompts: str = "",
        objective: str = OBJECTIVES[0],
        steps: int = 0,
    ) -> io.NodeOutput:
        changes = {"seed": seed, "objective": objective}
        changes |= {name: value for name, value in (("shots", shots), ("steps", steps)) if value}
        recipe = FewShotRecipe.preset(preset, **changes)
        view = TrainingView(cls.hidden.unique_id)
        shown = torch.zeros(1, 1, 3, 8, 8)

        def on_progress(done: TrainProgress) -> None:
            nonlocal shown
            if done.stage == "shots" and done.preview is not None:
                shown = done.preview()
            view(done)

        comfy_bridge.make_room()
        encoder = unlearn_encoder(
            model,
            ConceptRequest(tuple(lines(concept)), tuple(lines(synonyms)), preserve_prompts=tuple(lines(preserve_prompts))),
            recipe,
            image_model=_image_model(image_model, model),
            images=None if images is None else images.clone().movedim(-1, 1)[:, :3],
            unfinished_folder=comfy_bridge.unfinished_trainings(),
            on_progress=on_progress,
        )
        trained = encoder.training
        view.progress.say(trained["warning"] or f"{max(0.0, trained['remaining']):.0%} of the concept is left to the denoiser")
        view.close()
        return io.NodeOutput(encoder, shown[:, 0].movedim(1, -1).contiguous(), loss_picture(encoder.training["losses"]))


def _image_model(choice: str, model: T2VModel) -> ImageModel | None:
    if choice == AUTO:
        choice = image_model_of(model.name) or NONE
    if choice == NONE:
        return None
    offered = comfy_bridge.image_model_folders()
    if choice not in offered:
        raise UserError(f"There is no image model {choice!r}; there are {', '.join([AUTO, NONE, *offered])}.")
    return load_image_model(offered[choice], dtype=model.family.dtype, device=model.family.device)
