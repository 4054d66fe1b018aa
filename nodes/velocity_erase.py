"""Velocity Erase Fine-tune."""

from comfy_api.v0_0_2 import io

from t2vu_core import T2VModel, UserError, VelocityRecipe, erase_velocity
from t2vu_core.families.base import Family
from t2vu_core.memory.explain import memory_line
from t2vu_core.prompts.plan_text import plan_ahead, plan_text
from t2vu_core.recipes import LOW_MEMORY
from t2vu_core.training.velocity.own_schedule import schedule_line
from t2vu_core.training.velocity.train import velocity_plan

from . import comfy_bridge
from .checks import check_concept, problem
from .concept_inputs import concept_detail_inputs, concept_input, concept_prompts_input, plan_output, request_of
from .declare import (
    ALIASES,
    MODELS_OWN,
    PRESETS_OWN,
    Eraser,
    Model,
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
from .memory_choice import ANY, fitted, memory_input
from .neutral_look import check_input, check_output, look_at_neutral
from .pictures import loss_picture
from .training_view import TrainingView
from .words import said

NO_LANGUAGE_MODEL = "none"
LOWER = "switch low_memory on, lower num_frames or the size of the model's clips, or load the model in fp8"
AUTO = "auto"
PRESETS_ETA, ZERO = "preset", "zero"


class VelocityErase(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VUVelocityErase",
            display_name="Velocity Erase Fine-tune",
            description=(
                "Trains an eraser: small modules in the denoiser that move its predictions away from a concept while other "
                "prompts keep working. The input model does not change."
            ),
            search_aliases=["erase concept", "unlearn", "t2vunlearning", "train", *ALIASES],
            inputs=[
                *_concept_inputs(),
                steps_input("Training steps."),
                *_method_inputs(),
                *_memory_inputs(),
                *_target_inputs(),
                *concept_detail_inputs(),
                check_input(),
                memory_input(),
            ],
            outputs=[
                Eraser.Output("eraser", display_name="eraser", tooltip="For Apply Eraser and Save Erasure."),
                io.Image.Output("loss", display_name="loss", tooltip="The training loss as a picture."),
                io.Image.Output(
                    "mask_overlay",
                    display_name="mask_overlay",
                    tooltip="A clip of the concept by the unchanged model, bright where the concept's words change its "
                    "prediction.",
                ),
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
        kind: str = AUTO,
        localization: float = 0.0,
        num_frames: int = 0,
        low_memory: bool = False,
        eta: float = 0.0,
        learning_rate: float = 0.0,
        eta_zero: str = PRESETS_ETA,
        neutral_check: str = "auto",
        memory: str = ANY,
        **details: str,
    ) -> io.NodeOutput:
        writer = None if language_model == NO_LANGUAGE_MODEL else comfy_bridge.language_model_folder(language_model)
        request = request_of(concept, synonyms, preserve_prompts, concept_prompts, writer, **details)
        recipe = VelocityRecipe.preset(
            preset, seed=seed, num_frames=num_frames, **_kind(kind, model.family),
            **nonzero(steps=steps, learning_rate=learning_rate, localization_weight=localization),
            **_eta(eta, eta_zero), **_augmentation(augmentation), **(LOW_MEMORY if low_memory else {}),
        )  # fmt: skip
        view = TrainingView(cls.hidden.unique_id, keep="mask")
        comfy_bridge.make_room()
        recipe, chosen = fitted(memory, model.family, recipe, nonzero(num_frames=num_frames), low_memory=low_memory)
        planned = "\n".join(filter(None, (chosen, memory_line(model.family, recipe))))
        view.show_plan(planned, plan_ahead(velocity_plan(request, model.family, recipe).describe()))
        with comfy_bridge.enough_memory("an eraser was trained", LOWER):
            look = look_at_neutral(model, request, recipe, neutral_check, view)
            eraser = erase_velocity(
                model, look.request, recipe, unfinished_folder=comfy_bridge.unfinished_runs(), on_progress=view, show_mask=True
            )
        eraser = look.noted(eraser)
        words = view.close(eraser)
        assert view.kept is not None
        pictures = loss_picture(eraser.training["losses"]), view.kept[0].movedim(1, -1)
        plan = "\n\n".join(
            filter(None, (plan_text(eraser.prompts), schedule_line(model.family, recipe), look.message, planned))
        )
        return io.NodeOutput(
            eraser, *pictures, plan, look.picture, ui=said("\n".join(filter(None, (words, look.message)))) | look.shown(cls)
        )


def _eta(eta: float, eta_zero: str) -> dict[str, float]:
    """The recipe's eta, or nothing where the preset's is used. Raises UserError if `eta_zero` is unknown."""
    if eta_zero not in (PRESETS_ETA, ZERO):
        raise UserError(f"eta_zero must be {PRESETS_ETA} or {ZERO}, not {eta_zero!r}.")
    return {"eta": eta} if eta or eta_zero == ZERO else {}


def _kind(choice: str, family: Family) -> dict[str, str]:
    """The recipe's kind of eraser, or nothing where the preset's is used.

    A model of ComfyUI whose architecture is not in the table has places for LoRAs only.
    """
    if choice != AUTO:
        return {"kind": choice}
    return {"kind": "lora"} if family.found else {}


def _augmentation(choice: str) -> dict[str, str]:
    """The recipe's augmentation; nothing for the usual one, so that a preset may have its own."""
    return {} if choice == VelocityRecipe.augmentation else {"augmentation": choice}


def _concept_inputs() -> list[io.Input]:
    """The model, what to erase from it, and what to keep."""
    return [
        Model.Input("model", tooltip="The model to erase from. Erasers already on it stay on while this one is trained."),
        concept_input(),
        preset_input(
            VelocityRecipe.presets(),
            "How long and how carefully to train. thorough: also against learned tokens. paper: the published recipe.",
        ),
        seed_input("Seed of the training. The same seed gives the same eraser."),
        synonyms_input(),
        concept_prompts_input(", typed or from any node that outputs text. augmentation supplies the rest."),
        preserve_prompts_input(),
    ]


def _method_inputs() -> list[io.Input]:
    """How the prompts are made, and what is trained."""
    return [
        advanced(
            io.Combo,
            "augmentation",
            options=list(VelocityRecipe.choices("augmentation")),
            default="templates",
            optional=True,
            tooltip="How the concept's prompts are made. none: the names alone. templates: in the sentences of the model's "
            "own set. grammar: half of them as paraphrases of every length, up to the paragraphs that language models write.",
        ),
        advanced(
            io.Combo,
            "language_model",
            options=[NO_LANGUAGE_MODEL, *comfy_bridge.language_model_names()],
            default=NO_LANGUAGE_MODEL,
            optional=True,
            tooltip="A transformers folder in models/LLM that writes half of the prompts and names neighbours, "
            "if you give none. It is unloaded before the training.",
        ),
        advanced(
            io.Combo,
            "kind",
            options=[AUTO, *VelocityRecipe.choices("kind")],
            default=AUTO,
            optional=True,
            tooltip="What is trained. auto: lora, or bottleneck for the preset paper and with localization. lora: low-rank "
            "changes of the attention's projections, which Export LoRA writes for other programs. bottleneck: the paper's "
            "form, a small network after the attention that changes video tokens only.",
        ),
        number_input(
            io.Float,
            "localization",
            1000.0,
            "Weight of the loss that confines the eraser to where the concept is. Only for the kind bottleneck.",
            zero="off",
            folded=True,
            step=0.1,
        ),
    ]


def _memory_inputs() -> list[io.Input]:
    """What a large model needs to fit."""
    return [
        number_input(
            io.Int,
            "num_frames",
            1024,
            "Frames of the training clips. Fewer take less memory and time; the eraser works on clips of every length.",
            zero=MODELS_OWN,
            folded=True,
        ),
        advanced(
            io.Boolean,
            "low_memory",
            default=False,
            optional=True,
            tooltip="For a model that fills the GPU: three points in a step instead of twelve, recomputed activations, "
            "trajectories on disk, no rounds of learned tokens. Use more steps then.",
        ),
    ]


def _target_inputs() -> list[io.Input]:
    """How far the concept's prediction is pushed, and how fast."""
    return [
        number_input(
            io.Float,
            "eta",
            100.0,
            "How far past the same prompt without the concept the model is pushed. More erases more and harms more.",
            zero="as eta_zero says",
            folded=True,
            step=0.1,
        ),
        number_input(
            io.Float,
            "learning_rate",
            1.0,
            "Peak learning rate. Lower it if training diverges.",
            zero=PRESETS_OWN,
            folded=True,
            step=0.0001,
        ),
        advanced(
            io.Combo,
            "eta_zero",
            options=[PRESETS_ETA, ZERO],
            default=PRESETS_ETA,
            optional=True,
            tooltip="What eta 0 means. preset: the preset's eta. zero: the number 0, which moves the concept's prediction to "
            "that of the same prompt without the concept and not past it.",
        ),
    ]
