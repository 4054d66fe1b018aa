"""The miniatures' model cards: what was measured, as JSON and as a page."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from t2vu_core.erasure import atomic_path
from t2vu_core.miniature.bundled import LTX_NAME, UNET_NAME, WEIGHTS
from t2vu_core.miniature.captions import REGISTERS
from t2vu_core.miniature.worlds import WORLD_32, world_drawn_at
from t2vu_core.miniature_build.check_short import short_clips

FOLDER = WEIGHTS / "miniature"
DESCRIPTIONS = {
    "miniature": (
        "A text-to-video model of the real CogVideoX classes, small enough to run anywhere and truly trained:",
        "cartoon clips of 9 frames, 32 x 32 pixels. Load it with stock diffusers (`CogVideoXPipeline.from_pretrained`,",
        "`max_sequence_length=48`) or by its name in `t2vu` and in the ComfyUI nodes.",
        "It is the default of the examples, and stands for CogVideoX's architecture: attention over text and video jointly,",
        "and v-prediction. At guidance 1 it already shows a named subject in most clips, which large models do not.",
    ),
    UNET_NAME: (
        "A text-to-image model of Stable Diffusion's real classes and AnimateDiff on top of it, small enough to run anywhere",
        "and truly trained: cartoons of 32 x 32 pixels, clips of 9 frames. One folder is both: load it with stock diffusers",
        "(`AnimateDiffPipeline.from_pretrained` or `StableDiffusionPipeline.from_pretrained`) or by name in `t2vu`.",
        "The motion adapter was trained with the image UNet, the VAE and the text encoder frozen.",
        "It stands for models whose text encoder is shared with an image model, as few-shot unlearning needs, and for UNets.",
    ),
    LTX_NAME: (
        "A text-to-video model of LTX-Video's real classes, small enough to run anywhere and truly trained: cartoon clips of",
        "9 frames, 64 x 64 pixels. Load it with stock diffusers (`LTXPipeline.from_pretrained`), by its name in `t2vu` and in",
        "the ComfyUI nodes, or in ComfyUI's own classes with Load Miniature (MODEL, CLIP, VAE, LATENT).",
        "It stands for LTX-Video's architecture: cross-attention to the text, and flow velocity.",
    ),
}
ALONE = {
    LTX_NAME: "That command alone builds another model: these weights come from several builds. Its durations are for a GPU.",
}
"""What to know before building the same weights again."""
ASKED = {
    "subject": 0.96, "style": 0.98, "motion": 0.98, "background": 0.97, "two subjects": 0.9, "something": 0.9,
    "class words": 0.9, "an empty scene": 0.9,
}  # fmt: skip
"""Shares of clips from which on a miniature of 64 pixels counts as finished; the lowest of several registers or classes."""
AT_GUIDANCE_1 = (0.5, 0.8)
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
    measured = card["measured"]
    world = world_drawn_at(measured.get("size", WORLD_32.size))
    return "\n".join([
        f"# {card['name']}",
        "",
        *DESCRIPTIONS[card["name"]],
        "",
        *shortfalls(measured),
        f"- subjects: {', '.join(world.subjects)}",
        f"- styles: {', '.join(world.styles)}; motions: {', '.join(world.motions)}; "
        f"backgrounds: {', '.join(world.backgrounds)}",
        "- made for measuring concept erasure and for demonstrations; it knows nothing else",
        "- glyphs: Noto Color Emoji (SIL Open Font License 1.1, see NOTICE)",
        "",
        *figures(card),
        "",
        _built(card),
        *_later(card["built"]),
        *([ALONE[card["name"]]] if card["name"] in ALONE else []),
        "",
    ])  # fmt: skip


def figures(card: dict[str, Any]) -> list[str]:
    """The measured figures of a card as lines of Markdown."""
    measured = card["measured"]
    rows = [
        f"| {name} | " + " | ".join(f"{scores[key]:.1%}" for key in _ATTRIBUTES) + " |"
        for name, scores in (*measured["fidelity"].items(), ("detector, on renders", measured["detector"]))
    ]
    rows += [
        f"| single images, {name} | " + " | ".join(f"{scores[key]:.1%}" if key in scores else "" for key in _ATTRIBUTES) + " |"
        for name, scores in measured.get("images", {}).items()
    ]
    return [
        f"Measured by `t2vu miniature check --name {card['name']}` over {measured['clips']} generated clips of unseen seeds "
        f"({measured['num_inference_steps']} steps, guidance {measured['guidance_scale']}); "
        f"{measured.get('renders', 2000):,} unseen renders for the detector.",
        "The background counts where the style leaves it visible.",
        "",
        "| prompts | " + " | ".join(_ATTRIBUTES) + " |",
        "|---|" + "---|" * len(_ATTRIBUTES),
        *rows,
        "",
        *_short_prompts(measured),
        f"The detector misses {measured['detector']['misses']:.1%} of subjects on renders and sees one that is not there "
        f"in {measured['detector']['false_alarms']:.2%} of its answers "
        f"(empty scenes: {measured['detector']['false_alarms_empty']:.1%} of clips; "
        f"unrecognisable clips: {measured['detector']['false_alarms_unrecognisable']:.1%}).",
    ]


def unfinished(measured: dict[str, Any]) -> dict[str, tuple[float, float]]:
    """What falls short, with the share that was measured and the one asked for; only models of 64 pixels are asked."""
    if world_drawn_at(measured.get("size", WORLD_32.size)) == WORLD_32:
        return {}
    registers = {name: scores for name, scores in measured["fidelity"].items() if name != "two_subject"}
    found = {key: min(scores[key] for scores in registers.values()) for key in _ATTRIBUTES}
    found |= {"two subjects": measured["fidelity"]["two_subject"]["subject"], "something": measured["something"]}
    found |= {"class words": min(measured["classes"].values()), "an empty scene": measured["empty_scene"]}
    return {name: (found[name], share) for name, share in ASKED.items() if found[name] < share}


def shortfalls(measured: dict[str, Any]) -> list[str]:
    """What falls short, as lines of Markdown; none for a finished model."""
    short = unfinished(measured)
    if not short:
        return []
    shares = "; ".join(f"{name} {found:.1%} of {asked:.0%} asked for" for name, (found, asked) in short.items())
    return [f"**Not finished.** It falls short in: {shares}.", ""]


def _short_prompts(measured: dict[str, Any]) -> list[str]:
    if "something" not in measured:
        return []
    low, high = AT_GUIDANCE_1
    each = short_clips(measured["clips"] // (len(REGISTERS) + 1))
    lines = [
        f"Shares of {each} clips each: "
        f'"something" gives a subject that the detector recognises in {measured["something"]:.1%} of clips. At guidance 1 a '
        f"named subject is there in {measured['at_guidance_1']:.1%} (large models: unsure; {low:.0%} to {high:.0%} is meant)."
    ]
    if "classes" in measured:
        shares = ", ".join(f"{kind} {share:.1%}" for kind, share in measured["classes"].items())
        lines.append(f"An empty scene stays empty in {measured['empty_scene']:.1%}. Class words show a member: {shares}.")
    return [*lines, ""]


def _built(card: dict[str, Any]) -> str:
    measured, built = card["measured"], card["built"]
    minutes = {stage: round(seconds / 60, 1) for stage, seconds in built["seconds"].items()}
    machine = built["machine"]
    place = machine.get("device") or f"{machine['cores']} cores"
    details = [machine.get("processor"), f"torch {machine['torch']}" if "torch" in machine else None]
    known = ", ".join(filter(None, details))
    return (
        f"One clip takes {measured['seconds_per_clip']} s on {measured.get('cores', 2)} cores; all weights together are "
        f"{measured['megabytes']} MiB with the detector. Built by `t2vu miniature build --name {card['name']}` on "
        f"{place}{known and f' ({known})'}; minutes per stage: "
        + ", ".join(f"{stage} {value}" for stage, value in minutes.items())
        + "."
    )


def _later(built: dict[str, Any]) -> list[str]:
    """What was done to the weights after they were built."""
    rounds = built.get("further_minutes", [])
    trained = [f"Then trained further (`--further`) for {' and '.join(f'{minutes:g}' for minutes in rounds)} minutes."]
    return (trained if rounds else []) + built.get("notes", [])
