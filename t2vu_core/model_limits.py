"""Limits of a model folder's configurations: sizes beyond them would fill the memory, or never finish loading."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from t2vu_core.errors import UserError, reading
from t2vu_core.input_files import MOST_CONFIG_BYTES, check_regular_folder, read_bounded

CONFIGS = ("config.json", "scheduler_config.json")
QUANTIZATION = "quantization_config"
"""A key whose numbers, such as the axis -1, are no sizes."""
TOKENIZER = "tokenizer.json"
MOST_GROWTH = 10_000
"""How many characters a tokenizer may write for one."""
MOST_SAMPLES = 2**26
"""Places in the largest clip or latent that a configuration speaks of."""
LIMITS = (
    (re.compile(r"channels|(dim|size|width)s?$|heads"), 1_000_000),
    (re.compile(r"timesteps"), 100_000),
    (re.compile(r"layers|blocks|depth"), 1_000),
)
"""Keys and the largest whole number under them; the first match counts."""
POSITIVE = re.compile(r"patch_size|channels|head_dim|heads$|hidden_size|train_timesteps")
SAMPLE = re.compile(r"sample_(size|height|width|frames)$")


def check_model_folder(folder: Path, failure: str) -> None:
    """Raise UserError (`failure`, the reason) for files that are not regular, and for sizes beyond the limits.

    What cannot be read as JSON is left to the library that loads it.
    """
    with reading(failure):
        check_regular_folder(folder, failure)
        files = sorted([*folder.glob("*.json"), *folder.glob("*/*.json")])
    for path in files:
        if path.name in CONFIGS:
            problem = _beyond(_read(path, failure))
        elif path.name == TOKENIZER:
            problem = _grows(_read(path, failure))
        else:
            continue
        if problem:
            raise UserError(f"{failure}: {path.relative_to(folder)} has {problem}. Download this file again.")


def _read(path: Path, failure: str) -> Any:
    content = read_bounded(path, f"{failure}: {path.name}", most=MOST_CONFIG_BYTES)
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _beyond(config: Any) -> str | None:
    """The first number beyond its limit, in words."""
    samples: list[int] = []
    for key, number in _numbers(config, ""):
        limit = next((most for pattern, most in LIMITS if pattern.search(key)), None)
        if limit is not None and number > limit:
            return f"{key} {_short(number)}, and at most {limit} is read"
        if (limit is not None and number < 0) or (number == 0 and POSITIVE.search(key)):
            return f"{key} {_short(number)}, which must be greater than 0"
        if SAMPLE.search(key):
            samples.append(number)
    total = math.prod(max(1, size) for size in samples)
    return None if total <= MOST_SAMPLES else f"a clip of {_short(total)} places, and at most {MOST_SAMPLES} are read"


def _numbers(value: Any, key: str) -> Iterator[tuple[str, int]]:
    """The whole numbers in a configuration with their keys; those of a list have the list's."""
    pairs = value.items() if isinstance(value, dict) else ((key, part) for part in value) if isinstance(value, list) else ()
    for name, part in pairs:
        if isinstance(part, int) and not isinstance(part, bool):
            yield name, part
        elif name != QUANTIZATION:
            yield from _numbers(part, name)


def _grows(tokenizer: Any) -> str | None:
    """Whether the tokenizer's replacements, one after the other, write too many characters for one."""
    normalizer = tokenizer.get("normalizer") if isinstance(tokenizer, dict) else None
    growth = 1
    for content in _contents(normalizer):
        growth *= max(1, len(content))
        if growth > MOST_GROWTH:
            return f"a normalizer that writes more than {MOST_GROWTH} characters for one"
    return None


def _contents(value: Any) -> Iterator[str]:
    """The texts that a normalizer writes in place of others or before them."""
    parts: list[Any] = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    if isinstance(value, dict):
        yield from (text for name in ("content", "prepend") if isinstance(text := value.get(name), str))
    for part in parts:
        yield from _contents(part)


def _short(number: int) -> str:
    return str(number) if abs(number) < 10**12 else f"{number:.1e}" if abs(number) < 10**300 else "of hundreds of digits"
