"""The words that stay on a node after a run."""

from typing import Any


def said(text: str) -> dict[str, Any]:
    """The `ui` of a node's output: `web/js/words.js` draws the text on the node, and /history keeps it."""
    return {"text": [text]}
