"""What a language model wrote for one concept of a request."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Written:
    """What the language model wrote for one concept."""

    prompts: tuple[str, ...]
    """Different prompts that contain one of its names."""
    neighbours: tuple[str, ...] = ()
    """What lies near it; empty if that was not asked for, or if the answers hold hardly any."""
