"""Closed-Form Erase."""

from comfy_api.v0_0_2 import io

from t2vu_core import ClosedFormRecipe, T2VModel, erase_closed_form
from t2vu_core.prompts.plan_text import plan_text
from t2vu_core.training.progress import TrainProgress

from . import comfy_bridge
from .checks import check_concept, problem
from .concept_inputs import concept_detail_inputs, concept_input, concept_prompts_input, plan_output, request_of
from .declare import (
    ALIASES,
    Eraser,
    Model,
    advanced,
    preserve_prompts_input,
    schema,
    seed_input,
    synonyms_input,
)
from .neutral_look import AUTO, check_input, check_output, look_at_neutral
from .words import said

LOWER = "load the model in fp8"


class ClosedFormErase(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VUClosedFormErase",
            display_name="Closed-Form Erase",
            description=(
                "Makes an eraser in seconds, without training steps: keys and values of the text are changed so that the "
                "concept's words read as what stands there without it. Weaker than Velocity Erase Fine-tune. Export LoRA can "
                "write the result. The input model does not change."
            ),
            search_aliases=["uce", "rece", "fast erase", "erase concept", "unlearn", *ALIASES],
            inputs=[*_concept_inputs(), *_strength_inputs(), *concept_detail_inputs(), _objective_input(), check_input()],
            outputs=[
                Eraser.Output("eraser", display_name="eraser", tooltip="For Apply Eraser, Save Erasure and Export LoRA."),
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
        seed: int,
        synonyms: str = "",
        concept_prompts: str = "",
        preserve_prompts: str = "",
        eta: float = ClosedFormRecipe.eta,
        preserve_weight: float = ClosedFormRecipe.preserve_weight,
        rounds: int = ClosedFormRecipe.rounds,
        objective: str = ClosedFormRecipe.objective,
        neutral_check: str = AUTO,
        **details: str,
    ) -> io.NodeOutput:
        request = request_of(concept, synonyms, preserve_prompts, concept_prompts, **details)
        recipe = ClosedFormRecipe.preset(
            "balanced", seed=seed, eta=eta, preserve_weight=preserve_weight, rounds=rounds, objective=objective
        )
        progress = comfy_bridge.Progress(cls.hidden.unique_id)

        def told(done: TrainProgress) -> None:
            progress.report(done.step, done.total, done.preview)

        comfy_bridge.make_room()
        with comfy_bridge.enough_memory("an eraser was computed", LOWER):
            look = look_at_neutral(model, request, recipe, neutral_check, told)
            eraser = look.noted(erase_closed_form(model, look.request, recipe, on_progress=told))
        found = eraser.training["warning"], look.message
        words = "\n".join(filter(None, (f"Computed in {eraser.training['seconds']} s.", *found)))
        plan = "\n\n".join(filter(None, (plan_text(eraser.prompts), look.message)))
        return io.NodeOutput(eraser, plan, look.picture, ui=said(words) | look.shown(cls))


def _concept_inputs() -> list[io.Input]:
    """The model, what to erase from it, and what to keep."""
    return [
        Model.Input("model", tooltip="The model to erase from. Erasers already on it stay on."),
        concept_input(),
        seed_input("Seed of the prompts that are used. The same seed gives the same eraser."),
        synonyms_input(),
        concept_prompts_input(". The rest come from the model's own set."),
        preserve_prompts_input(),
    ]


def _objective_input() -> io.Input:
    return advanced(
        io.Combo,
        "objective",
        options=list(ClosedFormRecipe.choices("objective")),
        default=ClosedFormRecipe.objective,
        optional=True,
        tooltip="uce: the concept's words become the neutral ones. refusal: the directions that tell the two apart are "
        "removed, whatever the prompt.",
    )


def _strength_inputs() -> list[io.Input]:
    """How far the words are moved, and what is held."""
    return [
        advanced(
            io.Float,
            "eta",
            default=ClosedFormRecipe.eta,
            min=0.0,
            max=100.0,
            step=0.5,
            optional=True,
            tooltip="How far past the neutral words the concept's are pushed. More erases more and harms more.",
        ),
        advanced(
            io.Float,
            "preserve_weight",
            default=ClosedFormRecipe.preserve_weight,
            min=0.0,
            max=1000.0,
            step=0.05,
            optional=True,
            tooltip="Weight of what must stay. Less erases more and harms more.",
        ),
        advanced(
            io.Int,
            "rounds",
            default=ClosedFormRecipe.rounds,
            min=0,
            max=100,
            optional=True,
            tooltip="Rounds of RECE: words that would bring the concept back are changed as well.",
        ),
    ]
