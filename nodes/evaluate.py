"""Evaluate Erasure."""

import json

from comfy_api.v0_0_2 import io

from t2vu_core.evaluation import EvaluationProgress, EvaluationSettings, evaluate
from t2vu_core.evaluation.attacks import ATTACKS
from t2vu_core.evaluation.cases import parse_prompt_set
from t2vu_core.evaluation.detectors import open_detector
from t2vu_core.evaluation.report.page import write_report
from t2vu_core.evaluation.report.wording import text_table
from t2vu_core.evaluation.settings import PRESETS
from t2vu_core.model import T2VModel

from . import comfy_bridge
from .declare import Eraser, Model, advanced, number_input, preset_input, schema, text_input


class EvaluateErasure(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VUEvaluateErasure",
            display_name="Evaluate Erasure",
            description=(
                "Measures what is erased and what is kept: the same prompts and seeds with and without the erasers, judged "
                "by a detector, with the uncertainty of every rate. Writes a report that opens in a browser."
            ),
            search_aliases=["measure", "score", "report", "benchmark"],
            inputs=[
                Model.Input("model", tooltip="The model with erasers, or a guard, on it. It is compared with itself without."),
                io.String.Input(
                    "concept", default="", placeholder="ghost", tooltip="What is to be gone, as the eraser calls it."
                ),
                preset_input(PRESETS, "quick: some minutes. full: many clips."),
                io.String.Input(
                    "detector",
                    default="miniature",
                    optional=True,
                    tooltip="Who judges: miniature; clip:FOLDER with a CLIP model; nudenet; faces:FOLDER with photographs.",
                ),
                text_input(
                    "prompts",
                    "Your own prompts with the concept, one a line. Empty: the set that ships for the concept.",
                    optional=True,
                ),
                advanced(
                    io.Boolean,
                    "attacks",
                    default=False,
                    optional=True,
                    tooltip="Also try to bring the concept back: with learned tokens, found words and more training.",
                ),
                number_input(
                    io.Float,
                    "guidance",
                    100.0,
                    "Guidance of all clips. 0: the model's own. Some guards need a value above 1.",
                    folded=True,
                    step=0.1,
                ),
                Model.Input(
                    "never_knew",
                    optional=True,
                    tooltip="A model that was trained without the concept, measured beside it: as if never learned.",
                ),
            ],
            outputs=[
                io.String.Output("verdict", display_name="verdict", tooltip="The verdict and the table, to read."),
                io.String.Output("scores", display_name="scores", tooltip="All scores as JSON."),
                io.String.Output("report", display_name="report", tooltip="The HTML report, in output/evaluations."),
                Eraser.Output(
                    "eraser",
                    display_name="eraser",
                    tooltip="The model's last eraser with these scores in it, for Save Erasure.",
                ),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )

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
            in_all = "" if done.seconds_in_all is None else f", all of it at most about {done.seconds_in_all:.0f} s"
            progress.say(f"{done.stage} {done.step}/{done.total}{left}{in_all}")
            progress.report(done.step, done.total)

        out = comfy_bridge.evaluation_folder(concept)
        comfy_bridge.make_room()
        evaluation = evaluate(
            model,
            concept,
            detector=open_detector(detector),
            settings=EvaluationSettings.of(preset, guidance_scale=None if guidance == 0 else guidance),
            prompts=parse_prompt_set(prompts.encode(), "The node's prompt list", concept) if prompts.strip() else None,
            attacks=ATTACKS if attacks else (),
            never_knew=never_knew,
            out=out,
            on_progress=on_progress,
        )
        erasers = [applied.erasure for applied in model.erasures]
        # Both methods side by side are two evaluations of one concept: each keeps its page.
        page = out / f"report-{evaluation.scores['settings']['after_hash'][:8]}.html"
        report = write_report(evaluation, page, erasures=erasers, fps=model.family.defaults.fps)
        verdict = text_table(evaluation.scores)
        progress.say(verdict.splitlines()[0])
        last = model.erasures[-1].erasure if model.erasures else None
        measured = model.sole_erasure.with_scores(evaluation.scores) if model.sole_erasure else last
        return io.NodeOutput(verdict, json.dumps(evaluation.scores), str(report), measured)
