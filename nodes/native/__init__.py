"""Erasers on ComfyUI's own MODEL: where they sit in its denoisers, and the wrapper that attaches them to each pass."""

from .apply import Part, with_eraser
from .identity import said_of, same_weights
from .merging import merged_into

__all__ = ["Part", "merged_into", "said_of", "same_weights", "with_eraser"]
