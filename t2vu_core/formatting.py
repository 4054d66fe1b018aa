"""Values as text on a command line: settings as KEY=VALUE, and durations."""

from __future__ import annotations

import contextlib

from t2vu_core.errors import UserError


def parse_options(pairs: list[str]) -> dict[str, int | float | str]:
    """`["eta=3", "augmentation=grammar", ...]` -> settings; numbers, true and false get their types."""
    settings: dict[str, int | float | str] = {}
    for pair in pairs:
        key, separator, value = (part.strip() for part in pair.partition("="))
        if not separator or not value:
            raise UserError(f"--method-option takes KEY=VALUE, for example eta=3, not {pair!r}.")
        settings[key] = _value(value)
    return settings


def _value(text: str) -> int | float | str:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        with contextlib.suppress(ValueError):
            return kind(text)
    return text


def duration(seconds: float) -> str:
    """75 -> "75 seconds", 400 -> "7 minutes"."""
    return f"{seconds:.0f} seconds" if seconds < 100 else f"{seconds / 60:.0f} minutes"


def percent(share: float) -> str:
    """With two digits, but without an exponent."""
    return f"{float(f'{100 * share:.2g}'):g} %"
