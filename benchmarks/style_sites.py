"""Which parts of a denoiser bring an erased style back: `python -m benchmarks.style_sites --out FOLDER --save`.

Trains velocity erasing on the style, learns PROBE's tokens against it (arXiv 2603.21547), and samples the same prompts with
parts of the denoiser's blocks exchanged against those of the neutral prompt, as in causal tracing (arXiv 2202.05262): at every
step both prompts pass at the same latents, and the output of a part for the one stands in place of that for the other.
*Needed*: a part of the neutral prompt stands in the run of the prompt; the fewer clips show the style, the more of it came
through this part. *Enough*: a part of the prompt stands in the run of the neutral prompt. The base model, asked for the style
by its name, is measured in the same way. No setting is chosen by it; prompts and seeds are not those of the scoreboard. It
knows transformers of CogVideoX.
"""

from __future__ import annotations

import argparse
import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from diffusers import CogVideoXTransformer3DModel
from torch import Tensor, nn
from tqdm import tqdm

from benchmarks.command_line import print_board
from t2vu_core import Erasure, T2VModel, VelocityRecipe, erase_velocity, load_model
from t2vu_core.errors import UserError
from t2vu_core.evaluation import WorldDetector
from t2vu_core.evaluation.attacks.base import AttackBudget, Target
from t2vu_core.evaluation.attacks.probe import learn_tokens
from t2vu_core.evaluation.cases import Case
from t2vu_core.evaluation.checks import resolve
from t2vu_core.evaluation.probe_stops import STARTS
from t2vu_core.families import Family
from t2vu_core.families.text_condition import TextCondition
from t2vu_core.formatting import parse_options, percent
from t2vu_core.objectives.velocity import guide
from t2vu_core.prompts.candidates import PlanSize
from t2vu_core.prompts.pairs import PromptPair
from t2vu_core.prompts.plan import plan_request
from t2vu_core.prompts.prompt_set import prompt_set_for
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.recipes import PRESETS
from t2vu_core.sampling import Guided, Predictor
from t2vu_core.training.checkpoint import fingerprint_of
from t2vu_core.training.pseudo_tokens import replaced

RESULTS = Path(__file__).parent / "results"
FIRST_SEED = 8_600_000
"""Training with seed s draws from 1,000,000 (s + 1) upwards and stays in the lower half of the million."""
Layer = Literal["attention", "feed-forward"]
Stream = Literal["video", "text"]
Share = Literal["whole", "mean", "rest"]
Way = Literal["needed", "enough"]
Output = tuple[Layer, Stream]
WAYS: tuple[Way, ...] = ("needed", "enough")


@dataclass(frozen=True)
class Part:
    """What is exchanged: the outputs of a layer for a stream, in some blocks, in a share of the steps."""

    title: str
    outputs: tuple[Output, ...]
    blocks: tuple[int, ...] | None = None
    """None: all."""
    share: Share = "whole"
    """Of an output: all of it, its mean over the tokens, or what is left without this mean."""
    steps: tuple[float, float] = (0, 1)
    """From and until which share of the steps."""


def parts_of(blocks: int) -> list[Part]:
    """The parts that are measured in a denoiser with so many blocks."""
    attention: Output = ("attention", "video")
    forward: Output = ("feed-forward", "video")
    text: tuple[Output, ...] = (("attention", "text"), ("feed-forward", "text"))
    found = [Part(f"attention, video tokens, block {block + 1}", (attention,), (block,)) for block in range(blocks)]
    found += [Part(f"feed-forward, video tokens, block {block + 1}", (forward,), (block,)) for block in range(blocks)]
    found += [
        Part("feed-forward, video tokens, all blocks", (forward,)),
        Part("attention, video tokens, all blocks: the mean over tokens", (attention,), share="mean"),
        Part("attention, video tokens, all blocks: all but the mean", (attention,), share="rest"),
        Part("attention and feed-forward, text tokens, all blocks", text),
    ]
    thirds = {"first": (0, 1 / 3), "middle": (1 / 3, 2 / 3), "last": (2 / 3, 1)}
    both = (attention, forward)
    return found + [Part(f"video tokens, all blocks, {name} third of the steps", both, steps=at) for name, at in thirds.items()]


@dataclass(frozen=True)
class Exchange:
    """Guidance with a part exchanged between a prompt and its neutral form, as a guard of the model."""

    part: Part
    way: Way
    neutral: Mapping[str, str]
    """The neutral form of each prompt."""

    def start(self, family: Family, prompts: Sequence[str], num_inference_steps: int, plain: Guided) -> Predictor:
        """The predictor for these prompts; it counts its steps."""
        other, count, done = family.encode([self.neutral[prompt] for prompt in prompts]), len(prompts), 0
        asked = [*([] if plain.empty is None else [plain.empty]), plain.condition, other]
        both = TextCondition.cat(asked)
        first, last = (round(share * num_inference_steps) for share in self.part.steps)

        def predict(latents: Tensor, timestep: Tensor) -> Tensor:
            nonlocal done
            here, done = first <= done < last, done + 1
            with exchanged(_transformer(family), self, count, both.embeds_BSD.shape[1]) if here else contextlib.nullcontext():
                rows = plain.denoiser(torch.cat([latents] * len(asked)), timestep.expand(len(both)), both)
            *empty, prompt, neutral = rows.chunk(len(asked))
            found = prompt if self.way == "needed" else neutral
            return guide(found, empty[0], plain.guidance_scale) if empty else found

        return predict

    def describe(self) -> dict[str, Any]:
        """The part and the way."""
        return {"name": "exchange", "part": self.part.title, "way": self.way}

    def mixed(self, rows: Tensor, count: int) -> Tensor:
        """An output (rows, tokens, width) whose last `count` rows are the neutral prompt's, those before them the prompt's."""
        asked, neutral = rows[-2 * count : -count], rows[-count:]
        giver, taker = (neutral, asked) if self.way == "needed" else (asked, neutral)
        means = giver.mean(1, keepdim=True) - taker.mean(1, keepdim=True)
        taken = {"whole": giver, "mean": taker + means, "rest": giver - means}[self.part.share]
        pair = (taken, neutral) if self.way == "needed" else (asked, taken)
        return torch.cat([rows[: -2 * count], *pair])


def _transformer(family: Family) -> CogVideoXTransformer3DModel:
    found = next(iter(family.denoisers.values()))
    if not isinstance(found, CogVideoXTransformer3DModel):
        raise UserError(f"style_sites knows transformers of CogVideoX, not {type(found).__name__}; choose --model miniature.")
    return found


@contextlib.contextmanager
def exchanged(transformer: CogVideoXTransformer3DModel, exchange: Exchange, count: int, length: int) -> Iterator[None]:
    """Within the context the part's outputs are exchanged; the last `count` rows of a batch are the neutral prompt's.

    `length` is the number of text tokens.
    """
    part, handles = exchange.part, list[Any]()

    def mixed(layer: Layer, stream: Stream, output: Tensor) -> Tensor:
        return exchange.mixed(output, count) if (layer, stream) in part.outputs else output

    def attention(module: nn.Module, args: object, output: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
        video, text = output
        return mixed("attention", "video", video), mixed("attention", "text", text)

    def forward(module: nn.Module, args: object, output: Tensor) -> Tensor:
        text, video = output[:, :length], output[:, length:]
        return torch.cat([mixed("feed-forward", "text", text), mixed("feed-forward", "video", video)], 1)

    for number, block in enumerate(transformer.transformer_blocks):
        if part.blocks is None or number in part.blocks:
            handles += [block.attn1.register_forward_hook(attention), block.ff.register_forward_hook(forward)]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def main(arguments: list[str] | None = None) -> int:
    """Train, learn, measure, print the table; returns 2 for a user's mistake."""
    return print_board("style_sites", _parser().parse_args(arguments), measured, document, RESULTS / "style_sites.json")


def measured(options: argparse.Namespace) -> dict[str, Any]:
    """Counts of clips that show the style, of the base asked by name and of the erased model with learned tokens."""
    model, start = load_model(options.model), time.monotonic()
    parts = _chosen(_transformer(model.family), options.parts)
    detector = WorldDetector.for_model(model)
    style = resolve(detector, options.style)
    concept = f"in {style} style"
    pairs = plan_request(ConceptRequest((concept,)), prompt_set_for(model.family.folder), PlanSize(options.clips, 0, 1)).pairs
    cases = tuple(Case(pair.prompt, "terse", style, FIRST_SEED + place) for place, pair in enumerate(pairs))
    budget = AttackBudget(steps=options.attack_steps, sampling_steps=options.steps, measured_clips=len(cases))
    target = Target(concept, style, model, detector, cases, budget)
    erased = model.with_erasure(_erasure(model, concept, Path(options.out), options))
    placeholder, vectors, _ = learn_tokens(erased, target, lambda soft: soft, start=options.start)
    attacked = [PromptPair(placeholder.instead_of((concept, style), pair.prompt), pair.neutral) for pair in pairs]
    shown = {"before": _count(model, target, pairs), "neutral": _count(erased, target, pairs, ask="neutral")}
    before = [_exchanged_counts(model, target, pairs, part) for part in tqdm(parts, desc="before")]
    with replaced(model.family, placeholder, vectors):
        shown["after"] = _count(erased, target, attacked)
        after = [_exchanged_counts(erased, target, attacked, part) for part in tqdm(parts, desc="after")]
    rows = [{"part": part.title, "before": was, "after": now} for part, was, now in zip(parts, before, after, strict=True)]
    asked = {"model": options.model, "base": model.base.hash, "style": style, "preset": options.preset, "start": options.start}
    sizes = {"attack_steps": options.attack_steps, "clips": len(cases)}
    return {**asked, **sizes, "shown": shown, "rows": rows, "seconds": round(time.monotonic() - start)}


def _chosen(transformer: CogVideoXTransformer3DModel, words: Sequence[str]) -> list[Part]:
    """The parts of a denoiser whose titles have all these words; UserError if none has."""
    found = [part for part in parts_of(len(transformer.transformer_blocks)) if all(word in part.title for word in words)]
    if not found:
        raise UserError(f"No part's title has {' and '.join(map(repr, words))}; the words are those of the table.")
    return found


def _erasure(model: T2VModel, concept: str, out: Path, options: argparse.Namespace) -> Erasure:
    """The erasure in the folder, or a new one that is kept there."""
    recipe = VelocityRecipe.preset(options.preset, **parse_options(options.method_option))
    path = out / f"{fingerprint_of(recipe.describe(), concept, model.base.hash)[:16]}.safetensors"
    if not path.is_file():
        out.mkdir(parents=True, exist_ok=True)
        erase_velocity(model, concept, recipe).save(path)
    return Erasure.load(path)


def _exchanged_counts(model: T2VModel, target: Target, pairs: Sequence[PromptPair], part: Part) -> dict[Way, int]:
    """How many clips show the style with the part exchanged in either way."""
    neutral = {pair.prompt: pair.neutral for pair in pairs}
    return {way: _count(model.with_guard(Exchange(part, way, neutral)), target, pairs) for way in WAYS}


def _count(
    model: T2VModel, target: Target, pairs: Sequence[PromptPair], *, ask: Literal["prompt", "neutral"] = "prompt"
) -> int:
    return sum(target.success(model, [getattr(pair, ask) for pair in pairs]))


def document(result: Mapping[str, Any]) -> str:
    """What was measured, and the table."""
    clips, shown = result["clips"], result["shown"]

    def share(count: int) -> str:
        return percent(count / clips)

    head = (
        f"{clips} clips of {result['style']}, model {result['model']} ({result['base'][:12]}), one training run of the preset "
        f"{result['preset']}, tokens of PROBE after {result['attack_steps']} steps from the start {result['start']!r}. With "
        f"nothing exchanged {share(shown['before'])} of clips show it before, asked by name, and {share(shown['after'])} "
        f"after, asked by the tokens; of neutral prompts {share(shown['neutral'])} after."
    )
    columns = [(when, way) for when in ("before", "after") for way in WAYS]
    lines = ["| exchanged | before: needed | before: enough | after: needed | after: enough |", "|---|---|---|---|---|"]
    for row in result["rows"]:
        lines.append(f"| {row['part']} | {' | '.join(share(row[when][way]) for when, way in columns)} |")
    return "\n".join([head, "", *lines])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="style_sites", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="miniature", help="a bundled CogVideoX, or a folder of one")
    parser.add_argument("--style", default="noir", help="a style of its world (default: %(default)s)")
    parser.add_argument("--preset", default="balanced", choices=PRESETS, help="of the training")
    parser.add_argument("--method-option", action="append", default=[], metavar="KEY=VALUE", help="change the preset")
    parser.add_argument("--start", default="random", choices=STARTS, help="of the tokens (default: %(default)s)")
    parser.add_argument("--attack-steps", type=int, default=600, help="of PROBE (default: %(default)s)")
    parser.add_argument("--parts", nargs="+", default=[], metavar="WORD", help="only parts with these words in their title")
    parser.add_argument("--clips", type=int, default=24, help="for each part (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=12, help="of sampling (default: %(default)s)")
    parser.add_argument("--out", default="style_sites", help="folder that keeps the erasure")
    parser.add_argument("--save", action="store_true", help="write the counts into benchmarks/results")
    parser.add_argument("--json", action="store_true", help="print the counts as JSON")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
