"""Evaluate Erasure."""

import json

from comfy_api.v0_0_2 import io

from t2vu_core.evaluation import EvaluationProgress, EvaluationSettings, evaluate_to
from t2vu_core.evaluation.attacks import possible_attacks
from t2vu_core.evaluation.cases import parse_prompt_set
from t2vu_core.evaluation.detectors import open_detector
from t2vu_core.evaluation.report.wording import text_table
from t2vu_core.evaluation.settings import EVALUATION_PRESETS
from t2vu_core.model import T2VModel

from . import comfy_bridge
from .checks import check_concept, problem
from .declare import MODELS_OWN, Eraser, Model, advanced, number_input, preset_input, schema, text_input
from .words import said


class EvaluateErasure(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VUEvaluateErasure",
            display_name="Evaluate Erasure",
            description=(
                "Measures what is erased and what is kept: a detector judges clips of the same prompts and seeds with and "
                "without the erasers. Every rate has a confidence interval. Writes a report that opens in a browser."
            ),
            search_aliases=["measure", "score", "report", "benchmark"],
            inputs=_inputs(),
            outputs=[
                io.String.Output("verdict", display_name="verdict", tooltip="The verdict and the table as text."),
                io.String.Output("scores", display_name="scores", tooltip="All scores as JSON."),
                io.String.Output("report", display_name="report", tooltip="The HTML report, in output/evaluations."),
                Eraser.Output(
                    "eraser",
                    display_name="eraser",
                    tooltip="The model's last eraser with these scores, for Save Erasure.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
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
        detector: str = "miniature",
        prompts: str = "",
        attacks: bool = False,
        guidance: float = 0.0,
        never_knew: T2VModel | None = None,
    ) -> io.NodeOutput:
        progress = comfy_bridge.Progress(cls.hidden.unique_id)

        def on_progress(done: EvaluationProgress) -> None:
            left = "" if done.seconds_left is None else f", about {done.seconds_left:.0f} s left"
            in_all = "" if done.seconds_in_all is None else f", all stages at most about {done.seconds_in_all:.0f} s"
            progress.say(f"{done.stage} {done.step}/{done.total}{left}{in_all}")
            progress.report(done.step, done.total)

        folder = comfy_bridge.evaluation_folder(concept)
        comfy_bridge.make_room()
        evaluated = evaluate_to(
            folder,
            model,
            concept,
            shared=True,
            detector=open_detector(comfy_bridge.detector_in_folders(detector), model),
            settings=EvaluationSettings.of(preset, guidance_scale=None if guidance == 0 else guidance),
            prompts=parse_prompt_set(prompts, "The node's prompt list", concept) if prompts.strip() else None,
            attacks=possible_attacks(model) if attacks else (),
            never_knew=never_knew,
            on_progress=on_progress,
        )
        scores = evaluated.evaluation.scores
        verdict = text_table(scores)
        last = model.erasures[-1].erasure if model.erasures else None
        return io.NodeOutput(
            verdict, json.dumps(scores.to_json()), str(evaluated.report), evaluated.erasure or last, ui=said(verdict)
        )


def _inputs() -> list[io.Input]:
    """What is measured, by which detector and on which prompts."""
    return [
        Model.Input("model", tooltip="The model with its erasers or guard. It is compared with itself without them."),
        io.String.Input("concept", default="", tooltip="The erased concept, as the eraser names it."),
        preset_input(EVALUATION_PRESETS, "quick: a few minutes. full: many clips."),
        advanced(
            io.String,
            "detector",
            default="miniature",
            optional=True,
            tooltip="The detector: miniature; two judges; clip:NAME, a CLIP folder in models/clip_vision; nudenet; faces:NAME, "
            "photographs in a folder of the input folder.",
        ),
        text_input(
            "prompts",
            "Your own prompts with the concept, one per line. Empty: the bundled prompts for the concept.",
            optional=True,
            folded=True,
        ),
        advanced(
            io.Boolean,
            "attacks",
            default=False,
            optional=True,
            tooltip="Also try to bring the concept back: learned tokens, found words, further training, clips of it to start "
            "from, other samplers, steps, guidance, sizes and lengths.",
        ),
        number_input(
            io.Float,
            "guidance",
            100.0,
            "Guidance scale of all clips. Some guards need a value above 1.",
            zero=MODELS_OWN,
            folded=True,
            step=0.1,
        ),
        Model.Input(
            "never_knew",
            optional=True,
            tooltip="A model that was trained without the concept, measured for comparison.",
        ),
    ]
