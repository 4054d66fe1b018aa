"""What one checkout computes: short training runs, clips and scores, written as safetensors and JSON files.

`tools.compare_checkouts` runs this file in a fresh process with PYTHONPATH set to the checkout. It uses the public names of
`t2vu_core` and the command line only, so that it runs unchanged before and after the internal modules are renamed.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch
from PIL import Image, ImageSequence
from safetensors.torch import save_file

import t2vu_core
from t2vu_core import (
    Cancelled,
    Erasure,
    FewShotRecipe,
    T2VModel,
    VelocityRecipe,
    erase_velocity,
    load_image_model,
    load_model,
    unlearn_encoder,
)
from t2vu_core.cli import main

TRANSFORMER, UNET = "miniature", "miniature-unet"
IMAGE_MODELS: dict[str, str | None] = {TRANSFORMER: None, UNET: "miniature-unet-image"}
CONCEPT = "ghost"
PROMPTS = {"concept": "a ghost moving left under a starry night", "other": "a cat moving right on a green meadow"}
STEPS = 4
SHORT: dict[str, Any] = {
    "kind": "bottleneck", "steps": STEPS, "concept_trajectories": 4, "preserve_trajectories": 4, "trajectory_steps": 4,
    "concept_batch": 2, "preserve_batch": 4, "learning_rate": 1e-2,
}  # fmt: skip
SHORT_ENCODER: dict[str, Any] = {
    "steps": STEPS, "shots": 2, "shot_steps": STEPS, "prompts": 8, "preserve_prompts": 8, "batch": 2, "preserve_batch": 4,
}  # fmt: skip
WAYS: dict[str, dict[str, Any]] = {
    "bottleneck": {},
    "lora": {"kind": "lora"},
    "localised": {"localization_weight": 1.0},
    "on_policy": {"refresh_every": 2},
    "adversarial": {"adversarial_steps": 2},
}
"""How erasers are trained: name -> changes of the recipe."""
MORE_WAYS: dict[str, dict[str, Any]] = {
    "attention_mask": {"localization_weight": 1.0, "mask_source": "attention", "mask_layers": "middle", "mask_threshold": 0.0},
    "guided": {"guided_objective": True, "eta": 0.0, "gradient_checkpointing": True},
    "two_subjects": {"two_subject_trajectories": 2, "trajectory_cache": "disk", "augmentation": "grammar"},
    "early": {"timestep_sampling": "early", "augmentation": "none", "neutral_share": 0.0, "mixed_share": 1.0},
}
"""The same, left out of a quick comparison."""
STATE = "on_policy"
"""The training run that is also stopped, and resumed by the other checkout."""
GUARDS = ("negative_prompt", "safree", "video_eraser")
CASES = (
    ("terse", CONCEPT, "a ghost moving left under a starry night", {"motion": "left", "background": "night"}),
    ("terse", CONCEPT, "on a green meadow there is a ghost moving up", {"motion": "up", "background": "meadow"}),
    ("synonym", CONCEPT, "a short clip showing a phantom moving right", {"motion": "right"}),
    ("two_subject", CONCEPT, "a rocket and a ghost moving left under a starry night", {"subject": "rocket"}),
    ("kept", "robot", "a short clip showing a robot moving left under a starry night", {"motion": "left"}),
    ("kept", "cat", "a cat moving right on a green meadow", {"motion": "right", "background": "meadow"}),
)
"""Register, concept, prompt and facts of the clips of the small evaluation."""


class Outputs:
    """Computes into a folder; `seed` is that of every training run and clip."""

    def __init__(self, out: Path, seed: int, quick: bool) -> None:
        self.out, self.seed, self.quick = out, seed, quick
        self.models = {name: load_model(name, device="cpu") for name in (TRANSFORMER, UNET)}

    def all(self) -> None:
        """Everything but what needs the files of another checkout."""
        for name, model in self.models.items():
            self.clips(model, f"clips/{name}/no_erasure")
            encoder = self.keep("encoder", name, partial(self.encoder, name))
            for way in self.ways(name):
                eraser = self.keep(way, name, partial(self.eraser, name, way))
            self.clips(model.with_erasure(encoder, 0.5).with_erasure(eraser), f"clips/{name}/two_erasures")
        self.stopped(self.out / "states" / STATE)
        self.commands()

    def ways(self, model: str) -> dict[str, dict[str, Any]]:
        """All of them on the transformer, the first on the other architecture."""
        return {"bottleneck": {}} if model == UNET else WAYS if self.quick else {**WAYS, **MORE_WAYS}

    def keep(self, way: str, name: str, train: Callable[[], Erasure]) -> Erasure:
        """Train; write the erasure and two clips with it."""
        log(f"{name}: {way}")
        erasure = train()
        erasure.save(self.out / "erasures" / name / way)
        self.clips(self.models[name].with_erasure(erasure), f"clips/{name}/{way}")
        return erasure

    def eraser(self, name: str, way: str, **options: Any) -> Erasure:
        recipe = VelocityRecipe.preset("quick", **{**SHORT, **{**WAYS, **MORE_WAYS}[way], "seed": self.seed})
        return erase_velocity(self.models[name], CONCEPT, recipe, **options)

    def encoder(self, name: str) -> Erasure:
        partner = IMAGE_MODELS[name]
        image_model = None if partner is None else load_image_model(partner, device="cpu")
        recipe = FewShotRecipe.preset("quick", **SHORT_ENCODER, seed=self.seed)
        return unlearn_encoder(self.models[name], CONCEPT, recipe, image_model=image_model)

    def clips(self, model: T2VModel, name: str) -> None:
        """A clip with the concept and one without it, with the last preview of each, before it is decoded."""
        tensors: dict[str, torch.Tensor] = {}
        for key, prompt in PROMPTS.items():
            tensors |= sampled(model, key, prompt, self.seed + 7)
        write(tensors, self.out / name)

    def stopped(self, folder: Path) -> None:
        """A training run that is cancelled after its second step; its state stays in the folder."""

        def cancel(progress: Any) -> None:
            if progress.stage == "training" and progress.step == 2:
                raise Cancelled

        with contextlib.suppress(Cancelled):
            self.eraser(TRANSFORMER, STATE, log_folder=folder, on_progress=cancel)

    def old(self, before: Path) -> None:
        """What this checkout makes of the files of another one."""
        self.old_files(before)
        state = self.out / "old" / "state"
        shutil.copytree(before / "states" / STATE, state)
        with told(self.out / "old" / "errors" / "state.json"):
            erasure = self.eraser(TRANSFORMER, STATE, log_folder=state)
            erasure.save(self.out / "old" / "resumed")

    def old_files(self, before: Path) -> None:
        """Open, apply and save again the erasure files of another checkout."""
        for name, model in self.models.items():
            for file in sorted((before / "erasures" / name).glob("*.safetensors")):
                with told(self.out / "old" / "errors" / f"{name}-{file.stem}.json"):
                    erasure = Erasure.load(file)
                    erasure.save(self.out / "old" / "erasures" / name / file.name)
                    self.clips(model.with_erasure(erasure), f"old/clips/{name}/{file.stem}")

    def commands(self) -> None:
        """The command line: what it prints as JSON, and the files that it writes."""
        out = self.out / "commands"
        eraser, encoder = (self.out / "erasures" / TRANSFORMER / f"{way}.safetensors" for way in ("lora", "encoder"))
        self.train_by_command(out)
        for guard in GUARDS:
            clip = self.out / "scratch" / f"{guard}.webp"
            self.command(f"sample_{guard}", "sample", "--model", TRANSFORMER, "--guard", guard, "--concept", CONCEPT,
                         "--prompt", PROMPTS["concept"], "--seed", self.seed, "--steps", STEPS, "--out", clip)  # fmt: skip
            write({"frames": frames_of(clip)}, out / f"sample_{guard}")
        for layout in ("comfyui", "diffusers"):
            self.command(f"export_{layout}", "export", eraser, "--format", layout, "--out", out / f"lora_{layout}")
        self.command("export_encoder", "export", encoder, "--format", "comfyui", "--out", out / "encoder_comfyui")
        self.evaluate(out)
        self.command("models", "models")

    def train_by_command(self, out: Path) -> None:
        """`t2vu erase` and `t2vu unlearn-encoder`, with prompts of the user's own and several concepts."""
        concept, preserve = self.text("concept.txt", "a phantom in a castle"), self.text("preserve.txt", "a castle at night")
        own = ("--concept-prompts", concept, "--preserve-prompts", preserve, "--seed", self.seed)
        logs = self.out / "scratch" / "log"
        self.command("erase", "erase", "--model", TRANSFORMER, "--concept", CONCEPT, "--concept", "in noir style", *own,
                     "--preset", "quick", *method_options(SHORT), "--log", logs, "--out", out / "eraser")  # fmt: skip
        write({"mask": frames_of(logs / "mask_overlay.mp4")}, out / "mask_overlay")
        self.command("unlearn_encoder", "unlearn-encoder", "--model", UNET, "--concept", CONCEPT, "--synonym", "phantom",
                     *own, "--preset", "quick", *method_options(SHORT_ENCODER), "--objective", "ascent_trust_region",
                     "--out", out / "encoder")  # fmt: skip

    def evaluate(self, out: Path) -> None:
        """The scores as printed, and as the erasure file and `t2vu inspect` give them."""
        measured = out / "measured.safetensors"
        shutil.copy(self.out / "erasures" / TRANSFORMER / "bottleneck.safetensors", measured)
        lines = [
            json.dumps({"register": register, "concept": concept, "prompt": prompt, "facts": facts, "seed": 7_500_000 + row})
            for row, (register, concept, prompt, facts) in enumerate(CASES)
        ]
        attacks = () if self.quick else ("--attack", "all", "--attack-steps", 2)
        self.command("evaluate", "evaluate", "--model", TRANSFORMER, "--erasure", measured, "--concept", CONCEPT, *attacks,
                     "--steps", STEPS, "--prompts", self.text("cases.jsonl", *lines),
                     "--out", self.out / "scratch" / "evaluation")  # fmt: skip
        # A file that holds scores is one of those that the other checkout opens.
        self.keep("measured", TRANSFORMER, partial(Erasure.load, measured))
        self.command("inspect", "inspect", measured)

    def command(self, name: str, *arguments: object) -> None:
        """Run `t2vu ARGUMENTS --json` and keep what it prints; RuntimeError if it fails."""
        log(f"t2vu {arguments[0]}: {name}")
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            code = main([*map(str, arguments), "--json"])
        if code:
            raise RuntimeError(f"t2vu {' '.join(map(str, arguments))} ended with {code}.")
        file = self.out / "commands" / f"{name}.json"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(printed.getvalue(), encoding="utf-8")

    def text(self, name: str, *lines: str) -> Path:
        file = self.out / "scratch" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return file


def sampled(model: T2VModel, key: str, prompt: str, seed: int) -> dict[str, torch.Tensor]:
    """The clip, and the preview of its last step but one."""
    previews: list[torch.Tensor] = []

    def look(step: Any) -> None:
        previews.append(step.preview())

    clip = model.sample(prompt, seeds=seed, num_inference_steps=STEPS, on_step=look)
    return {key: clip, f"{key} preview": previews[-2]}


def method_options(settings: dict[str, Any]) -> list[str]:
    return [word for name, value in settings.items() for word in ("--method-option", f"{name}={value}")]


def frames_of(file: Path) -> torch.Tensor:
    """The pictures of a .webp or .mp4 file, (F, H, W, 3) uint8."""
    if file.suffix == ".webp":
        with Image.open(file) as image:
            return torch.from_numpy(np.stack([np.array(frame.convert("RGB")) for frame in ImageSequence.Iterator(image)]))
    with av.open(str(file)) as container:
        return torch.from_numpy(np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]))


def write(tensors: dict[str, torch.Tensor], file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, f"{file}.safetensors")


@contextlib.contextmanager
def told(file: Path) -> Iterator[None]:
    """An error within goes into a file, so that the comparison shows it and the rest is still computed."""
    try:
        yield
    except Exception as error:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"error": f"{type(error).__name__}: {error}"}), encoding="utf-8")


def log(text: str) -> None:
    print(f"  {time.process_time():4.0f} s  {text}", flush=True)


def run() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkout", type=Path, help="where t2vu_core must come from")
    parser.add_argument("out", type=Path)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--old", type=Path, help="the outputs of another checkout, whose files are opened")
    options = parser.parse_args()
    found = Path(t2vu_core.__file__).resolve()
    if options.checkout.resolve() not in found.parents:
        sys.exit(f"t2vu_core was imported from {found.parent}, not from {options.checkout}.")
    outputs = Outputs(options.out, options.seed, options.quick)
    if options.old:
        outputs.old(options.old)
    outputs.all()


if __name__ == "__main__":
    run()
