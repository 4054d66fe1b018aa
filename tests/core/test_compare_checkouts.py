"""`tools.compare_checkouts` must be able to fail: equal runs are equal bit for bit, and any change is seen."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
import torch

from tools import compare_checkouts
from tools.checkout_differences import Row, compare, compare_files
from tools.checkout_graphs import shortened
from tools.checkout_outputs import UNET, Outputs, write
from tools.comfyui.server import REPOSITORY


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """As the comparison runs: on models so small, more threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def computed(out: Path, seed: int) -> Path:
    """An eraser and clips with it, as the comparison makes them of a checkout."""
    outputs = Outputs(out, seed, quick=True)
    outputs.keep("bottleneck", UNET, partial(outputs.eraser, UNET, "bottleneck"))
    return out


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return computed(tmp_path_factory.mktemp("first"), seed=0)


def differing(rows: list[Row]) -> list[str]:
    return [row.what for row in rows if row.differences]


def test_the_same_seed_gives_equal_outputs_and_exit_code_0(first: Path, tmp_path: Path) -> None:
    rows = compare(first, computed(tmp_path, seed=0))
    assert len(rows) == 2
    assert differing(rows) == []
    assert compare_checkouts.report(rows) == 0


def test_another_seed_gives_other_erasers_and_clips_and_exit_code_1(
    first: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = compare(first, computed(tmp_path, seed=1))
    assert differing(rows) == [f"clips/{UNET}/bottleneck.safetensors", f"erasures/{UNET}/bottleneck.safetensors"]
    assert compare_checkouts.report(rows) == 1
    printed = capsys.readouterr().out
    assert "max difference" in printed
    assert "2 of 2 outputs differ" in printed
    erasure = next(row for row in rows if row.what.startswith("erasures"))
    assert any("recipe.seed: 0 -> 1" in text for text in erasure.differences)
    assert any("training.losses" in text for text in erasure.differences)


def test_old_files_are_opened_and_a_changed_one_is_seen(first: Path, tmp_path: Path) -> None:
    outputs = Outputs(tmp_path, 0, quick=True)
    outputs.old_files(first)
    applied = "old file applied: clips/miniature-unet/bottleneck.safetensors"
    saved = "old file saved again: erasures/miniature-unet/bottleneck.safetensors"
    found = {row.what: row for row in compare(first, tmp_path)}
    assert not found[applied].differences
    assert not found[saved].differences
    (tmp_path / "old" / "erasures" / UNET / "bottleneck.safetensors").unlink()
    assert saved in differing(compare(first, tmp_path))


def test_one_changed_bit_of_a_tensor_is_seen(tmp_path: Path) -> None:
    values = torch.rand(3, 4)
    write({"clip": values}, tmp_path / "a")
    write({"clip": values}, tmp_path / "b")
    values.view(torch.int32)[1, 2] ^= 1
    write({"clip": values}, tmp_path / "c")
    a, b, c = (tmp_path / f"{name}.safetensors" for name in "abc")
    assert not compare_files("clip", a, b).differences
    assert compare_files("clip", a, c).differences


def test_zeros_of_different_sign_differ(tmp_path: Path) -> None:
    write({"clip": torch.tensor([0.0])}, tmp_path / "a")
    write({"clip": torch.tensor([-0.0])}, tmp_path / "b")
    assert compare_files("clip", tmp_path / "a.safetensors", tmp_path / "b.safetensors").differences


@pytest.mark.parametrize(
    ("after", "differs"),
    [
        ({"rate": 0.5, "seconds": 9.0, "warning": "It did little.", "none": None}, False),
        ({"rate": 0.5, "seconds": 1.0, "warning": "Little was done.", "none": None}, False),
        ({"rate": 0.5, "seconds": 1.0, "warning": "It did little.", "none": None, "new": 1}, False),
        ({"rate": 0.5000001, "seconds": 1.0, "warning": "It did little.", "none": None}, True),
        ({"rate": 0.5, "seconds": 1.0, "warning": None, "none": None}, True),
        ({"rate": 0.5, "seconds": 1.0, "warning": "It did little."}, True),
        ({"rate": 0.5, "seconds": 1.0, "warning": "It did little.", "none": {"rate": 1}}, True),
    ],
)
def test_scores_are_compared_without_times_and_wording(tmp_path: Path, after: dict[str, object], differs: bool) -> None:
    before = {"rate": 0.5, "seconds": 1.0, "warning": "It did little.", "none": None}
    for name, document in (("a", before), ("b", after)):
        (tmp_path / f"{name}.json").write_text(json.dumps(document), encoding="utf-8")
    assert bool(compare_files("scores", tmp_path / "a.json", tmp_path / "b.json").differences) is differs


def test_an_output_that_one_checkout_did_not_make_is_a_difference(first: Path, tmp_path: Path) -> None:
    assert len(differing(compare(first, tmp_path))) == 2
    assert len(differing(compare(tmp_path, first))) == 2


def test_what_is_no_revision_is_refused_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare_checkouts.main(["--before", "no-such-revision"]) == 2
    assert "neither a folder nor a git revision" in capsys.readouterr().err


def test_outputs_made_with_other_libraries_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    about = {"threads": 1, "seed": 0, "quick": True, "machine": "another machine"}
    (tmp_path / "about.json").write_text(json.dumps(about), encoding="utf-8")
    assert compare_checkouts.main(["--before", str(tmp_path)]) == 2
    assert "was made with another machine" in capsys.readouterr().err


@pytest.mark.parametrize("name", ["erase_a_concept", "few_shot_encoder", "both_methods_side_by_side"])
def test_a_shortened_graph_keeps_its_nodes_and_saves_every_row_of_frames(name: str) -> None:
    graph = json.loads((REPOSITORY / "workflows" / "api" / f"{name}.json").read_text("utf-8"))
    short = shortened(graph, seed=3)
    ours = {key for key, node in graph.items() if node["class_type"].startswith("T2VU")}
    assert ours <= short.keys()
    assert sum(node["class_type"] == "SaveImage" for node in short.values()) >= 2
    assert {node["inputs"]["seed"] for node in short.values() if node["class_type"] == "T2VUVelocityErase"} <= {3}
