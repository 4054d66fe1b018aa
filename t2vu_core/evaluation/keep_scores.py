"""Puts scores into the erasure file that was measured, or next to it if the file has changed since."""

from __future__ import annotations

import json
from pathlib import Path
from typing import NamedTuple

from t2vu_core.erasure import Erasure, atomic_path


class KeptScores(NamedTuple):
    """The file with the scores, and a sentence if that is not the erasure file."""

    path: Path
    note: str | None = None


def keep_scores(erasure: Erasure, path: Path) -> KeptScores:
    """Write an erasure with its scores over the file it was read from.

    If another program has changed or removed that file, it stays as it is, and the scores become a JSON file next to it.
    """
    assert erasure.scores is not None
    if erasure.source is None or erasure.source.is_current():
        return KeptScores(erasure.save(path))
    own = path.with_name(f"{path.stem}-scores-{erasure.scores.settings.after_hash[:8]}.json")
    with atomic_path(own) as temporary:
        temporary.write_text(json.dumps(erasure.scores.to_json(), indent=1), encoding="utf-8")
    return KeptScores(
        own, f"{path.name} has changed since it was read and stays as it is; the scores of the former file: {own}"
    )
