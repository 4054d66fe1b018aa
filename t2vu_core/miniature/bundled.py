"""The miniatures that ship: their folders by name."""

from __future__ import annotations

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"


def bundled_names() -> list[str]:
    """Names of the models that ship with the package."""
    return sorted(folder.parent.name for folder in WEIGHTS.glob("*/model_index.json"))


def bundled_folder(name: str) -> Path | None:
    """The folder of a bundled model, or None if there is none of that name."""
    return WEIGHTS / name if name in bundled_names() else None
