"""The settings of training runs: frozen, validated, with presets chosen by measurement."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, Self, cast, get_args, get_origin, get_type_hints

from t2vu_core.errors import UserError
from t2vu_core.families.base import MaskLayers
from t2vu_core.objectives.few_shot import Objective

Preset = Literal["quick", "balanced", "thorough", "paper"]
Augmentation = Literal["none", "templates", "grammar"]
EraserType = Literal["bottleneck", "lora"]
MaskSource = Literal["prediction", "attention"]
TrajectoryStore = Literal["memory", "disk"]
TimestepSampling = Literal["uniform", "early", "middle", "late"]
Trained = Literal["auto", "mlp", "mlp+last-attention", "all", "lora"]
Reference = Literal["neutral", "empty"]
ClosedFormObjective = Literal["uce", "refusal"]


@dataclass(frozen=True)
class PresetSettings:
    """What a preset changes in each recipe."""

    velocity: Mapping[str, Any]
    few_shot: Mapping[str, Any] | None
    """None: the preset is for velocity erasing only."""
    closed_form: Mapping[str, Any] | None = field(default_factory=dict)


PRESETS: Mapping[Preset, PresetSettings] = {
    "quick": PresetSettings(
        velocity={"steps": 200, "eta": 1.0, "concept_trajectories": 24},
        few_shot={"steps": 60, "shots": 4},
    ),
    "balanced": PresetSettings(velocity={}, few_shot={}),
    "thorough": PresetSettings(
        velocity={"steps": 500, "concept_trajectories": 96, "preserve_trajectories": 96, "probe_rounds": 8},
        few_shot={"steps": 400, "shots": 16, "prompts": 128},
    ),
    # T2VUnlearning (arXiv 2505.17550) as its authors describe it: one point per step, no other loss than theirs.
    "paper": PresetSettings(
        velocity={
            "kind": "bottleneck",
            "rank": 128,
            "learning_rate": 1e-4,
            "eta": 7.0,
            "steps": 500,
            "reference": "empty",
            "concept_batch": 1,
            "localization_weight": 1.0,
            "mask_source": "attention",
            "preserve_weight": 0.0,
            "augmentation": "grammar",
            "neutral_share": 0.0,
            "mixed_share": 0.0,
            "width_scaling": False,
        },
        few_shot=None,
        closed_form=None,
    ),
}
LOW_MEMORY: Mapping[str, Any] = {
    "concept_batch": 1, "preserve_batch": 2, "gradient_checkpointing": True, "trajectory_cache": "disk", "probe_rounds": 0,
}  # fmt: skip
"""What a velocity recipe changes for a model that fills its device: three points per step instead of twelve, and no rounds
of learned tokens, which need the text encoder next to it."""


def _option(default: Any, meaning: str, low: float | None = None, high: float | None = None) -> Any:
    """A setting. Its annotation gives its type, and the choices if it is a `Literal`."""
    return field(default=default, metadata={"help": meaning, "low": low, "high": high})


@dataclass(frozen=True, kw_only=True)
class _Recipe:
    """The base of both recipes: checks settings by type and bounds, builds from a preset, describes itself."""

    preset_key: ClassVar[str]
    """The recipe's field in `PresetSettings`."""

    def __post_init__(self) -> None:
        types = _types(type(self))
        for option in dataclasses.fields(self):
            _check(option, types[option.name], getattr(self, option.name))

    @classmethod
    def preset(cls, name: str, /, **changes: Any) -> Self:
        """A named preset with some settings changed. Raises UserError for an unknown preset or setting."""
        if name not in cls.presets():
            raise UserError(f"There is no preset {name!r}; choose one of {', '.join(cls.presets())}.")
        known = {option.name for option in dataclasses.fields(cls)}
        unknown = sorted(set(changes) - known)
        if unknown:
            raise UserError(f"There is no setting {unknown[0]!r}; the settings are {', '.join(sorted(known))}.")
        settings: Mapping[str, Any] = getattr(PRESETS[cast(Preset, name)], cls.preset_key)
        return cls(**{**settings, **changes})

    @classmethod
    def presets(cls) -> tuple[str, ...]:
        """The names of this recipe's presets."""
        return tuple(name for name, preset in PRESETS.items() if getattr(preset, cls.preset_key) is not None)

    @classmethod
    def choices(cls, option: str) -> tuple[str, ...]:
        """The choices of a setting; empty for a number or a flag."""
        return _choices(_types(cls)[option])

    def describe(self) -> dict[str, Any]:
        """The settings as JSON values."""
        return dataclasses.asdict(self)


@dataclass(frozen=True, kw_only=True)
class VelocityRecipe(_Recipe):
    """Settings of velocity erasing (T2VUnlearning, arXiv 2505.17550, with extensions)."""

    preset_key = "velocity"

    # Learned tokens (PROBE) bring a concept back past bottlenecks, which change video tokens only, and less past a LoRA.
    kind: EraserType = _option("lora", "what is trained: a LoRA, which other programs can load, or the paper's bottleneck")
    rank: int = _option(32, "rank of the LoRA, or width of the bottleneck", 1, 4096)
    steps: int = _option(400, "training steps", 1, 100_000)
    learning_rate: float = _option(2e-3, "peak learning rate of Adam", 1e-7, 1.0)
    width_scaling: bool = _option(
        True, "lower the learning rate of what reads a model's width in proportion, where it is wider than the bundled model's"
    )
    eta: float = _option(0.3, "how far past the neutral prediction the concept's is pushed (Eq. 7 of the paper)", 0.0, 100.0)
    reference: Reference = _option(
        "neutral", "what replaces the concept: the same prompt without it, or the empty prompt as in the paper"
    )
    preserve_weight: float = _option(2.0, "weight of the preservation loss (beta in the paper)", 0.0, 1000.0)
    localization_weight: float = _option(0.0, "weight of the localisation loss (alpha in the paper)", 0.0, 1000.0)
    mask_source: MaskSource = _option(
        "prediction", "what locates the concept: where its words change the prediction, or where video tokens attend to them"
    )
    mask_threshold: float = _option(0.5, "share of a frame's maximum above which a place is in the mask; 0: soft", 0.0, 1.0)
    mask_layers: MaskLayers = _option("all", "layers whose attention makes the mask")
    concept_batch: int = _option(4, "trajectory points with the concept per step", 1, 1024)
    preserve_batch: int = _option(8, "trajectory points without the concept per step", 0, 1024)
    concept_trajectories: int = _option(80, "trajectories sampled for prompts with the concept", 1, 10_000)
    preserve_trajectories: int = _option(64, "trajectories sampled for preserve prompts", 0, 10_000)
    trajectory_steps: int = _option(10, "denoising steps of a trajectory", 1, 1000)
    num_frames: int = _option(0, "frames of the training clips; 0 is the model's own", 0, 1024)
    height: int = _option(0, "height of the training clips in pixels; 0 is the model's own", 0, 8192)
    width: int = _option(0, "width of the training clips in pixels; 0 is the model's own", 0, 8192)
    guidance_scale: float = _option(3.0, "guidance scale of the trajectories; 0 is the model's own", 0.0, 100.0)
    trajectory_cache: TrajectoryStore = _option(
        "memory", "where trajectories are kept until the training ends; on disk, in --log if it is given"
    )
    timestep_sampling: TimestepSampling = _option("uniform", "which timesteps points are drawn from")
    guided_objective: bool = _option(False, "apply the erasing loss to the prediction after guidance")
    two_subject_trajectories: int = _option(0, "trajectories with the concept and a subject that must stay", 0, 10_000)
    neutral_share: float = _option(
        0.5, "share of the concept's trajectories that follow the neutral prompt, as an erased model does", 0.0, 1.0
    )
    mixed_share: float = _option(
        0.5, "share of the points with the concept whose tokens are mixed with those of the neutral prompt", 0.0, 1.0
    )
    clip_start_share: float = _option(
        0.0, "share of the points with the neutral prompt that lead from the concept's clips to its replacement", 0.0, 1.0
    )
    refresh_every: int = _option(0, "steps between resampling the concept's trajectories with the eraser; 0: never", 0, 100_000)
    adversarial_steps: int = _option(0, "steps that train soft tokens to bring the concept back before it is erased", 0, 1000)
    adversarial_radius: float = _option(0.3, "how far soft tokens may move, as a share of an embedding's norm", 1e-3, 100.0)
    probe_rounds: int = _option(
        0, "times that tokens are learned which bring the concept back past the eraser, and are then erased too", 0, 100
    )
    probe_steps: int = _option(100, "steps of learning tokens in each of these rounds", 1, 10_000)
    gradient_checkpointing: bool = _option(False, "recompute activations instead of keeping them")
    augmentation: Augmentation = _option("templates", "how the concept's prompts are made")
    seed: int = _option(0, "seed of prompts, noise, batches and weights", 0, 2**63 - 1)

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.kind == "lora" and self.localization_weight > 0:
            raise UserError(
                "localization_weight needs kind=bottleneck: a LoRA changes queries, keys and values, so a mask cannot confine "
                "its output to a place in the clip. Set localization_weight=0 for a LoRA."
            )

    @classmethod
    def preset(cls, name: str, /, **changes: Any) -> Self:
        """As in every recipe; a `localization_weight` without a `kind` takes a bottleneck, which alone can be localised."""
        localised = bool(changes.get("localization_weight")) and "kind" not in changes
        return super().preset(name, **changes, **({"kind": "bottleneck"} if localised else {}))

    @property
    def preserves(self) -> bool:
        """Whether points without the concept are trained on; with no weight they would only cost time."""
        return self.preserve_weight > 0 and self.preserve_batch > 0


@dataclass(frozen=True, kw_only=True)
class FewShotRecipe(_Recipe):
    """Settings of few-shot encoder unlearning (arXiv 2407.14209 and 2405.07288, with extensions)."""

    preset_key = "few_shot"

    objective: Objective = _option("negative_guidance", "what the encoder is trained for")
    trained: Trained = _option("auto", "which layers of the text encoder are trained")
    reference: Reference = _option("neutral", "what replaces the concept: the same prompt without it, or the empty prompt")
    shots: int = _option(8, "images to generate if none are given", 1, 10_000)
    shot_steps: int = _option(0, "denoising steps of a generated shot; 0 is the model's own", 0, 1000)
    num_frames: int = _option(1, "frames of a shot if the video model itself is trained through", 1, 1024)
    height: int = _option(0, "height of a shot in pixels; 0 is the model's own", 0, 8192)
    width: int = _option(0, "width of a shot in pixels; 0 is the model's own", 0, 8192)
    prompts: int = _option(64, "prompts that name the concept, each with its neutral form", 1, 10_000)
    augmentation: Augmentation = _option("templates", "how the concept's prompts are made")
    preserve_prompts: int = _option(96, "prompts that must keep working", 0, 10_000)
    steps: int = _option(120, "maximum number of training steps", 1, 100_000)
    batch: int = _option(4, "noisy shots per step", 1, 1024)
    preserve_batch: int = _option(8, "preserve prompts per step", 0, 1024)
    learning_rate: float = _option(
        1e-2, "peak change of a weight per step, as a share of its layer's root mean square", 1e-7, 1.0
    )
    eta: float = _option(1.0, "how far past the neutral prediction the concept's is pushed", 0.0, 100.0)
    trust_radius: float = _option(0.5, "how far a prompt's embedding may move, as a share of its norm", 1e-3, 100.0)
    preserve_weight: float = _option(4.0, "weight of the loss that preserves embeddings of preserve prompts", 0.0, 1000.0)
    preserve_prediction_weight: float = _option(
        0.0, "weight of the loss that preserves predictions for preserve prompts", 0.0, 1000.0
    )
    stop_at: float = _option(-0.5, "end at this remaining effect of the concept; 0 is that of the neutral prompt", -100.0, 1.0)
    rank: int = _option(16, "rank of low-rank factors, if they are trained", 1, 4096)
    seed: int = _option(0, "seed of shots, prompts, noise, batches and weights", 0, 2**63 - 1)


@dataclass(frozen=True, kw_only=True)
class ClosedFormRecipe(_Recipe):
    """Settings of closed-form erasing: UCE (arXiv 2308.14761) and RECE (2407.12383), or refusal directions (2506.07891)."""

    preset_key = "closed_form"

    objective: ClosedFormObjective = _option(
        "uce", "uce: the concept's words become the neutral ones. refusal: the directions that tell the two apart are removed"
    )
    directions: int = _option(4, "refusal: how many directions of the text are removed", 1, 4096)
    rank: int = _option(32, "rank of the LoRA that the change is cut to", 1, 4096)
    concept_prompts: int = _option(32, "prompts that name the concept, each with its neutral form", 1, 10_000)
    preserve_prompts: int = _option(64, "prompts that must keep working", 0, 10_000)
    augmentation: Augmentation = _option("templates", "how the concept's prompts are made")
    eta: float = _option(0.5, "how far past the neutral words the concept's are pushed", 0.0, 100.0)
    preserve_weight: float = _option(1.0, "weight of the inputs that must stay", 0.0, 1000.0)
    concept_weight: float = _option(
        8.0, "weight of the concept's own tokens against the other tokens of its prompts", 0.0, 1000.0
    )
    ridge: float = _option(1e-3, "regularisation, as a share of the inputs' mean variance", 1e-8, 100.0)
    rounds: int = _option(0, "RECE's rounds: inputs that would bring the concept back are erased as well", 0, 100)
    trajectory_steps: int = _option(4, "denoising steps at which a joint attention is looked at", 1, 1000)
    num_frames: int = _option(1, "frames of the clips that are computed for a joint attention; 0 is the model's own", 0, 1024)
    height: int = _option(0, "height of these clips in pixels; 0 is the model's own", 0, 8192)
    width: int = _option(0, "width of these clips in pixels; 0 is the model's own", 0, 8192)
    seed: int = _option(0, "seed of prompts and noise", 0, 2**63 - 1)


def _types(recipe: type[Any]) -> dict[str, Any]:
    return get_type_hints(recipe)


def _choices(kind: Any) -> tuple[str, ...]:
    return get_args(kind) if get_origin(kind) is Literal else ()


def _check(option: dataclasses.Field[Any], kind: Any, value: Any) -> None:
    setting = f"{option.name} ({option.metadata['help']})"
    if choices := _choices(kind):
        if value not in choices:
            raise UserError(f"{setting} must be one of {', '.join(choices)}, not {value!r}.")
    elif kind is bool:
        if not isinstance(value, bool):
            raise UserError(f"{setting} must be true or false, not {value!r}.")
    else:
        low, high = option.metadata["low"], option.metadata["high"]
        number = int if kind is int else (int, float)
        if isinstance(value, bool) or not isinstance(value, number) or not low <= value <= high:
            raise UserError(f"{setting} must be between {low} and {high}, not {value!r}.")
