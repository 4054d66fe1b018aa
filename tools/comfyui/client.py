"""Queues a graph in API format over HTTP, and follows it on the websocket to its end."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import aiohttp

Graph = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Event:
    """A message of the websocket. Binary ones have the type `preview` or `text`, and their bytes."""

    type: str
    data: dict[str, Any]
    payload: bytes = b""


@dataclass(frozen=True)
class Result:
    """What came of a queued graph."""

    prompt_id: str
    events: list[Event]
    outputs: dict[str, dict[str, list[Any]]]
    """By node: what its output was shown with, such as `images` with their file names."""
    node_errors: dict[str, Any]
    """Outputs that ComfyUI refused while it ran the others."""

    def of(self, kind: str) -> list[Event]:
        return [event for event in self.events if event.type == kind]

    @property
    def error(self) -> str | None:
        """What the node that failed said; None if none failed."""
        failed = self.of("execution_error")
        return str(failed[0].data["exception_message"]).strip() if failed else None

    @property
    def succeeded(self) -> bool:
        return bool(self.of("execution_success"))

    @property
    def cached(self) -> set[str]:
        """Nodes that were not run again."""
        return {node for event in self.of("execution_cached") for node in event.data["nodes"]}

    def files(self, node: str) -> list[dict[str, str]]:
        """The files that a node has written."""
        items = [item for values in self.outputs.get(node, {}).values() for item in values]
        return [item for item in items if isinstance(item, dict) and "filename" in item]


class Rejected(Exception):
    """ComfyUI refused the graph before it ran."""

    def __init__(self, answer: dict[str, Any]) -> None:
        super().__init__(json.dumps(answer))
        self.answer = answer


@dataclass(frozen=True)
class Control:
    """What a listener can do while a graph runs."""

    interrupt: Callable[[], None]


Listener = Callable[[Event, Control], None]


def queue(url: str, graph: Graph, listen: Listener | None = None, *, timeout: float = 600.0) -> Result:
    """Run a graph to its end. `listen` sees every event. Raises Rejected if ComfyUI does not take the graph."""
    return asyncio.run(_queue(url, graph, listen, timeout))


async def _queue(url: str, graph: Graph, listen: Listener | None, timeout: float) -> Result:
    client = uuid.uuid4().hex
    async with asyncio.timeout(timeout), aiohttp.ClientSession() as session:
        async with session.ws_connect(f"{url}/ws?clientId={client}", max_msg_size=0) as socket:
            answer = await _post(session, f"{url}/prompt", {"prompt": graph, "client_id": client})
            if "prompt_id" not in answer:
                raise Rejected(answer)
            events = await _follow(session, url, socket, answer["prompt_id"], listen)
        async with session.get(f"{url}/history/{answer['prompt_id']}") as response:
            history = (await response.json())[answer["prompt_id"]]
    return Result(answer["prompt_id"], events, history["outputs"], answer.get("node_errors") or {})


async def _follow(
    session: aiohttp.ClientSession,
    url: str,
    socket: aiohttp.ClientWebSocketResponse,
    prompt_id: str,
    listen: Listener | None,
) -> list[Event]:
    events: list[Event] = []
    tasks: list[asyncio.Task[Any]] = []
    control = Control(lambda: tasks.append(asyncio.create_task(_post(session, f"{url}/interrupt", {}))))
    async for message in socket:
        event = _event(message)
        if event is None:
            continue
        events.append(event)
        if listen is not None:
            listen(event, control)
        # The history is written before this last event, and after execution_success.
        if event.type == "executing" and event.data["node"] is None and event.data.get("prompt_id") == prompt_id:
            break
    await asyncio.gather(*tasks)
    return events


def _event(message: aiohttp.WSMessage) -> Event | None:
    if message.type == aiohttp.WSMsgType.BINARY:
        kind = {1: "preview", 3: "text", 4: "preview"}.get(int.from_bytes(message.data[:4], "big"))
        return Event(kind, {}, message.data[4:]) if kind else None
    if message.type == aiohttp.WSMsgType.TEXT:
        content = json.loads(message.data)
        return Event(content["type"], content.get("data") or {})
    return None


async def _post(session: aiohttp.ClientSession, url: str, body: dict[str, Any]) -> dict[str, Any]:
    async with session.post(url, json=body) as response:
        text = await response.text()
    return json.loads(text) if text.startswith("{") else {"error": text}
