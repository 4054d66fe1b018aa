"""Compare Before and After."""

from dataclasses import dataclass

from comfy_api.v0_0_2 import io
from torch import Tensor

from t2vu_core import Erasure, T2VModel
from t2vu_core.model import SampleStep

from . import comfy_bridge
from .checks import check_prompts, problem
from .declare import MODELS_OWN, Eraser, Model, UnlearnedEncoder, advanced, lines, number_input, schema, seed_input, text_input
from .rows import Row, captioned, player_files
from .videos import as_images, video_of

KINDS = {"eraser": "eraser", "unlearned_encoder": "unlearned encoder"}


class CompareBeforeAndAfter(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return schema(
            node_id="T2VUCompare",
            display_name="Compare Before and After",
            description=(
                "Samples every prompt twice from the same seed, before and after an erasure, and plays both next to each other "
                "or under a slider. Enter prompts with the concept and prompts without it: the first should change, the others "
                "should not."
            ),
            search_aliases=["compare", "before after", "preview", "test eraser", "side by side", "slider"],
            inputs=[
                Model.Input("before", tooltip="The model to compare with, for example from Load T2V Model."),
                io.MultiType.Input(
                    "after",
                    types=[Model, Eraser, UnlearnedEncoder],
                    tooltip="An eraser or an unlearned encoder, which is applied to the model before; or another model.",
                ),
                io.MultiType.Input(
                    "after_2",
                    types=[Model, Eraser, UnlearnedEncoder],
                    optional=True,
                    tooltip="Another erasure or model, for a third clip of every prompt.",
                ),
                text_input("prompts", "What the clips show, one prompt per line: with the concept, and without it.",
                           example="a ghost in a forest"),
                seed_input("Seed of the starting noise of every clip, before and after.", changes=True),
                advanced(
                    io.Float, "strength", default=1.0, min=0.0, max=10.0, step=0.05, optional=True,
                    tooltip="Strength of the erasures. 1: as trained. Models that are connected stay as they are.",
                ),
                number_input(io.Int, "steps", 1000, "Denoising steps.", zero=MODELS_OWN, folded=True),
                number_input(
                    io.Float, "guidance", 100.0, "Guidance scale. 1: no guidance.", zero=MODELS_OWN, folded=True, step=0.1
                ),
            ],
            outputs=[
                io.Video.Output("video", display_name="video", tooltip="All pairs with their prompts, for Save Video."),
                io.Image.Output("images", display_name="images", tooltip="The frames of that clip."),
                io.Image.Output("clips_before", display_name="clips_before", tooltip="The frames before, prompt after prompt."),
                io.Image.Output("clips_after", display_name="clips_after", tooltip="The frames after, in the same order."),
            ],
            hidden=[io.Hidden.unique_id],
            is_output_node=True,
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, prompts: str | None = None) -> bool | str:
        return problem(check_prompts, prompts)

    @classmethod
    @comfy_bridge.outside_inference_mode
    def execute(
        cls,
        before: T2VModel,
        after: T2VModel | Erasure,
        prompts: str,
        seed: int,
        strength: float = 1.0,
        steps: int = 0,
        guidance: float = 0.0,
        after_2: T2VModel | Erasure | None = None,
    ) -> io.NodeOutput:
        check_prompts(prompts)
        wanted = lines(prompts)
        models = {"before": before} | _changed(before, after, after_2, strength)
        sampler = _Sampler(comfy_bridge.Progress(cls.hidden.unique_id), len(models) * len(wanted), seed, steps, guidance)
        clips = [{title: sampler.clip(model, text, title) for title, model in models.items()} for text in wanted]
        rows, fps = [Row.of(text, made) for text, made in zip(wanted, clips, strict=True)], before.family.defaults.fps
        frames, columns = captioned(rows), [as_images(list(column)) for column in zip(*map(_clips, rows), strict=True)]
        return io.NodeOutput(video_of(frames, fps), frames, columns[0], columns[1], ui={"pairs": player_files(rows, fps)})


def _clips(row: Row) -> list[Tensor]:
    return list(row.clips.values())


def _changed(
    before: T2VModel, after: T2VModel | Erasure, after_2: T2VModel | Erasure | None, strength: float
) -> dict[str, T2VModel]:
    """The models to compare with, by the titles of their clips."""
    if after_2 is None:
        return {"after": _with(before, after, strength)}
    titles = [KINDS[given.kind] if isinstance(given, Erasure) else "model" for given in (after, after_2)]
    if titles[0] == titles[1]:
        titles = ["after", "after 2"]
    return {title: _with(before, given, strength) for title, given in zip(titles, (after, after_2), strict=True)}


def _with(before: T2VModel, given: T2VModel | Erasure, strength: float) -> T2VModel:
    return before.with_erasure(given, strength) if isinstance(given, Erasure) else given


@dataclass
class _Sampler:
    """Samples one clip after another and shows how far it is in all of them."""

    progress: comfy_bridge.Progress
    count: int
    seed: int
    steps: int
    guidance: float
    done: int = 0

    def clip(self, model: T2VModel, prompt: str, when: str) -> Tensor:
        """The clip of one prompt, (F, 3, H, W) in [0, 1]."""
        self.progress.say(f"clip {self.done + 1} of {self.count}, {when}: {prompt}")
        with comfy_bridge.enough_memory("a clip was sampled", "load the model in fp8, or a smaller one"):
            clips = model.sample(
                prompt,
                seeds=self.seed,
                num_inference_steps=self.steps or None,
                guidance_scale=None if self.guidance == 0 else self.guidance,
                on_step=self._on_step,
            )
        self.done += 1
        return clips[0]

    def _on_step(self, step: SampleStep) -> None:
        # No preview: it would stay under the player.
        self.progress.report(self.done * step.total + step.step, self.count * step.total)
