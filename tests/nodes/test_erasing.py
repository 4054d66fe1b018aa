"""Erasing in a graph: before and after side by side, saved and loaded, cached, cancelled."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import save_file

from t2vu_core import Erasure, VelocityRecipe
from tests.core.full_disk import small_disk
from tests.nodes.conftest import Trained
from tests.nodes.graphs import apply, before_and_after, erase, load, node, pixels, refusal, sampled
from tools.comfyui import ComfyServer, queue
from tools.comfyui.client import Control, Event, Graph


def _before_and_after(eraser: str, **changes: object) -> Graph:
    return {
        "load": load(),
        "file": node("T2VULoadErasure", file=eraser),
        "apply": apply("file", **changes),
        **before_and_after(),
    }


def test_before_and_after_in_one_graph_differ_by_the_eraser_only(comfy: ComfyServer, eraser_name: str) -> None:
    alone = pixels(comfy, queue(comfy.url, sampled(fps=3.0)))
    result = queue(comfy.url, _before_and_after(eraser_name, strength=3.0))
    before, after = pixels(comfy, result, "frames before"), pixels(comfy, result, "frames after")
    assert np.array_equal(before, alone)
    assert not np.array_equal(after, before)


def test_the_model_that_comfyui_keeps_is_not_changed_by_an_eraser(comfy: ComfyServer, eraser_name: str) -> None:
    first = pixels(comfy, queue(comfy.url, sampled(seed=21)))
    queue(comfy.url, _before_and_after(eraser_name, strength=5.0))
    again = queue(comfy.url, sampled(seed=21, fps=4.0))
    assert "load" in again.cached, "the kept model must be the one that is asked again"
    assert np.array_equal(pixels(comfy, again), first)


def test_strength_zero_is_the_model_as_it_was(comfy: ComfyServer, eraser_name: str) -> None:
    result = queue(comfy.url, _before_and_after(eraser_name, strength=0.0))
    assert np.array_equal(pixels(comfy, result, "frames before"), pixels(comfy, result, "frames after"))


def test_training_shows_its_stages_and_a_loss_curve(comfy: ComfyServer, trained: Trained) -> None:
    said = [event.payload.decode(errors="ignore") for event in trained.result.of("text")]
    assert any(re.search(r"trajectories \d+/88, \d+\.\d MB in memory", line) for line in said), "their size is not told"
    assert any("training 2/2, loss" in line for line in said)
    assert any("Memory, planned:" in line for line in said), "the memory plan is not told before the first pass"
    ahead = "a wrong kind would be read only after the training"
    assert re.search(r"kind +thing.*\ninstead .*\nneighbours .*\npreserved +\d+ prompts.*\n.*ghost.* -> ", said[0]), ahead
    assert all("instead " in line for line in said), "the plan is gone after the first step"
    assert Image.open(comfy.file(trained.result.files("loss")[0])).width > 300


def test_the_settings_of_the_node_are_those_of_the_training(comfy: ComfyServer, trained: Trained) -> None:
    used = Erasure.load(comfy.base / "output" / "erasures" / trained.name).recipe
    assert {name: used[name] for name in ("steps", "eta", "learning_rate")} == {"steps": 2, "eta": 5.0, "learning_rate": 0.004}


def test_the_mask_can_be_looked_at_before_it_is_trusted(comfy: ComfyServer, trained: Trained) -> None:
    shown = pixels(comfy, trained.result, "mask")
    assert len(shown) > 1
    assert shown.max() > 0


def _localized(name: str, **changes: str) -> Graph:
    save = node("T2VUSaveErasure", erasure=["erase", 0], name=name, overwrite=False)
    return {"load": load(), "erase": erase(**changes, localization=1.0), "save": save}


def test_a_lora_cannot_be_kept_to_a_mask(comfy: ComfyServer) -> None:
    assert "needs kind=bottleneck" in refusal(comfy, _localized("refused", kind="lora"))


def test_what_is_kept_to_a_mask_is_a_bottleneck_unless_the_graph_says_another_kind(comfy: ComfyServer) -> None:
    result = queue(comfy.url, _localized("localized", kind="auto"))
    assert result.succeeded, result.error
    file = comfy.base / "output" / "erasures" / "localized.safetensors"
    assert Erasure.load(file).recipe["kind"] == "bottleneck"
    file.unlink()


def test_a_card_is_named_and_the_plan_says_what_was_chosen_for_it(comfy: ComfyServer) -> None:
    graph: Graph = {"load": load(), "erase": erase(memory="8 GB"), "plan": node("PreviewAny", source=["erase", 3])}
    result = queue(comfy.url, graph)
    assert result.succeeded, result.error
    assert "Chosen for 8 GB: 1 frame of 32 x 32, 4 + 8 points a step" in result.outputs["plan"]["text"][0]
    assert "switch low_memory off" in refusal(comfy, graph | {"erase": erase(memory="8 GB", low_memory=True)})


def test_a_saved_eraser_erases_as_the_trained_one_did(comfy: ComfyServer, trained: Trained) -> None:
    loaded = queue(comfy.url, _before_and_after(trained.name, strength=3.0))
    assert np.array_equal(pixels(comfy, loaded, "frames after"), pixels(comfy, trained.result))


def test_only_the_clips_are_made_again_when_a_prompt_changes(comfy: ComfyServer, eraser_name: str) -> None:
    graph = _before_and_after(eraser_name)
    queue(comfy.url, graph)
    graph["after"]["inputs"]["prompt"] = "a cat moving up"
    assert {"load", "file", "apply", "before"} <= queue(comfy.url, graph).cached


def test_a_file_that_is_replaced_is_read_again(comfy: ComfyServer, eraser_name: str) -> None:
    graph: Graph = {"file": node("T2VULoadErasure", file=eraser_name), "text": node("PreviewAny", source=["file", 1])}
    queue(comfy.url, graph)
    assert "file" in queue(comfy.url, graph).cached
    (comfy.base / "output" / "erasures" / eraser_name).touch()
    assert "file" not in queue(comfy.url, graph).cached


def test_loading_says_what_is_erased_and_that_nothing_was_measured(comfy: ComfyServer, eraser_name: str) -> None:
    graph: Graph = {"file": node("T2VULoadErasure", file=eraser_name), "text": node("PreviewAny", source=["file", 1])}
    shown = queue(comfy.url, graph).outputs["text"]["text"][0]
    assert "Erases: ghost" in shown
    assert "From: miniature" in shown
    assert "not measured" in shown


def test_saving_twice_keeps_both_files(comfy: ComfyServer, eraser_name: str) -> None:
    for prefix in ("one", "two"):
        graph: Graph = {
            "file": node("T2VULoadErasure", file=eraser_name),
            "save": node("T2VUSaveErasure", erasure=["file", 0], name="twice", overwrite=False),
            "text": node("SaveImage", images=["blank", 0], filename_prefix=prefix),
            "blank": node("EmptyImage", width=16, height=16, batch_size=1, color=0),
        }
        # Saving is not repeated for the same inputs: the other name stands for a changed graph.
        graph["save"]["inputs"]["name"] = "twice" if prefix == "one" else "twice.safetensors"
        assert queue(comfy.url, graph).succeeded
    names = comfy.get("/object_info/T2VULoadErasure")["T2VULoadErasure"]["input"]["required"]["file"][1]["options"]
    assert {"twice.safetensors", "twice_2.safetensors"} <= set(names)


@pytest.mark.parametrize("name", ["", "  "])
def test_a_concept_in_many_letters_gives_a_file_name_that_a_disk_takes(comfy: ComfyServer, eraser_name: str, name: str) -> None:
    folder = comfy.base / "output" / "erasures"
    spelled = dataclasses.replace(Erasure.load(folder / eraser_name), concepts=("\u5e7d\u7075" * 60,))
    file = spelled.save(folder / "in_many_letters")
    graph: Graph = {
        "file": node("T2VULoadErasure", file=file.name),
        "save": node("T2VUSaveErasure", erasure=["file", 0], name=name, overwrite=True),
    }
    result = queue(comfy.url, graph)
    assert result.succeeded, result.error
    (saved,) = folder.glob("\u5e7d*")
    saved.unlink()
    file.unlink()


def _cancel_at(step: int) -> Callable[[Event, Control], None]:
    def listen(event: Event, control: Control) -> None:
        if event.type == "text" and f"training {step}/".encode() in event.payload:
            control.interrupt()

    return listen


def test_a_cancelled_training_replaces_nothing_and_run_goes_on_with_it(comfy: ComfyServer, eraser_name: str) -> None:
    folder = comfy.base / "output" / "erasures"
    whole = Erasure.load(folder / eraser_name).save(folder / "finished.safetensors").read_bytes()
    graph: Graph = {
        "load": load(),
        "erase": erase(seed=98, steps=24),
        "save": node("T2VUSaveErasure", erasure=["erase", 0], name="finished", overwrite=True),
    }
    cancelled = queue(comfy.url, graph, _cancel_at(3))
    assert cancelled.of("execution_interrupted")
    (kept,) = cancelled.of("t2v-unlearning.text")
    assert kept.data["node"] == "erase"
    assert re.search(r"^Cancelled after step \d+ of 24\. Run goes on", kept.data["text"])
    assert (folder / "finished.safetensors").read_bytes() == whole
    again = queue(comfy.url, graph)
    assert again.succeeded
    assert "erase" not in again.cached
    said = [event.payload for event in again.of("text")]
    assert not any(b"training 3/24" in line for line in said), "the steps before the cancel are not trained again"
    assert any(b"training 24/24" in line for line in said)
    assert len(Erasure.load(folder / "finished.safetensors").training["losses"]) == 24
    assert again.outputs["save"]["text"] == ["saved as finished.safetensors"]


def test_a_state_of_an_older_version_is_kept_and_the_node_says_that_it_starts_over(comfy: ComfyServer) -> None:
    older = comfy.base / "output" / "unfinished_trainings" / ("0" * 16)
    older.mkdir(parents=True)
    # As 0.1 wrote it.
    save_file({"parameter.x": torch.zeros(1)}, str(older / "state.safetensors"), {"fingerprint": "0" * 64, "losses": "[1.0]"})
    result = queue(
        comfy.url, {"load": load(), "erase": erase(seed=96, steps=2), "see": node("PreviewAny", source=["erase", 3])}
    )
    assert result.succeeded, result.error
    said = f"starts from the beginning: another version of T2V Unlearning left one unfinished in {older}"
    assert any(said.encode() in event.payload for event in result.of("text")), "told before it trains"
    assert said in result.outputs["erase"]["text"][0], "and after"
    assert (older / "state.safetensors").is_file()
    shutil.rmtree(older)


def test_without_room_for_its_state_a_cancelled_training_is_a_partial_result(comfy: ComfyServer, eraser_name: str) -> None:
    folder = comfy.base / "output" / "erasures"
    whole = Erasure.load(folder / eraser_name).save(folder / "complete.safetensors").read_bytes()
    graph: Graph = {
        "load": load(),
        "erase": erase(seed=97, steps=24),
        "save": node("T2VUSaveErasure", erasure=["erase", 0], name="complete", overwrite=True),
    }
    unfinished = comfy.base / "output" / "unfinished_trainings"
    shutil.rmtree(unfinished, ignore_errors=True)
    with small_disk(unfinished):
        cancelled = queue(comfy.url, graph, _cancel_at(3))
    assert cancelled.of("execution_interrupted")
    assert "of 24 steps. The state of the training could not be saved" in cancelled.outputs["erase"]["text"][0]
    again = queue(comfy.url, graph)
    assert "erase" in again.cached
    assert (folder / "complete.safetensors").read_bytes() == whole
    assert "a partial result" in again.outputs["save"]["text"][0]
    saved = Erasure.load(folder / "complete_2.safetensors")
    assert saved.partial == f"partial result: {len(saved.training['losses'])} of 24 steps"
    loaded = queue(
        comfy.url,
        {"file": node("T2VULoadErasure", file="complete_2.safetensors"), "text": node("PreviewAny", source=["file", 1])},
    )
    assert "Only a partial result" in loaded.outputs["text"]["text"][0]


def test_cancelling_before_a_training_run_leaves_no_file_and_a_working_server(comfy: ComfyServer) -> None:
    def cancel_at_once(event: Event, control: Control) -> None:
        if event.type == "text":
            control.interrupt()

    graph: Graph = {
        "load": load(),
        "erase": erase(seed=99, steps=1000),
        "save": node("T2VUSaveErasure", erasure=["erase", 0], name="cancelled", overwrite=False),
    }
    result = queue(comfy.url, graph, cancel_at_once)
    assert result.of("execution_interrupted")
    assert not list((comfy.base / "output").rglob("*cancelled*"))
    assert queue(comfy.url, sampled(seed=4)).succeeded


def test_eta_can_be_zero_and_the_other_numbers_the_presets(comfy: ComfyServer) -> None:
    graph: Graph = {
        "load": load(),
        "erase": erase(eta=0, learning_rate=0, eta_zero="zero"),
        "save": node("T2VUSaveErasure", erasure=["erase", 0], name="eta_zero", overwrite=True),
    }
    result = queue(comfy.url, graph)
    assert result.succeeded, result.error
    used = Erasure.load(comfy.base / "output" / "erasures" / "eta_zero.safetensors").recipe
    assert used["eta"] == 0
    assert used["learning_rate"] == VelocityRecipe.preset("quick").learning_rate


def test_a_saved_workflow_without_eta_zero_gets_the_presets(comfy: ComfyServer) -> None:
    """The frontend fills in the default for a widget that a workflow does not have."""
    declared = comfy.get("/object_info/T2VUVelocityErase")["T2VUVelocityErase"]["input"]["optional"]
    later = ["concept_kind", "instead", "attribute_of", "neighbours", "neutral_check", "memory"]
    assert [name for name in declared if name not in later][-1] == "eta_zero"
    assert list(declared).index("eta_zero") < list(declared).index(later[0]), "values of saved workflows go by position"
    assert declared["eta_zero"][1]["default"] == "preset"


def test_an_eta_zero_of_another_word_is_refused(comfy: ComfyServer) -> None:
    graph: Graph = {"load": load(), "erase": erase(eta_zero="nothing"), "loss": node("PreviewImage", images=["erase", 1])}
    assert "eta_zero" in refusal(comfy, graph)
