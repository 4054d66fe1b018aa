"""A server that dies in the middle of a training run: the same graph, queued again, goes on where its last state was kept."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from t2vu_core import Erasure
from tests.nodes.graphs import erase, load, node
from tests.nodes.test_encoder_nodes import unlearn
from tools.comfyui import ComfyServer, queue
from tools.comfyui.client import Control, Event, Graph

STEPS, KILLED_AT, LAST_STATE = 48, 28, 25
SAID = re.compile(r"training (\d+)/48, loss (\d+\.\d+)")


@pytest.mark.slow
@pytest.mark.parametrize("training", [erase, unlearn])
def test_a_training_run_goes_on_after_the_server_was_killed(tmp_path: Path, training: Callable[..., dict[str, Any]]) -> None:
    """The losses that were seen before the kill are those of the training that ended.

    Slow because ComfyUI starts twice, and each time samples what the training learns from.
    """
    server, unfinished = ComfyServer(tmp_path), tmp_path / "output" / "unfinished_trainings"
    graph: Graph = {
        "load": load(),
        "train": training(seed=7, steps=STEPS),
        "save": node("T2VUSaveErasure", erasure=["train", 0], name="survivor", overwrite=False),
    }
    lives: list[dict[int, str]] = [{}, {}]

    def watch(life: int, kill_at: int = 0) -> Callable[[Event, Control], None]:
        def listen(event: Event, control: Control) -> None:
            said = SAID.search(event.payload.decode(errors="ignore")) if event.type == "text" else None
            if said:
                lives[life][int(said[1])] = said[2]
                if int(said[1]) == kill_at:
                    server.kill()

        return listen

    with server:
        with pytest.raises((aiohttp.ClientError, OSError)):
            queue(server.url, graph, watch(0, KILLED_AT))
        assert len(list(unfinished.glob("*/state.safetensors"))) == 1
    with server:
        assert queue(server.url, graph, watch(1)).succeeded
    losses = Erasure.load(tmp_path / "output" / "erasures" / "survivor.safetensors").training["losses"]
    assert len(losses) == STEPS
    assert min(lives[1]) == LAST_STATE + 1, "the training run began from the start"
    assert all(abs(float(loss) - losses[step - 1]) < 1e-3 for step, loss in {**lives[0], **lives[1]}.items())
    assert not list(unfinished.iterdir()), "nothing goes on from a training run that has ended"
