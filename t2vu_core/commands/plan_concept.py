"""`t2vu plan --concept C`: what the concept is taken for, the prompts of a training run, and what they become without it."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from t2vu_core.commands.concept_options import add_concept, request_of
from t2vu_core.commands.training import settings_of
from t2vu_core.errors import UserError, reading
from t2vu_core.families.base import Family
from t2vu_core.families.spelling import check_visible
from t2vu_core.memory.shapes import shaped_model
from t2vu_core.miniature.bundled import bundled_folder, bundled_names, check_built
from t2vu_core.model_folders import LOCAL
from t2vu_core.prompts.candidates import PlanSize
from t2vu_core.prompts.plan import plan_request
from t2vu_core.prompts.plan_text import plan_text
from t2vu_core.prompts.prompt_set import prompt_set_for
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.quiet import quiet_libraries
from t2vu_core.recipes import ClosedFormRecipe, FewShotRecipe, VelocityRecipe
from t2vu_core.training.few_shot.plan import encoder_plan
from t2vu_core.training.velocity.own_schedule import few_step_warning, schedule_line

log = logging.getLogger(__name__)

AnyRecipe = VelocityRecipe | FewShotRecipe | ClosedFormRecipe
RECIPES: Mapping[str, type[AnyRecipe]] = {
    "velocity": VelocityRecipe,
    "encoder": FewShotRecipe,
    "closed_form": ClosedFormRecipe,
}

MARK = "kind_reason"
FLAG = "--concept"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The concept, as the commands that train take it, and the method, which decides how many prompts it takes."""
    add_concept(parser, required=False)
    parser.add_argument(
        "--method", choices=tuple(RECIPES), default="velocity",
        help="whose prompts to plan: of velocity erasing, of `t2vu unlearn-encoder`, or of the closed form; settings of "
        "--method-option are those of its recipe (default: %(default)s)",
    )  # fmt: skip


def asked(options: argparse.Namespace) -> bool:
    """Whether the prompts of a concept are to be planned."""
    return bool(options.concept)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """The plan of the recipe's prompts, as training with that method makes it. No weights are loaded.

    Raises UserError for a folder without a model, and for a concept that the model's tokenizer cannot read.
    """
    recipe = RECIPES[options.method].preset(options.preset, **settings_of(options))
    folder, request = _folder(options.model), request_of(options)
    if folder is not None and (tokenizer := _tokenizer(folder)):
        check_visible(tokenizer, request.concepts)
    described = _described(folder, request, recipe)
    concepts = described.get("concepts", [described])
    first, *others = concepts.values() if isinstance(concepts, Mapping) else concepts
    velocity = isinstance(recipe, VelocityRecipe)
    schedule = _schedule(folder, recipe, described["warnings"]) if isinstance(recipe, VelocityRecipe) else None
    shared = {name: first[name] for name in ("kind_reason", "of", "replacement", "replacements", "neighbours")}
    return {
        "concept": request.title,
        "kind": first["concept_kind"],
        **({} if velocity else {"method": options.method}),
        **shared,
        "names": described.get("names", first["names"]),
        "pairs": described["pairs"],
        **({"concepts": [first, *others]} if others else {}),
        "preserve": len(described["preserve"]),
        "near": len(described["near"]),
        "schedule": schedule,
        "warnings": described["warnings"],
        "plan": "\n\n".join(filter(None, (plan_text(described), schedule))),
    }


def _described(folder: Path | None, request: ConceptRequest, recipe: AnyRecipe) -> dict[str, Any]:
    """The plan that training makes, as JSON values."""
    if isinstance(recipe, FewShotRecipe):
        return encoder_plan(folder, request, recipe).describe()
    counts = (
        (recipe.concept_trajectories, recipe.preserve_trajectories)
        if isinstance(recipe, VelocityRecipe)
        else (recipe.concept_prompts, recipe.preserve_prompts)
    )
    return plan_request(request, prompt_set_for(folder), PlanSize(*counts, recipe.seed, recipe.augmentation)).describe()


def show(result: dict[str, Any]) -> str:
    """The plan for people."""
    return str(result["plan"])


def _tokenizer(folder: Path) -> Any | None:
    """The tokenizer of the folder's model, without its encoder; None for one that cannot be read."""
    if not (folder / "tokenizer").is_dir():
        return None
    from transformers import AutoTokenizer

    try:
        with reading(f"The tokenizer in {folder} cannot be read"), quiet_libraries():
            return AutoTokenizer.from_pretrained(folder / "tokenizer", **LOCAL)
    except UserError as error:
        log.info("Whether the model can read the concept is not planned: %s", error)
        return None


def _schedule(folder: Path | None, recipe: VelocityRecipe, warnings: list[str]) -> str | None:
    """What the trajectories of the folder's model follow; None if that cannot be told. A doubt is added to `warnings`."""
    family = None if folder is None else _family(folder)
    if folder is None or family is None:
        return None
    if doubt := few_step_warning(folder.name, family, recipe):
        warnings.append(doubt)
    return schedule_line(family, recipe)


def _family(folder: Path) -> Family | None:
    """The folder's model without its weights; None for a model that cannot be read."""
    try:
        return shaped_model(folder, torch.bfloat16).family
    except UserError as error:
        log.info("The schedule is not planned: %s", error)
        return None


def _folder(model: str | None) -> Path | None:
    """The model's folder, for the prompts that it may bring with it."""
    if model is None:
        return None
    check_built(model)
    folder = bundled_folder(model) or Path(model)
    if not folder.is_dir():
        raise UserError(
            f"There is no model {model!r}: it is neither a folder nor one of the bundled models ({', '.join(bundled_names())})."
        )
    if not (folder / "model_index.json").is_file():
        raise UserError(f"{folder} is not a diffusers model: it has no model_index.json.")
    return folder
