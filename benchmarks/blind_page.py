"""The sheet that a person scores: one page without labels, which saves its answers."""

from __future__ import annotations

from collections.abc import Sequence

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 960px; padding: 16px; }
.clips { display: grid; grid-template-columns: repeat(auto-fill, minmax(170px, 1fr)); gap: 16px; }
.clip img { width: 100%; image-rendering: pixelated; border-radius: 6px; display: block; }
.clip label { margin-right: 8px; font-size: .9rem; }
button { font: inherit; padding: 6px 16px; margin: 16px 0; }
"""
SCRIPT = """
document.querySelector('form').addEventListener('submit', (event) => {
  event.preventDefault();
  const data = new FormData(event.target);
  const answers = [...Array(COUNT).keys()].map((index) => data.get(`clip-${index}`));
  const link = document.createElement('a');
  link.href = URL.createObjectURL(new Blob([JSON.stringify({ answers })], { type: 'application/json' }));
  link.download = 'answers.json';
  link.click();
});
"""


def sheet(concept: str, sources: Sequence[str]) -> str:
    """The page; `concept` is safe for HTML, `sources` are the clips as data URIs."""
    script = SCRIPT.replace("COUNT", str(len(sources)))
    clips = "".join(_clip(index, source) for index, source in enumerate(sources))
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8"><title>Blind sheet</title>'
        f"<style>{STYLE}</style></head><body><h1>Does the clip show “{concept}”?</h1>"
        f"<p>{len(sources)} clips in random order. Answer what you see in any part of the clip, without thinking long.</p>"
        f'<form><div class="clips">{clips}</div><button>Save the answers</button></form><script>{script}</script></body></html>'
    )


def _clip(index: int, source: str) -> str:
    choices = "".join(
        f'<label><input type="radio" name="clip-{index}" value="{value}" required> {value}</label>'
        for value in ("yes", "no", "unsure")
    )
    return f'<div class="clip"><img src="{source}" alt="clip {index + 1}"><div>{index + 1}: {choices}</div></div>'
