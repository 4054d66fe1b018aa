"""Writes the JSON Schema of scores.json: `python -m t2vu_core.evaluation.build_schema`."""

from __future__ import annotations

import json
from pathlib import Path

from t2vu_core.scores import Scores
from t2vu_core.typed_schema import json_schema

PATH = Path(__file__).parent / "scores.schema.json"


def schema_text() -> str:
    """The file's content."""
    return json.dumps(json_schema(Scores, "Scores of an erasure, as t2vu evaluate writes them"), indent=1) + "\n"


if __name__ == "__main__":
    PATH.write_text(schema_text(), encoding="utf-8")
