"""What differs between the outputs of two checkouts: tensors bit for bit, JSON value by value."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

COMPARED = ("erasures", "clips", "commands", "graphs")
"""Folders of the outputs that both checkouts write."""
PASSING = frozenset(
    {
        "bytes", "created", "file", "folder", "mask_overlay", "measured_at", "modelspec.date", "out", "report",
        "scores_written_to",
        "seconds", "shot_seconds", "trajectory_bytes", "trajectory_seconds", "version", "versions",
    }
)  # fmt: skip
"""Keys of values that two runs of one program do not share: times, dates, places, file sizes that depend on them, and the
size of trajectories, which a resumed run counts after sampling them again."""
WORDING = frozenset({"budget", "ended", "method", "note", "warning"})
"""Keys of sentences for people: a sentence that comes or goes is a difference, another wording is only a note."""
SHOWN = 3
"""Differences of one file that are printed."""


@dataclass(frozen=True)
class Row:
    """One line of the table. `differences` decide, `notes` are only told."""

    what: str
    compared: int
    differences: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        if not self.differences:
            said = f"equal ({self.compared} values)"
        else:
            more = len(self.differences) - SHOWN
            said = "; ".join(self.differences[:SHOWN]) + (f"; and {more} more" if more > 0 else "")
        return "  ".join([said, *(f"[{note}]" for note in self.notes)])


def compare(before: Path, after: Path) -> list[Row]:
    """All outputs of `before` against those of `after`, and what `after` made of the files of `before`."""
    names = sorted({name for folder in (before, after) for name in _files(folder, COMPARED)})
    rows = [compare_files(name, before / name, after / name) for name in names]
    old = after / "old"
    if not old.is_dir():
        return rows
    rows += [compare_files(f"old file saved again: {name}", before / name, old / name) for name in _files(before, ["erasures"])]
    clips = [f"clips/{Path(name).relative_to('erasures')}" for name in _files(before, ["erasures"])]
    rows += [compare_files(f"old file applied: {name}", before / name, old / name) for name in clips]
    trained = next((before / "erasures").rglob("on_policy.safetensors"), before)
    rows.append(compare_files("old state resumed", trained, old / "resumed.safetensors"))
    errors = [Row(f"old file refused: {Path(name).stem}", 0, (_error(old / name),)) for name in _files(old, ["errors"])]
    return [*rows, *errors]


def compare_files(what: str, before: Path, after: Path) -> Row:
    """Two files of one name, safetensors or JSON."""
    missing = [side for side, file in (("before", before), ("after", after)) if not file.is_file()]
    if missing:
        return Row(what, 0, (f"missing {' and '.join(missing)}",))
    if before.suffix == ".json":
        return _judge(what, 0, [], json.loads(before.read_text("utf-8")), json.loads(after.read_text("utf-8")))
    tensors, others = _tensors(before), _tensors(after)
    found = [f"{name}: only {'before' if name in tensors else 'after'}" for name in sorted(tensors.keys() ^ others.keys())]
    common = sorted(tensors.keys() & others.keys())
    found += filter(None, (tensor_difference(name, tensors[name], others[name]) for name in common))
    return _judge(what, len(common), found, _metadata(before), _metadata(after))


def tensor_difference(name: str, before: Tensor, after: Tensor) -> str | None:
    """None where both have the same bits; otherwise how far they are apart at most."""
    if before.dtype != after.dtype or before.shape != after.shape:
        return f"{name}: {before.dtype} {tuple(before.shape)} -> {after.dtype} {tuple(after.shape)}"
    if torch.equal(*(tensor.contiguous().view(-1).view(torch.uint8) for tensor in (before, after))):
        return None
    return f"{name}: max difference {(before.double() - after.double()).abs().max().item():.3g}"


def leaves(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The values of a JSON document with their paths, without what passes."""
    if isinstance(value, Mapping) and value:
        for key, inner in value.items():
            if key not in PASSING:
                yield from leaves(inner, (*path, str(key)))
    elif isinstance(value, list) and value:
        for index, inner in enumerate(value):
            yield from leaves(inner, (*path, str(index)))
    else:
        yield path, value


def _judge(what: str, compared: int, found: list[str], before: Any, after: Any) -> Row:
    """The row of a file whose tensors were compared, with the differences of two JSON documents; new keys are notes."""
    old, new = dict(leaves(before)), dict(leaves(after))
    notes = []
    for path in [*old, *(path for path in new if path not in old)]:
        name = ".".join(path)
        if path not in new:
            found.append(f"{name}: only before")
        elif path not in old:
            notes.append(f"new: {name}")
        elif _same(old[path], new[path]):
            continue
        elif path[-1] in WORDING and old[path] and new[path]:
            notes.append(f"other words: {name}: {old[path]!r} -> {new[path]!r}")
        else:
            found.append(f"{name}: {old[path]!r} -> {new[path]!r}")
    return Row(what, compared + len(old), tuple(found), tuple(notes))


def _same(before: Any, after: Any) -> bool:
    # In Python True == 1; in a file they are different values.
    return type(before) is type(after) and before == after


def _files(folder: Path, parts: list[str] | tuple[str, ...]) -> list[str]:
    found = (file for part in parts for file in (folder / part).rglob("*") if file.suffix in (".json", ".safetensors"))
    return sorted(str(file.relative_to(folder)) for file in found)


def _tensors(file: Path) -> dict[str, Tensor]:
    with safe_open(str(file), framework="pt") as opened:
        return {name: opened.get_tensor(name) for name in opened.keys()}  # noqa: SIM118


def _metadata(file: Path) -> dict[str, Any]:
    """The header of a safetensors file; values that are JSON objects as such."""
    with safe_open(str(file), framework="pt") as opened:
        entries = opened.metadata() or {}
    return {key: json.loads(text) if text.startswith("{") else text for key, text in entries.items()}


def _error(file: Path) -> str:
    return str(json.loads(file.read_text("utf-8"))["error"])
