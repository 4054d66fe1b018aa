"""The methods on the scoreboard: ours, the guards, and published ones, each as its authors describe it.

A method takes a base model that knows the concept and returns a model without it, and the time that took.
"""

from __future__ import annotations

import inspect
import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F

from benchmarks.candidates import CANDIDATES
from benchmarks.published import Adversary, Erased, leco, receler
from t2vu_core.erasers import EraserSet
from t2vu_core.erasure import Erasure
from t2vu_core.families.text_condition import TextCondition
from t2vu_core.guards import make_guard
from t2vu_core.model import T2VModel, load_model
from t2vu_core.objectives.velocity import negative_guidance_target
from t2vu_core.prompts.candidates import PlanSize
from t2vu_core.prompts.concept import understand
from t2vu_core.prompts.plan import plan_request
from t2vu_core.prompts.prompt_set import prompt_set_for
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.recipes import ClosedFormRecipe, FewShotRecipe, VelocityRecipe
from t2vu_core.sampling import noise
from t2vu_core.training.checkpoint import fingerprint_of
from t2vu_core.training.closed_form.train import erase_closed_form
from t2vu_core.training.few_shot.train import unlearn_encoder
from t2vu_core.training.velocity.rollout import Route, TrajectoryPrompts, sample_trajectories
from t2vu_core.training.velocity.train import erase_velocity

TUNED = Path(__file__).parent / "results" / "tuning.json"
"""What `benchmarks.tuning` chose."""


@dataclass(frozen=True)
class Method:
    """A row of the scoreboard. `trained` methods are repeated with several seeds."""

    title: str
    apply: Callable[[T2VModel, str, int], Erased]
    trained: bool = False
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Everything that decides the row apart from the model; the row is made again if it changes."""


def base(model: T2VModel, concept: str, seed: int) -> Erased:
    """The model as it is."""
    return Erased(model)


def guarded(name: str, *, names: str = "all", **settings: Any) -> Callable[[T2VModel, str, int], Erased]:
    """A guard against the concept's own name, or against all its `names`."""

    def apply(model: T2VModel, concept: str, seed: int) -> Erased:
        against = names_of(model, concept) if names == "all" else [concept]
        return Erased(model.with_guard(make_guard(name, against, **settings)))

    return apply


def trained_on(model: T2VModel) -> str:
    """Hash of all that training prompts are made from, for the keys of finished rows."""
    prompts = prompt_set_for(model.family.folder)
    plan = plan_request(ConceptRequest(("a ghost",)), prompts, PlanSize(24, 48, 0))
    return fingerprint_of(asdict(prompts), [asdict(pair) for pair in plan.pairs], plan.preserve)[:16]


def names_of(model: T2VModel, concept: str) -> list[str]:
    """What the concept is called, its own name first, as a training run reads it."""
    (understood,) = understand(ConceptRequest((concept,)), prompt_set_for(model.family.folder))
    return list(understood.names)


def neighbours_of(model: T2VModel, concept: str) -> tuple[str, ...]:
    """What lies near the concept, as a training run reads it: of a miniature's own words the others of its kind."""
    (understood,) = understand(ConceptRequest((concept,)), prompt_set_for(model.family.folder))
    return understood.neighbours


def velocity(preset: str, **changes: Any) -> Callable[[T2VModel, str, int], Erased]:
    """Our velocity erasing, with changes to the preset."""

    def apply(model: T2VModel, concept: str, seed: int) -> Erased:
        erasure = erase_velocity(model, concept, VelocityRecipe.preset(preset, seed=seed, **changes))
        return Erased(model.with_erasure(erasure), train_seconds=erasure.training["seconds"])

    return apply


def encoder(preset: str, **changes: Any) -> Callable[[T2VModel, str, int], Erased]:
    """Our few-shot unlearning of the text encoder, with the gradient from the video model itself."""

    def apply(model: T2VModel, concept: str, seed: int) -> Erased:
        erasure = unlearn_encoder(model, concept, FewShotRecipe.preset(preset, seed=seed, **changes))
        return Erased(model.with_erasure(erasure), train_seconds=erasure.training["seconds"])

    return apply


def closed_form(preset: str, **changes: Any) -> Callable[[T2VModel, str, int], Erased]:
    """Our closed form on keys and values of the text (UCE and RECE, or refusal directions)."""

    def apply(model: T2VModel, concept: str, seed: int) -> Erased:
        erasure = erase_closed_form(model, concept, ClosedFormRecipe.preset(preset, seed=seed, **changes))
        return Erased(model.with_erasure(erasure), train_seconds=erasure.training["seconds"])

    return apply


def never_knew(folders: Mapping[str, str]) -> Callable[[T2VModel, str, int], Erased]:
    """A model that was trained without the concept, from the folder of that concept: what a perfect erasure would be."""
    return lambda model, concept, seed: Erased(load_model(folders[concept], device=model.family.device))


def esd(model: T2VModel, concept: str, seed: int, *, steps: int = 200, rate: float = 2e-4, eta: float = 1.0) -> Erased:
    """ESD (Gandikota et al., arXiv 2303.07345), its attention variant, on the joint attention of a video transformer.

    Full fine-tuning of the attention's projections towards v(x, 0) - eta (v(x, c) - v(x, 0)), x_t from rollouts of
    the frozen model, no preservation. 200 iterations as in the authors' later code, whose learning rate is 5e-5 (their first
    code: 1000 at 1e-5); the default rate is four times that, which `benchmarks.tuning` chose.
    """
    start = time.monotonic()
    family = model.family
    size, generator = family.defaults.size, torch.Generator().manual_seed(seed)
    pairs = plan_request(ConceptRequest((concept,)), prompt_set_for(family.folder), PlanSize(16, 0, seed)).pairs
    condition, empty = family.encode([pair.prompt for pair in pairs]), family.encode([""])
    seeds = [1_000_000 * (seed + 1) + i for i in range(len(pairs))]
    points = sample_trajectories(family, TrajectoryPrompts(condition, empty, seeds), Route(size, 10, 3.0))
    student = load_model(family.folder or model.name, device=family.device)
    trained = [p for site in student.family.lora_sites() for p in site.module.parameters()]
    optimizer = torch.optim.Adam([parameter.requires_grad_() for parameter in trained], rate)
    for _ in range(steps):
        rows = torch.randint(0, len(points), (4,), generator=generator)
        target = negative_guidance_target(
            points.predictions["prompt"][rows].float(), points.predictions["empty"][rows].float(), eta
        )
        with family.mixed_precision():
            prediction = student.family.predict(
                points.latents[rows].float().to(family.device), points.timesteps[rows].to(family.device),
                condition[points.prompt[rows]], size,
            )  # fmt: skip
        _descend(optimizer, F.mse_loss(prediction, target.to(family.device)))
    for parameter in trained:
        parameter.requires_grad_(False)
    return Erased(student, train_seconds=time.monotonic() - start)


def public_port(model: T2VModel, concept: str, seed: int, *, steps: int = 500, eta: float = 7.0) -> Erased:
    """The public port of T2VUnlearning, with what its code does rather than what its paper says.

    Rank 128, Adam 1e-4, 500 iterations of one, eta 7; both layers of the erasers start at N(0, 1e-2); the scheduler
    never steps, so all timesteps see the same pure noise; no localisation, no preservation, the concept's bare name.
    """
    start = time.monotonic()
    family, generator = model.family, torch.Generator().manual_seed(seed)
    size, sites = family.defaults.size, family.eraser_sites()
    erasers = EraserSet.create(sites, rank=128, seed=seed)
    for parameter in erasers.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 1e-2 if parameter.dim() > 1 else parameter.data
    condition, empty = family.encode([concept]), family.encode([""])
    both = TextCondition.cat([empty, condition])
    optimizer = torch.optim.Adam(erasers.to(family.device).parameters(), 1e-4)
    for latents, timestep in _never_advancing(family, size, steps, seed):
        with torch.no_grad(), family.mixed_precision():
            v_empty, v_concept = family.predict(torch.cat([latents] * 2), timestep.expand(2), both, size).chunk(2)
        with erasers.attached(sites), family.mixed_precision():
            prediction = family.predict(latents, timestep.expand(1), condition, size)
        _descend(optimizer, F.mse_loss(prediction, negative_guidance_target(v_concept, v_empty, eta)))
    erasure = Erasure("eraser", (concept,), model.base, erasers.named_tensors(), "public port of T2VUnlearning")
    return Erased(model.with_erasure(erasure), train_seconds=time.monotonic() - start)


def _never_advancing(family: Any, size: Any, steps: int, seed: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """The port's rollout: new noise for every pass over the timesteps, without scheduler steps in between."""
    timesteps = family.make_scheduler(50, size).timesteps
    for step in range(steps):
        if step % len(timesteps) == 0:
            latents = noise(family, size, [1_000_000 * (seed + 1) + step])
        yield latents, timesteps[step % len(timesteps)]


def _descend(optimizer: torch.optim.Optimizer, loss: torch.Tensor) -> None:
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    optimizer.step()


PUBLISHED: dict[str, tuple[str, Callable[..., Erased]]] = {
    "public_port": ("T2VUnlearning, public port", public_port),
    "esd": ("ESD, attention", esd),
    "receler": ("Receler", receler),
    "leco": ("LECO", leco),
}
"""Title and method of each published baseline; its keyword-only arguments are its settings."""


def methods(preset: str = "balanced", steps: int | None = None) -> dict[str, Method]:
    """All methods by name. `preset` is for our recipes; `steps` cuts every training run short, to try things out."""
    fewer = {} if steps is None else {"steps": steps}
    return {
        "base": Method("base", base),
        **{name: _guard(name, title, tuned(name)) for name, title in GUARD_TITLES.items()},
        "paper": _ours("T2VUnlearning, as far as published", velocity, VelocityRecipe, "paper", fewer),
        **{name: _published(*method, {**tuned(name), **fewer}) for name, method in PUBLISHED.items()},
        "closed_form": _closed_form(CLOSED_FORMS["closed_form"], preset, tuned("closed_form")),
        "refusal": _closed_form(CLOSED_FORMS["refusal"], preset, {**REFUSAL, **tuned("refusal")}),
        "encoder": _ours("few-shot encoder (ours)", encoder, FewShotRecipe, preset, fewer),
        "velocity": _ours("velocity (ours)", velocity, VelocityRecipe, preset, fewer),
        THOROUGH: _ours("velocity, preset thorough (ours)", velocity, VelocityRecipe, "thorough", fewer),
        NEVER_KNEW: Method("never knew it (control)", never_knew({})),
    }


GUARD_TITLES = {"negative_prompt": "negative prompt", "safree": "SAFREE", "video_eraser": "VideoEraser"}
CLOSED_FORMS = {"closed_form": "closed form (UCE, RECE)", "refusal": "closed form (refusal direction)"}
REFUSAL = {"objective": "refusal"}
NEVER_KNEW = "never_knew"
THOROUGH = "velocity_thorough"
"""Only measured where rows are attacked at strength: that is what it is for."""


def method_with(name: str, settings: Mapping[str, Any]) -> Method:
    """A guard or baseline with other settings than the tuned ones, for `benchmarks.tuning`."""
    if name in GUARD_TITLES:
        return _guard(name, GUARD_TITLES[name], settings)
    if name in CLOSED_FORMS:
        return _closed_form(CLOSED_FORMS[name], "balanced", {**(REFUSAL if name == "refusal" else {}), **settings})
    return _published(*PUBLISHED[name], settings)


def tuned(name: str) -> dict[str, Any]:
    """The settings that `benchmarks.tuning` chose on development concepts; its first candidate where none was chosen."""
    chosen = json.loads(TUNED.read_text(encoding="utf-8"))["chosen"] if TUNED.is_file() else {}
    return dict(chosen.get(name, CANDIDATES.get(name, ({},))[0]))


def _guard(name: str, title: str, settings: Mapping[str, Any]) -> Method:
    guard = {key: value for key, value in settings.items() if key != "names"}
    named = {"names": settings.get("names", "all")}
    return Method(title, guarded(name, **settings), settings={**make_guard(name, ["it"], **guard).describe(), **named})


def _closed_form(title: str, preset: str, changes: Mapping[str, Any]) -> Method:
    settings = {"preset": preset, **ClosedFormRecipe.preset(preset, **changes).describe()}
    return Method(title, closed_form(preset, **changes), trained=True, settings=settings)


def _published(title: str, method: Callable[..., Erased], fewer: Mapping[str, Any]) -> Method:
    """A published method, with the settings in its signature."""
    parameters = inspect.signature(method).parameters.values()
    settings = {each.name: each.default for each in parameters if each.kind is each.KEYWORD_ONLY}
    plain = {name: asdict(each) if isinstance(each, Adversary) else each for name, each in {**settings, **fewer}.items()}
    return Method(title, partial(method, **fewer), trained=True, settings=plain)


def _ours(title: str, method: Callable[..., Any], recipe: Any, preset: str, fewer: Mapping[str, Any]) -> Method:
    settings = {"preset": preset, **facts_of(recipe.preset(preset, **fewer).describe())}
    return Method(title, method(preset, **fewer), trained=True, settings=settings)


def facts_of(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a recipe of ours that a row is valid for.

    Without rounds of learned tokens it trains as it did before there were any.
    """
    without = () if settings.get("probe_rounds") else ("probe_rounds", "probe_steps")
    return {name: value for name, value in settings.items() if name not in without}


METHODS = methods()
