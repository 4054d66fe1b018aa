"""Checks of an evaluation's input, made before the first clip."""

from __future__ import annotations

from collections.abc import Sequence

from t2vu_core.errors import UserError
from t2vu_core.evaluation.attacks import check_attacks, possible_attacks, terse_cases
from t2vu_core.evaluation.cases import PromptSet, built_in, with_clean
from t2vu_core.evaluation.detectors import Detector, world_of_model
from t2vu_core.model import T2VModel
from t2vu_core.training.run import check_precision


def resolve(detector: Detector, concept: str) -> str:
    """The detector's own name of a concept. Raises UserError, with the concepts it knows, if it has none."""
    name = detector.resolve(concept) if concept.strip() else None
    if name is None:
        known = f"it knows {', '.join(detector.known())}" if detector.known() else "describe it in words"
        raise UserError(f"The detector ({detector.name}) does not know the concept {concept!r}; {known}.")
    return name


def check_erasures(model: T2VModel, detector: Detector, name: str, concept: str) -> None:
    """Raises UserError if the model has erasures and none of them is for the concept."""
    erased = [text for applied in model.erasures for text in applied.erasure.concepts]
    if erased and name not in [detector.resolve(text) for text in erased] and concept not in erased:
        raise UserError(f"The erasure is for {', '.join(erased)}, not for {concept!r}; ask for what it erases.")


def check_attackable(attacks: Sequence[str], model: T2VModel, prompts: PromptSet) -> None:
    """Raises UserError if the attacks cannot run on this model with these prompts."""
    check_attacks(attacks)
    if attacks and model.guard is not None:
        raise UserError("Attacks are on a model's weights; measure the guard without them.")
    if attacks:
        impossible = sorted(set(attacks) - set(possible_attacks(model)))
        if impossible:
            raise UserError(f"The attack {impossible[0]} cannot run: the model makes clips of its own size and length only.")
        check_precision(model.family)
        terse_cases(prompts)


def prompts_for(prompts: PromptSet | None, model: T2VModel, name: str, detector: Detector) -> PromptSet:
    """The given prompts, or those that ship for the concept, without prompts to keep for anything else that is erased.

    Raises UserError if no prompts ship for the concept.
    """
    prompts = prompts or built_in(name, world_of_model(model).prompt_sets)
    if prompts is None:
        raise UserError(f"No prompt set for {name!r} ships with the package; name a file with prompts for it.")
    if detector.clean_prompts is not None:
        prompts = with_clean(prompts, detector.clean_prompts)
    return prompts.apart_from(name, _also_erased(model, detector, name), detector.resolve)


def _also_erased(model: T2VModel, detector: Detector, name: str) -> frozenset[str]:
    """Other concepts that erasures or the guard remove, by the detector's own names; unknown ones are skipped."""
    told = [text for applied in model.erasures if applied.strength for text in applied.erasure.concepts]
    told += [] if model.guard is None else model.guard.describe().get("concepts", ())
    return frozenset(found for text in told if (found := detector.resolve(text))) - {name}
