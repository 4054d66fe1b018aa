"""Judgements of clips, stored as JSON Lines next to them, so that a slow detector judges a clip once."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from pathlib import Path

from torch import Tensor

from t2vu_core.erasure import flush_to_disk
from t2vu_core.errors import UserError
from t2vu_core.evaluation.cases import KEPT, Case
from t2vu_core.evaluation.detectors import Detector, Judgement


class JudgementStore:
    """A detector with a memory. A line that was half written when the process died is ignored, and its clip judged again."""

    def __init__(self, path: Path | None, detector: Detector, concept: str) -> None:
        """`concept` is the detector's own name of what is judged in every clip."""
        self.path, self.detector, self.concept = path, detector, concept
        self.names: dict[str, str | None] = {}
        """The detector's own names of what cases ask for; None for a prompt to keep that it cannot judge."""
        self._known = dict(self._read()) if path is not None and path.is_file() else {}

    def judge(self, keys: Sequence[str], clips: Tensor, cases: Sequence[Case]) -> list[Judgement]:
        """Judge the clips (B, F, 3, H, W) of the cases for what they ask for, and for the subjects among their facts."""
        asked = self._asked(cases)
        keys = [f"{self.detector.name} {key}" for key in keys]
        if not all(key in self._known and asked <= set(self._known[key].shown) for key in keys):
            judgements = self.detector.judge(clips, sorted(asked))
            for key, judgement in zip(keys, judgements, strict=True):
                self._known[key] = judgement
                self._write(key, judgement)
        return [self._known[key] for key in keys]

    def check(self, cases: Sequence[Case]) -> None:
        """Raises UserError if a case asks for something that the detector does not know."""
        self._asked(cases)

    def _asked(self, cases: Sequence[Case]) -> set[str]:
        for case in cases:
            if case.concept not in self.names:
                name = self.detector.resolve(case.concept)
                if name is None and case.register != KEPT:
                    raise UserError(
                        f"The detector ({self.detector.name}) does not know {case.concept!r}, which a prompt is about: "
                        f"{case.prompt!r}."
                    )
                self.names[case.concept] = name
        others = (case.facts.get("subject", "") for case in cases)
        asked = {self.concept, *(name for case in cases if (name := self.names[case.concept]))}
        return asked | {name for name in others if name and self.detector.resolve(name) == name}

    def _read(self) -> Iterable[tuple[str, Judgement]]:
        assert self.path is not None
        for line in self.path.read_text(encoding="utf-8", errors="replace").splitlines():
            try:
                value = json.loads(line)
                yield value.pop("key"), Judgement(**value)
            except (json.JSONDecodeError, KeyError, TypeError, AttributeError):
                continue

    def _write(self, key: str, judgement: Judgement) -> None:
        if self.path is None:
            return
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with self.path.open("a", encoding="utf-8") as file:
                if file.tell() and not self._ends_well():
                    file.write("\n")
                file.write(json.dumps({"key": key, **asdict(judgement)}) + "\n")
                file.flush()
                flush_to_disk(file)
        except OSError as error:
            raise UserError(f"Cannot write {self.path}: {error.strerror}. Finished clips stay there.") from error

    def _ends_well(self) -> bool:
        assert self.path is not None
        with self.path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read(1) == b"\n"
