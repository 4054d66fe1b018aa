"""Velocity Erase Fine-tune."""

from comfy_api.v0_0_2 import io
from torch import Tensor

from t2vu_core.model import T2VModel
from t2vu_core.recipes import AUGMENTATIONS, KINDS, PRESETS, VelocityRecipe
from t2vu_core.training.progress import TrainProgress
from t2vu_core.training.velocity import erase_velocity

from . import comfy_bridge
from .declare import MAX_SEED, Eraser, Model, advanced, lines, schema
from .pictures import loss_picture

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
                io.String.Input(
                    "concept",
                    default="",
                    placeholder="ghost",
                    tooltip="What is to go, in the words of a prompt: a character, an object, or a style.",
                ),
                io.Combo.Input(
                    "preset", options=list(PRESETS), default="quick", tooltip="How long and how carefully to train."
                ),
                io.Int.Input(
                    "seed",
                    default=0,
                    min=0,
                    max=MAX_SEED,
                    control_after_generate=False,
                    tooltip="Seed of the training. The same seed gives the same eraser.",
                ),
                io.String.Input(
                    "synonyms",
                    multiline=True,
                    default="",
                    optional=True,
                    tooltip="Other words for the concept, one a line. They are erased too.",
                ),
                io.String.Input(
                    "concept_prompts",
                    multiline=True,
                    default="",
                    optional=True,
                    tooltip="Whole prompts that show the concept, one a line; any node that gives text can write them, "
                    "such as one with a language model. What is missing is made as augmentation says.",
                ),
                io.String.Input(
                    "preserve_prompts",
                    multiline=True,
                    default="",
                    optional=True,
                    tooltip="Prompts that must keep working, one a line. Empty: the model's own set.",
                ),
                advanced(
                    io.Int,
                    "steps",
                    default=0,
                    min=0,
                    max=100_000,
                    optional=True,
                    tooltip="Training steps. 0: as many as the preset has.",
                ),
                io.Combo.Input(
                    "augmentation",
                    options=list(AUGMENTATIONS),
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
                    options=list(KINDS),
                    default="bottleneck",
                    optional=True,
                    tooltip="What is trained. bottleneck: the paper's, behind the attention. lora: one that Export LoRA can "
                    "write for other programs.",
                ),
                advanced(
                    io.Float,
                    "localization",
                    default=0.0,
                    min=0.0,
                    max=1000.0,
                    step=0.1,
                    optional=True,
                    tooltip="How strongly the eraser is kept to where the concept is, as mask_overlay shows it. "
                    "0: not at all. For the kind bottleneck.",
                ),
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
    ) -> io.NodeOutput:
        changes = {"seed": seed, "augmentation": augmentation, "kind": kind, "localization_weight": localization}
        changes |= {"steps": steps} if steps else {}
        writer = None if language_model == NO_LANGUAGE_MODEL else comfy_bridge.language_model_folder(language_model)
        recipe = VelocityRecipe.preset(preset, **changes)
        progress = comfy_bridge.Progress(cls.hidden.unique_id)
        losses: list[float] = []
        masked: list[Tensor] = []

        def on_progress(done: TrainProgress) -> None:
            if done.loss is not None:
                losses.append(done.loss)
            progress.say(_say(done))
            progress.report(done.step, done.total, done.preview)

        comfy_bridge.make_room()
        eraser = erase_velocity(
            model,
            concept,
            recipe,
            synonyms=lines(synonyms),
            concept_prompts=lines(concept_prompts),
            preserve_prompts=lines(preserve_prompts),
            language_model=writer,
            on_progress=on_progress,
            on_mask=masked.append,
        )
        return io.NodeOutput(eraser, loss_picture(losses), masked[0].movedim(1, -1))


def _say(done: TrainProgress) -> str:
    loss = "" if done.loss is None else f", loss {done.loss:.4f}"
    return f"{done.stage} {done.step}/{done.total}{loss}"
