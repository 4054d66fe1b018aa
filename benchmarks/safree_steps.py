"""Counts the steps that SAFREE guards on the development prompts: `python -m benchmarks.safree_steps`.

Nothing is sampled: the prompts are encoded, and the two mappings of the self-validating filter give the numbers of steps.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from statistics import median
from typing import Any, get_args

from benchmarks.development import development_prompts
from benchmarks.methods import names_of
from t2vu_core.evaluation import EvaluationSettings, WorldDetector
from t2vu_core.evaluation.cases import DEVELOPMENT_CONCEPTS, KEPT
from t2vu_core.guards import SAFREE
from t2vu_core.guards.prompt_adjustment import adjust_prompts
from t2vu_core.guards.safree import Mapping as Filter
from t2vu_core.model import load_model


def main(arguments: list[str] | None = None) -> int:
    """Print the counts in two sentences."""
    options = _parser().parse_args(arguments)
    print(document(counted(options.model, options.clips)))
    return 0


def counted(name: str, clips: int) -> dict[str, Any]:
    """The distance of every development prompt that asks for its concept, and its guarded steps by mapping."""
    model = load_model(name)
    detector, steps = WorldDetector.for_model(model), EvaluationSettings.of("quick").num_inference_steps
    assert steps is not None
    board: dict[str, Any] = {"model": model.name, "base_hash": model.base.hash, "steps": steps, "distances": []}
    guarded: dict[Filter, list[int]] = {mapping: [] for mapping in get_args(Filter)}
    for concept in DEVELOPMENT_CONCEPTS:
        cases = development_prompts(detector, concept).first(clips, 0).cases
        names = tuple(names_of(model, concept))
        prompts = [case.prompt for case in cases if case.register != KEPT]
        distances = adjust_prompts(model.family, prompts, names, alpha=SAFREE.alpha).distances
        board["distances"] += distances
        for mapping, own in guarded.items():
            own += SAFREE(names, mapping=mapping).guarded_steps(distances, steps).tolist()
    return {**board, "guarded": guarded}


def document(board: Mapping[str, Any]) -> str:
    """The counts in two sentences."""
    known = [each for each in board["distances"] if each is not None]
    prompts, steps = len(board["distances"]), board["steps"]
    authors, paper = (board["guarded"][mapping] for mapping in ("authors", "paper"))
    return (
        f"Of {prompts} development prompts, {len(known)} have a trigger word; the projection would move their tokens by "
        f"{min(known):.2f} to {max(known):.2f} (median {median(known):.2f}). With the mapping of the authors' code "
        f"{sum(own > 0 for own in authors)} prompts are guarded in any of {steps} steps, and with the paper's mapping "
        f"{sum(own > 0 for own in paper)} prompts, the most in {max(paper)} steps."
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="safree_steps", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", default="miniature", help="a bundled name or a diffusers folder")
    parser.add_argument("--clips", type=int, default=4, help="prompts per register and concept")
    return parser


if __name__ == "__main__":
    sys.exit(main())
