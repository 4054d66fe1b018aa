"""Prompts to a real ComfyUI: the shipped graphs and a graph of each node, with hostile values in place of their inputs."""

from __future__ import annotations

import copy
import random
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tools.campaign_damage import HOSTILE_VALUES, TEXTS
from tools.campaign_readers import Bases
from tools.campaign_worker import Ended, Job
from tools.comfyui import ComfyServer, Rejected, queue
from tools.comfyui.client import Graph

USER_ERROR = "UserError"
TRAINING = ("T2VUVelocityErase", "T2VUFewShotUnlearn")
LITERALS: tuple[Any, ...] = (
    *HOSTILE_VALUES,
    *TEXTS,
    ["load", 0],
    ["missing", 0],
    ["load", 99],
    ["load"],
    ["sample", 0],
    [3, 3],
)


def node(kind: str, **inputs: Any) -> dict[str, Any]:
    return {"class_type": kind, "inputs": inputs}


def graphs() -> list[Graph]:
    """Small graphs with every kind of node that needs no model of ComfyUI."""
    load = node("T2VULoadModel", model="miniature", dtype="float32")
    erase = node("T2VUVelocityErase", model=["load", 0], concept="ghost", preset="quick", seed=0, steps=1, num_frames=1)
    sample = node("T2VUSampleVideo", model=["load", 0], prompt="a ghost walks", seed=1, steps=1, frames=1)
    shown = node("PreviewImage", images=["sample", 0])
    apply = node("T2VUApplyEraser", model=["load", 0], eraser=["erase", 0], strength=1.0)
    save = node("T2VUSaveErasure", erasure=["erase", 0], name="campaign", overwrite=True)
    short = {"preset": "quick", "shots": 1, "steps": 1, "neutral_check": "off"}
    few = node("T2VUFewShotUnlearn", model=["load", 0], concept="ghost", seed=0, **short)
    guard = node("T2VUGuard", model=["load", 0], method="safree", concepts="ghost")
    file = node("T2VULoadErasure", file="campaign.safetensors")
    lora = node("T2VUExportLora", eraser=["erase", 0], folder="output/loras", name="x")
    return [
        {"load": load, "sample": sample, "shown": shown},
        {"load": load, "erase": erase, "save": save},
        {"load": load, "erase": erase, "apply": apply, "sample": _with(sample, model=["apply", 0]), "shown": shown},
        {"load": load, "few": few, "shown": node("PreviewImage", images=["few", 2])},
        {"load": load, "guard": guard, "sample": _with(sample, model=["guard", 0]), "shown": shown},
        {"file": file, "save": _with(save, erasure=["file", 0])},
        {"load": load, "erase": erase, "lora": lora, "save": save},
    ]


def _with(graph_node: dict[str, Any], **inputs: Any) -> dict[str, Any]:
    return {**graph_node, "inputs": {**graph_node["inputs"], **inputs}}


def run_prompts(base: Path, count: int, seed: int, limit: float) -> Iterator[Ended]:
    """Queue `count` damaged prompts one after the other, with a valid one at the start and at the end."""
    erasures = base / "output" / "erasures"
    erasures.mkdir(parents=True, exist_ok=True)
    shutil.copy(Bases(base / "made").erasure, erasures / "campaign.safetensors")
    with ComfyServer(base) as server:
        valid = graphs()
        yield _queued(server, Job("ComfyUI, valid", "first", ()), valid[0], 10 * limit)
        for number in range(count):
            rng = random.Random(f"{seed} prompt {number}")
            graph, name = _damaged(rng.choice(valid), rng)
            yield _queued(server, Job("ComfyUI, damaged", f"{number}: {name}", ()), graph, limit)
            if not server.running:
                server.start()
        yield _queued(server, Job("ComfyUI, valid", "last", ()), valid[0], limit)


def _damaged(graph: Graph, rng: random.Random) -> tuple[Graph, str]:
    graph = copy.deepcopy(graph)
    changes = []
    trained = [key for key in graph if graph[key]["class_type"] in TRAINING]
    # A training run that is accepted takes long: most of its inputs are damaged, so that most are refused.
    for _ in range(rng.choice((2, 3, 4) if trained else (1, 1, 2))):
        key = rng.choice(trained or [key for key in graph if graph[key]["class_type"].startswith("T2VU")])
        inputs = graph[key]["inputs"]
        if not inputs:
            continue
        name = rng.choice(list(inputs))
        if rng.random() < 0.1:
            del inputs[name]
        else:
            inputs[name] = copy.deepcopy(rng.choice(LITERALS))
        changes.append(f"{graph[key]['class_type']}.{name} = {repr(inputs.get(name, 'left out'))[:40]}")
    return graph, "; ".join(changes)


def _queued(server: ComfyServer, job: Job, graph: Graph, limit: float) -> Ended:
    """How the server answered. A node's own refusal is a UserError; any other exception counts as exit 1."""
    try:
        result = queue(server.url, graph, timeout=limit)
    except Rejected as rejected:
        return Ended(job, "sentence", str(rejected)[:500], 0.0)
    except TimeoutError:
        server.kill()
        server.start()
        return Ended(job, "hang", "", limit)
    except Exception as error:
        if server.running:
            return Ended(job, "sentence", f"{type(error).__name__}: {error}"[:500], 0.0)
        return Ended(job, "crash", server.log.read_text(errors="replace")[-1000:], 0.0)
    failed = result.of("execution_error")
    if not failed:
        return Ended(job, "accepted", "", 0.0)
    kind, said = str(failed[0].data["exception_type"]), str(failed[0].data["exception_message"])
    return Ended(job, "sentence" if kind.endswith(USER_ERROR) else "exit 1", f"{kind}: {said}", 0.0)
