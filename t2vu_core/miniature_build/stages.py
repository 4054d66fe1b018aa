"""What the builds of both miniatures share: stages that are not repeated, and the record of a build."""

from __future__ import annotations

import contextlib
import json
import logging
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from t2vu_core.errors import UserError
from t2vu_core.temporary_folders import temporary_folder

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

log = logging.getLogger(__name__)


def run_stages(work: Path, stages: Mapping[str, Callable[[], float | None]]) -> None:
    """Run the stages that have no result in `work` yet, and write down how long each took.

    A stage that went on after an interruption returns the seconds that it took in all.
    """
    seconds = read_json(work / "seconds.json")
    for name, run in stages.items():
        if name in seconds:
            continue
        log.info("stage %s", name)
        start = time.monotonic()
        spent = run()
        seconds[name] = round(time.monotonic() - start if spent is None else spent)
        (work / "seconds.json").write_text(json.dumps(seconds), encoding="utf-8")


def check_finished(work: Path, stages: tuple[str, ...]) -> None:
    """Raise UserError if one of the stages has no result in `work`."""
    missing = set(stages) - set(read_json(work / "seconds.json"))
    if missing:
        raise UserError(f"The build in {work} is not finished: {', '.join(sorted(missing))} is missing. Build again.")


def write_record(folder: Path, work: Path, plan: DataclassInstance, prompts: Mapping[str, object], **more: str) -> None:
    """Write the prompt set and the record of the build next to the weights; `more` is added to the record."""
    (folder / "prompts.json").write_text(json.dumps(prompts, indent=1), encoding="utf-8")
    machine = {"processor": platform.machine(), "cores": os.cpu_count(), "torch": torch.__version__}
    facts = {"plan": asdict(plan), "seconds": read_json(work / "seconds.json"), "machine": machine, **more}
    (folder / "build.json").write_text(json.dumps(facts, indent=1), encoding="utf-8")


def forget_places(folder: Path) -> None:
    """Take out of a saved model's settings the folder that it was loaded from: a shipped file names no machine's paths."""
    for path in (folder / "model_index.json", *folder.glob("*/config.json")):
        settings = read_json(path)
        if settings.pop("_name_or_path", None) is not None:
            path.write_text(json.dumps(settings, indent=2, sort_keys=True) + "\n", encoding="utf-8")


def name_tokenizer(folder: Path) -> None:
    """Call the tokenizer's class by the name that transformers 4 and 5 both know."""
    for path in (folder / "model_index.json", folder / "tokenizer" / "tokenizer_config.json"):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace('"TokenizersBackend"', '"PreTrainedTokenizerFast"'), encoding="utf-8")


@contextlib.contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """An empty folder that takes the place of `target` when the block ends well; until then the old one stays as it is.

    It is one level deeper than `target`, where no listing of models looks.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    with temporary_folder(target.parent, target.name) as temporary:
        fresh = temporary / target.name
        fresh.mkdir()
        yield fresh
        if target.exists():
            target.rename(temporary / "old")
        fresh.rename(target)


def read_json(path: Path) -> dict[str, Any]:
    """The file's content; nothing where there is no file."""
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
