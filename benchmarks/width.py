"""How far the first steps of velocity erasing move what the attention gives, by width: `python -m benchmarks.width`.

Denoisers of the real width with random weights and two layers, on a tiny clip: by what share the erasers change what the
attentions give, after a few steps of the usual recipe, with the learning rate as it is and scaled by width. Architectures
differ at any width, so each is built narrow too: a row of the real width should look like its narrow one.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any

import diffusers as d
import torch
from torch import Tensor, nn

from benchmarks.fp8_gradients import difference
from t2vu_core.erasers import EraserSet
from t2vu_core.erasure import atomic_path
from t2vu_core.families.base import projections_of
from t2vu_core.families.eraser_site import EraserSite, edit_video, edit_whole
from t2vu_core.objectives.velocity import negative_guidance_target, unlearning_loss
from t2vu_core.recipes import VelocityRecipe
from t2vu_core.training.loop import StopEarly, step_generator, train
from t2vu_core.training.schedule import Schedule

RESULTS = Path(__file__).parent / "results"
TEXT_TOKENS = 8
SHOWN = (2, 5, 10, 20, 50)
"""Steps whose shares are in the table."""
EARLY = (2, 5, 10, 20)
"""Those of them that are compared with a narrow model."""


@dataclass(frozen=True)
class Shape:
    """A denoiser, the attentions with erasers, and a pass from latents, timestep and text (B, S, D) to a prediction."""

    build: Callable[[int], nn.Module]
    """For a number of heads."""
    heads: int
    attentions: Callable[[Any], list[nn.Module]]
    edit: Callable[..., Any]
    latents: tuple[int, ...]
    text_width: int
    predict: Callable[[Any, Tensor, Tensor, Tensor], Tensor]


def _cogvideox(heads: int) -> nn.Module:
    return d.CogVideoXTransformer3DModel(
        num_attention_heads=heads, num_layers=2, text_embed_dim=64, max_text_seq_length=TEXT_TOKENS,
        sample_width=6, sample_height=4, sample_frames=5,
    )  # fmt: skip


def _wan(heads: int) -> nn.Module:
    return d.WanTransformer3DModel(num_attention_heads=heads, num_layers=2, ffn_dim=4 * 128 * heads, text_dim=64)


def _hunyuan(heads: int) -> nn.Module:
    return d.HunyuanVideoTransformer3DModel(
        num_attention_heads=heads, num_layers=1, num_single_layers=2, num_refiner_layers=1, text_embed_dim=64,
        pooled_projection_dim=16, guidance_embeds=False,
    )  # fmt: skip


def _predict_hunyuan(model: Any, latents: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
    mask = torch.ones(text.shape[:2], dtype=torch.long)
    prediction: Tensor = model(latents, timestep, text, mask, text.new_zeros(len(text), 16), return_dict=False)[0]
    return prediction


def _predict(model: Any, latents: Tensor, timestep: Tensor, text: Tensor) -> Tensor:
    prediction: Tensor = model(
        hidden_states=latents, encoder_hidden_states=text, timestep=timestep, return_dict=False
    )[0]  # fmt: skip
    return prediction


def _blocks(name: str, attention: str) -> Callable[[Any], list[nn.Module]]:
    return lambda model: [getattr(block, attention) for block in getattr(model, name)]


_COGVIDEOX_2B = Shape(_cogvideox, 30, _blocks("transformer_blocks", "attn1"), edit_video, (2, 16, 4, 6), 64, _predict)
_WAN_1_3B = Shape(_wan, 12, _blocks("blocks", "attn2"), edit_whole, (16, 2, 4, 6), 64, _predict)
_HUNYUAN = Shape(_hunyuan, 24, _blocks("single_transformer_blocks", "attn"), edit_video, (16, 2, 4, 6), 64, _predict_hunyuan)
SHAPES = {
    "narrow CogVideoX": replace(_COGVIDEOX_2B, heads=3),
    "CogVideoX-2B": _COGVIDEOX_2B,
    "narrow Wan": replace(_WAN_1_3B, heads=2),
    "Wan 1.3B": _WAN_1_3B,
    "narrow HunyuanVideo": replace(_HUNYUAN, heads=2),
    "HunyuanVideo": _HUNYUAN,
}
NARROW = {"CogVideoX-2B": "narrow CogVideoX", "Wan 1.3B": "narrow Wan", "HunyuanVideo": "narrow HunyuanVideo"}
"""The shape that each shape of the real width is compared with."""


def shares(shape: Shape, recipe: VelocityRecipe, *, steps: int) -> tuple[int, list[float]]:
    """The width, and how far the erasers move what the attentions give, in each step before its update.

    A share is |with - without| / |without| of an attention's output for the concept's prompt, the mean over the attentions.
    """
    torch.manual_seed(0)
    model = shape.build(shape.heads).eval().requires_grad_(False)
    modules = shape.attentions(model)
    outputs = [EraserSite(f"{index}.attn", module, _width(module), shape.edit) for index, module in enumerate(modules)]
    sites = outputs if recipe.kind == "bottleneck" else projections_of(outputs)
    erasers = EraserSet.create(sites, rank=recipe.rank, seed=0)
    given, found = dict[str, Tensor](), list[float]()

    def loss_at(step: int) -> Tensor:
        draw = step_generator(0, step)
        latents, timestep = torch.randn(2, *shape.latents, generator=draw), torch.tensor([700, 300])
        text = torch.randn(2, TEXT_TOKENS, shape.text_width, generator=torch.Generator().manual_seed(1))
        with torch.no_grad(), erasers.switched_off():
            neutral, concept = (
                shape.predict(model, latents, timestep, text.flip(0)),
                shape.predict(model, latents, timestep, text),
            )
        without = dict(given)
        prediction = shape.predict(model, latents, timestep, text)
        found.append(sum(difference(given[name], without[name]) for name in given) / len(given))
        return unlearning_loss(prediction, negative_guidance_target(concept, neutral, recipe.eta))

    def on_step(done: int, _: float) -> None:
        if done == steps:
            raise StopEarly

    factors = erasers.step_factors() if recipe.width_scaling else {}
    schedule = Schedule(recipe.steps, recipe.learning_rate)
    # Hooks run in the order of registration: the outputs are looked at after the erasers changed them.
    with torch.enable_grad(), erasers.attached(sites), watched(outputs, given):
        train(dict(erasers.named_parameters()), loss_at, schedule, on_step=on_step, factors=factors)
    return _width(modules[0]), found


@contextlib.contextmanager
def watched(sites: list[EraserSite], given: dict[str, Tensor]) -> Iterator[None]:
    """Inside this context `given` has every attention's last output."""

    def hook(site: EraserSite) -> Callable[..., None]:
        def look(module: nn.Module, args: object, output: Any) -> None:
            def keep(hidden: Tensor) -> Tensor:
                given[site.name] = hidden.detach()
                return hidden

            site.edit(output, keep)

        return look

    handles = [site.module.register_forward_hook(hook(site)) for site in sites]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def _width(attention: Any) -> int:
    out = attention.to_q.out_features
    assert isinstance(out, int)
    return out


def table(rows: list[dict[str, Any]]) -> str:
    """The rows as Markdown."""
    shown = [step for step in SHOWN if all(len(row["shares"]) >= step for row in rows)]
    lines = [
        f"| erasers | denoiser | width | learning rate | {' | '.join(f'step {step}' for step in shown)} |",
        f"|{'---|' * (4 + len(shown))}",
    ]
    for row in rows:
        cells = " | ".join(f"{row['shares'][step - 1]:.1%}" for step in shown)
        lines.append(
            f"| {row['kind']} | {row['name']} | {row['width']} | {'by width' if row['scaled'] else 'as it is'} | {cells} |"
        )
    return "\n".join(lines)


def _save(rows: list[dict[str, Any]]) -> None:
    """Write the rows into width.json, in the place of older ones of the same shapes and kinds."""
    path = RESULTS / "width.json"
    before = json.loads(path.read_text(encoding="utf-8"))["rows"] if path.is_file() else []
    found = {(row["kind"], row["name"], row["scaled"]): row for row in [*before, *rows]}
    order = product(VelocityRecipe.choices("kind"), SHAPES, (False, True))
    with atomic_path(path) as temporary:
        kept = [found[each] for each in order if each in found]
        temporary.write_text(json.dumps({"rows": kept}, indent=1) + "\n", encoding="utf-8")


def document(board: Mapping[str, Any]) -> str:
    """The table with what it shows."""
    return (
        "By what share an attention's output for the concept's prompt is changed before each step: random weights, two layers. "
        "Architectures differ at any width, so a row of the real width is compared with the narrow row above it.\n\n"
        f"{table(board['rows'])}\n\nThe shares of the real width divided by those of the narrow row, smallest and largest over "
        f"steps {', '.join(map(str, EARLY))}; later the loss of these random weights levels off at a share of its own:\n\n"
        f"{against_narrow(board['rows'])}"
    )


def against_narrow(rows: list[dict[str, Any]], steps: tuple[int, ...] = EARLY) -> str:
    """What each shape of the real width moves, divided by what its narrow one does: the range over these steps, as Markdown."""
    found = {(row["kind"], row["name"], row["scaled"]): row["shares"] for row in rows}
    steps = tuple(step for step in steps if all(len(row["shares"]) >= step for row in rows))
    lines = ["| erasers | denoiser | as it is | by width |", "|---|---|---|---|"]
    for kind, (wide, narrow) in product(VelocityRecipe.choices("kind"), NARROW.items()):
        pairs = [(found.get((kind, wide, scaled)), found.get((kind, narrow, scaled))) for scaled in (False, True)]
        cells = [
            _span([own[step - 1] / other[step - 1] for step in steps]) if own and other and steps else "-"
            for own, other in pairs
        ]
        lines.append(f"| {kind} | {wide} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _span(ratios: list[float]) -> str:
    return f"{min(ratios):.1f} to {max(ratios):.1f}"


def main(arguments: list[str] | None = None) -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="width", description=__doc__)
    parser.add_argument(
        "--shapes", nargs="+", choices=SHAPES, default=list(SHAPES), metavar="S", help=f"of {', '.join(SHAPES)}"
    )
    kinds = VelocityRecipe.choices("kind")
    parser.add_argument("--kinds", nargs="+", choices=kinds, default=list(kinds), metavar="K", help=f"of {', '.join(kinds)}")
    parser.add_argument("--steps", type=int, default=50, help="training steps (default: %(default)s)")
    parser.add_argument("--save", action="store_true", help="also put these rows into benchmarks/results/width.json")
    options = parser.parse_args(arguments)
    rows = []
    for kind, name, scaled in product(options.kinds, options.shapes, (False, True)):
        width, found = shares(SHAPES[name], VelocityRecipe(kind=kind, width_scaling=scaled), steps=options.steps)
        shown = [round(share, 4) for share in found]
        rows.append({"kind": kind, "name": name, "width": width, "scaled": scaled, "shares": shown})
        print(table(rows[-1:]).splitlines()[-1], file=sys.stderr)
    if options.save:
        _save(rows)
    print(table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
