"""Velocity Erase Fine-tune."""

from comfy_api.v0_0_2 import io
from torch import Tensor

from t2vu_core.model import T2VModel
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.recipes import LOW_MEMORY, PRESETS, VelocityRecipe
from t2vu_core.training.progress import TrainProgress
from t2vu_core.training.velocity.train import erase_velocity

from . import comfy_bridge
from .declare import (
    Eraser,
    Model,
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

NO_LANGUAGE_MODEL = "none"


class VelocityErase(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VUVelocityErase",
            display_name="Velocity Erase Fine-tune",
            description=(
                "Trains an eraser: a small addition to the denoiser that turns its predictions away from a concept. "
                "The model itself is not changed."
            ),
            search_aliases=["erase concept", "unlearn", "t2vunlearning", "train"],
            inputs=[
                Model.Input("model", tooltip="The model to erase from."),
                text_input(
                    "concept",
                    "What is to go, in the words of a prompt: a character, an object, a style. Several concepts: one a line.",
                    placeholder="ghost",
                ),
                preset_input(PRESETS),
                seed_input("Seed of the training. The same seed gives the same eraser."),
                synonyms_input(),
                text_input(
                    "concept_prompts",
                    "Whole prompts that show the concept, one a line; any node that gives text can write them, "
                    "such as one with a language model. What is missing is made as augmentation says.",
                    optional=True,
                ),
                preserve_prompts_input(),
                steps_input("Training steps."),
                *_method_inputs(),
                *_memory_inputs(),
                *_target_inputs(),
            ],
            outputs=[
                Eraser.Output("eraser", display_name="eraser", tooltip="For Apply Eraser and Save Erasure."),
                io.Image.Output("loss", display_name="loss", tooltip="The course of the training loss."),
                io.Image.Output(
                    "mask_overlay",
                    display_name="mask_overlay",
                    tooltip="A clip of the concept, bright where the model was found to show it.",
                ),
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
        synonyms: str = "",
        concept_prompts: str = "",
        preserve_prompts: str = "",
        steps: int = 0,
        augmentation: str = "templates",
        language_model: str = NO_LANGUAGE_MODEL,
        kind: str = "bottleneck",
        localization: float = 0.0,
        num_frames: int = 0,
        low_memory: bool = False,
        eta: float = 0.0,
        learning_rate: float = 0.0,
    ) -> io.NodeOutput:
        changes = {"seed": seed, "augmentation": augmentation, "kind": kind, "localization_weight": localization}
        given = {"steps": steps, "eta": eta, "learning_rate": learning_rate}
        changes |= {name: value for name, value in given.items() if value}
        changes |= {"num_frames": num_frames, **(LOW_MEMORY if low_memory else {})}
        writer = None if language_model == NO_LANGUAGE_MODEL else comfy_bridge.language_model_folder(language_model)
        recipe = VelocityRecipe.preset(preset, **changes)
        view = TrainingView(cls.hidden.unique_id)
        masked: list[Tensor] = []

        def on_progress(done: TrainProgress) -> None:
            if done.stage == "mask" and done.preview is not None:
                masked.append(done.preview()[0])
            view(done)

        comfy_bridge.make_room()
        eraser = erase_velocity(
            model,
            ConceptRequest(
                tuple(lines(concept)),
                synonyms=tuple(lines(synonyms)),
                concept_prompts=tuple(lines(concept_prompts)),
                preserve_prompts=tuple(lines(preserve_prompts)),
                language_model=writer,
            ),
            recipe,
            unfinished_folder=comfy_bridge.unfinished_trainings(),
            on_progress=on_progress,
            show_mask=True,
        )
        if warning := eraser.training["warning"]:
            view.progress.say(warning)
        view.close()
        return io.NodeOutput(eraser, loss_picture(eraser.training["losses"]), masked[0].movedim(1, -1))


def _method_inputs() -> list[io.Input]:
    """How the concept is said, and what is trained."""
    return [
        io.Combo.Input(
            "augmentation",
            options=list(VelocityRecipe.choices("augmentation")),
            default="templates",
            optional=True,
            tooltip="In how many ways the concept is said. none: its names alone. templates: in many sentences. "
            "grammar: also in the long paragraphs that language models make of a prompt.",
        ),
        advanced(
            io.Combo,
            "language_model",
            options=[NO_LANGUAGE_MODEL, *comfy_bridge.language_models()],
            default=NO_LANGUAGE_MODEL,
            optional=True,
            tooltip="A transformers folder in models/LLM that writes half of the prompts. It is freed afterwards.",
        ),
        advanced(
            io.Combo,
            "kind",
            options=list(VelocityRecipe.choices("kind")),
            default="bottleneck",
            optional=True,
            tooltip="What is trained. bottleneck: the paper's, behind the attention. lora: one that Export LoRA can "
            "write for other programs.",
        ),
        number_input(
            io.Float,
            "localization",
            1000.0,
            "How strongly the eraser is kept to where the concept is, as mask_overlay shows it. "
            "0: not at all. For the kind bottleneck.",
            folded=True,
            step=0.1,
        ),
    ]


def _target_inputs() -> list[io.Input]:
    """How far the concept is pushed, and how fast."""
    return [
        number_input(
            io.Float,
            "eta",
            100.0,
            "How far past the same prompt without the concept the model is pushed. More erases more, and harms more. "
            "0: as the preset has it.",
            folded=True,
            step=0.5,
        ),
        number_input(
            io.Float,
            "learning_rate",
            1.0,
            "How fast to train. Lower it where a training breaks down. 0: as the preset has it.",
            folded=True,
            step=0.0001,
        ),
    ]


def _memory_inputs() -> list[io.Input]:
    """What makes room for a large model."""
    return [
        number_input(
            io.Int,
            "num_frames",
            1024,
            "Frames of the clips that it is trained on: fewer take less memory and time. 0: as many as the model makes.",
            folded=True,
        ),
        advanced(
            io.Boolean,
            "low_memory",
            default=False,
            optional=True,
            tooltip="For a model that fills the GPU: three points in a step instead of twelve, activations computed again "
            "instead of kept, trajectories on disk. Give it more steps then.",
        ),
    ]
