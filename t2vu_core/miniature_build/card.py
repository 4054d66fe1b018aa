"""The miniature's model card: what was measured, as JSON and as a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from t2vu_core.erasure import atomic_path
from t2vu_core.miniature.bundled import UNET_NAME, WEIGHTS
from t2vu_core.miniature.world import BACKGROUNDS, MOTIONS, STYLES, SUBJECTS

FOLDER = WEIGHTS / "miniature"
DESCRIPTIONS = {
    "miniature": (
        "A text-to-video model of the real CogVideoX classes, small enough to run anywhere and truly trained:",
        "cartoon clips of 9 frames, 32 x 32 pixels. Load it with stock diffusers (`CogVideoXPipeline.from_pretrained`,",
        "`max_sequence_length=48`) or by its name in `t2vu` and in the ComfyUI nodes.",
    ),
    UNET_NAME: (
        "A text-to-image model of Stable Diffusion's real classes and AnimateDiff on top of it, small enough to run anywhere",
        "and truly trained: cartoons of 32 x 32 pixels, clips of 9 frames. One folder is both: load it with stock diffusers",
        "(`AnimateDiffPipeline.from_pretrained` or `StableDiffusionPipeline.from_pretrained`) or by name in `t2vu`.",
        "The motion adapter was trained with the image UNet, the VAE and the text encoder frozen.",
    ),
}
_ATTRIBUTES = ("subject", "style", "motion", "background")


def write_card(measured: dict[str, Any], folder: Path = FOLDER) -> None:
    """Write `card.json` and `README.md` next to the weights."""
    built = json.loads((folder / "build.json").read_text(encoding="utf-8"))
    card = {"name": folder.name, "built": built, "measured": measured}
    for name, text in (("card.json", json.dumps(card, indent=1) + "\n"), ("README.md", page(card))):
        with atomic_path(folder / name) as temporary:
            temporary.write_text(text, encoding="utf-8")


def page(card: dict[str, Any]) -> str:
    """The card as Markdown."""
    measured, built = card["measured"], card["built"]
    minutes = {stage: round(seconds / 60, 1) for stage, seconds in built["seconds"].items()}
    rows = [
        f"| {name} | " + " | ".join(f"{scores[key]:.1%}" for key in _ATTRIBUTES) + " |"
        for name, scores in (*measured["fidelity"].items(), ("detector, on renders", measured["detector"]))
    ]
    rows += [
        f"| single images, {name} | " + " | ".join(f"{scores[key]:.1%}" if key in scores else "" for key in _ATTRIBUTES) + " |"
        for name, scores in measured.get("images", {}).items()
    ]
    return "\n".join([
        f"# {card['name']}",
        "",
        *DESCRIPTIONS[card["name"]],
        "",
        f"- subjects: {', '.join(SUBJECTS)}",
        f"- styles: {', '.join(STYLES)}; motions: {', '.join(MOTIONS)}; backgrounds: {', '.join(BACKGROUNDS)}",
        "- made for measuring concept erasure and for demonstrations; it knows nothing else",
        "- glyphs: Noto Color Emoji (SIL Open Font License 1.1, see NOTICE)",
        "",
        f"Measured by `t2vu miniature check --name {card['name']}` over {measured['clips']} generated clips of unseen seeds "
        f"({measured['num_inference_steps']} steps, guidance {measured['guidance_scale']}); 2,000 unseen renders for the "
        "detector.",
        "The background counts where the style leaves it visible.",
        "",
        "| prompts | " + " | ".join(_ATTRIBUTES) + " |",
        "|---|" + "---|" * len(_ATTRIBUTES),
        *rows,
        "",
        f"The detector misses {measured['detector']['misses']:.1%} of subjects on renders and sees one that is not there "
        f"in {measured['detector']['false_alarms']:.2%} of its answers "
        f"(empty scenes: {measured['detector']['false_alarms_empty']:.1%} of clips; "
        f"unrecognisable clips: {measured['detector']['false_alarms_unrecognisable']:.1%}).",
        "",
        f"One clip takes {measured['seconds_per_clip']} s on {built['machine']['cores']} cores; all weights together are "
        f"{measured['megabytes']} MiB with the detector. Built by `t2vu miniature build --name {card['name']}` on "
        f"{built['machine']['cores']} cores ({built['machine']['processor']}, torch {built['machine']['torch']}); "
        + "minutes per stage: " + ", ".join(f"{stage} {value}" for stage, value in minutes.items()) + ".",
        *_later(built),
        "",
    ])  # fmt: skip


def _later(built: dict[str, Any]) -> list[str]:
    """What was done to the weights after they were built."""
    rounds = built.get("further_minutes", [])
    trained = [f"Then trained further (`--further`) for {' and '.join(f'{minutes:g}' for minutes in rounds)} minutes."]
    return (trained if rounds else []) + built.get("notes", [])
