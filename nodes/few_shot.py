"""Few-Shot Unlearn Encoder."""

from typing import Any

import torch
from comfy_api.v0_0_2 import io

from t2vu_core import FewShotRecipe, ImageModel, T2VModel, UserError, load_image_model, unlearn_encoder
from t2vu_core.miniature.bundled import image_model_of
from t2vu_core.prompts.plan_text import plan_ahead, plan_text
from t2vu_core.training.few_shot.plan import plan_encoder

from . import comfy_bridge
from .checks import check_concept, problem
from .concept_inputs import concept_detail_inputs, concept_input, plan_output, request_of
from .declare import (
    ALIASES,
    PRESETS_OWN,
    ImageModelSocket,
    Model,
    UnlearnedEncoder,
    advanced,
    nonzero,
    number_input,
    preserve_prompts_input,
    preset_input,
    schema,
    seed_input,
    steps_input,
    synonyms_input,
)
from .neutral_look import check_input, check_output, look_at_neutral
from .pictures import loss_picture
from .training_view import TrainingView
from .words import said

AUTO, NONE = "auto", "none"
OBJECTIVES = FewShotRecipe.choices("objective")
NO_SHOTS = torch.zeros(1, 1, 3, 8, 8)

LOWER = "use a smaller model of the same text encoder, fewer shots, or another image_model"


class FewShotUnlearn(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VUFewShotUnlearn",
            display_name="Few-Shot Unlearn Encoder",
            description=(
                "Trains the text encoder, from a few images of a concept, until it no longer represents the concept, while "
                "other prompts keep working. The denoiser is frozen and only supplies the gradient. The input models do not "
                "change."
            ),
            search_aliases=["unlearn text encoder", "few-shot", "erase concept", "train", *ALIASES],
            inputs=[
                *_concept_inputs(),
                *_shot_inputs(),
                synonyms_input(),
                preserve_prompts_input(),
                *_method_inputs(),
                *concept_detail_inputs(),
                _through_input(),
                check_input(),
            ],
            outputs=[
                UnlearnedEncoder.Output(
                    "encoder",
                    display_name="encoder",
                    tooltip="For Apply Unlearned Encoder, Apply Unlearned Encoder (CLIP) and Save Erasure.",
                ),
                io.Image.Output("learned_from", display_name="shots", tooltip="The images it was trained on."),
                io.Image.Output("loss", display_name="loss", tooltip="The training loss as a picture."),
                plan_output(),
                check_output(),
            ],
            hidden=[io.Hidden.unique_id],
        )

    @classmethod
    def validate_inputs(cls, concept: str | None = None) -> bool | str:
        return problem(check_concept, concept)

    @classmethod
    @comfy_bridge.outside_inference_mode
    def execute(
        cls,
        concept: str,
        preset: str,
        seed: int,
        model: T2VModel | None = None,
        images: torch.Tensor | None = None,
        image_model: str = AUTO,
        shots: int = 0,
        synonyms: str = "",
        preserve_prompts: str = "",
        objective: str = OBJECTIVES[0],
        steps: int = 0,
        through: Any = None,
        neutral_check: str = AUTO,
        **details: str,
    ) -> io.NodeOutput:
        recipe = FewShotRecipe.preset(preset, seed=seed, objective=objective, **nonzero(shots=shots, steps=steps))
        request = request_of(concept, synonyms, preserve_prompts, **details)
        view = TrainingView(cls.hidden.unique_id, keep="shots")
        comfy_bridge.make_room()
        image = _image_model(image_model, model) if through is None else through
        source = model or image
        assert source is not None, "a missing model is refused where the image model is chosen"
        view.show_plan(plan_ahead(plan_encoder(source, request, recipe).describe()))
        with comfy_bridge.enough_memory("a text encoder was trained", LOWER):
            look = look_at_neutral(source, request, recipe, neutral_check, view, through=None if model is None else image)
            encoder = unlearn_encoder(
                model,
                look.request,
                recipe,
                image_model=image,
                images=None if images is None else images.clone().movedim(-1, 1)[:, :3],
                unfinished_folder=comfy_bridge.unfinished_runs(),
                on_progress=view,
            )
        encoder, trained = look.noted(encoder), encoder.training
        words = f"{view.close(encoder)}\nremaining effect of the concept: {max(0.0, trained['remaining']):.0%}"
        shown = (NO_SHOTS if view.kept is None else view.kept)[:, 0].movedim(1, -1).contiguous()
        plan = "\n\n".join(filter(None, (plan_text(encoder.prompts), look.message)))
        told = said("\n".join(filter(None, (words, look.message)))) | look.shown(cls)
        return io.NodeOutput(encoder, shown, loss_picture(trained["losses"]), plan, look.picture, ui=told)


def _image_model(choice: str, model: T2VModel | None) -> ImageModel | None:
    """The chosen image model; None to train through the video model. Raises UserError without a model."""
    if model is None:
        raise UserError("Connect a model, or an image model from Image Model from ComfyUI to through.")
    if choice == AUTO:
        choice = image_model_of(model.name) or NONE
    if choice == NONE:
        return None
    folder = comfy_bridge.image_model_folder(choice)
    return load_image_model(folder, dtype=model.family.dtype, device=model.family.device)


def _concept_inputs() -> list[io.Input]:
    """The model, and what its text encoder unlearns."""
    return [
        Model.Input(
            "model",
            optional=True,
            tooltip="The video model whose text encoder is trained. Erasures already on it stay on. Not needed with through.",
        ),
        concept_input(),
        preset_input(FewShotRecipe.presets()),
        seed_input("Seed of shots and training. The same seed gives the same encoder."),
    ]


def _shot_inputs() -> list[io.Input]:
    """The images of the concept, and the model they are trained through."""
    return [
        io.Image.Input("images", optional=True, tooltip="A few images of the concept. Not connected: they are generated."),
        io.Combo.Input(
            "image_model",
            options=[AUTO, NONE, *comfy_bridge.image_model_names()],
            default=AUTO,
            optional=True,
            tooltip="A Stable Diffusion folder that shares the text encoder; training through it is fastest. none: the video "
            "model itself, on single frames. auto: the bundled partner of a bundled model, else none.",
        ),
        number_input(io.Int, "shots", 1000, "Number of images to generate.", zero=PRESETS_OWN, folded=True),
    ]


def _through_input() -> io.Input:
    return ImageModelSocket.Input(
        "through",
        optional=True,
        tooltip="From Image Model from ComfyUI: the image model to train through, instead of image_model. Without a model, "
        "its own text encoder is trained.",
    )


def _method_inputs() -> list[io.Input]:
    """What the encoder is trained for, and how long."""
    return [
        advanced(
            io.Combo,
            "objective",
            options=list(OBJECTIVES),
            default=OBJECTIVES[0],
            optional=True,
            tooltip="What the encoder is trained for. negative_guidance: moves the concept's prediction to that of the prompt "
            "without it, and past it. anchor: the same without going past it. ascent_trust_region: the published loss with a "
            "limit. ascent: the published loss, unbounded; stop it early.",
        ),
        steps_input("Maximum number of training steps."),
    ]
