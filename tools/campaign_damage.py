"""Damage for files: bytes, safetensors headers, JSON and lines of text. The same seed gives the same damage."""

from __future__ import annotations

import copy
import json
import random
import struct
from collections.abc import Callable
from typing import Any

Damage = Callable[[bytes, random.Random], bytes]

HOSTILE_VALUES: tuple[Any, ...] = (
    None, True, -1, 0, 1.5, 10**9, 2**63, 10**400, -(10**400), float("nan"), float("inf"), "", "x" * 100_000, "\ud800",
    "\x1b[2J\n",    "../../outside", "\u202e", [], {}, [[]] * 1000, {"": None}, [float("nan")], "{}", "a/b:c",
)  # fmt: skip
TEXTS = (
    "", " ", "{", "{}", "{a|b}", '{"prompt": 3}', '{"prompt": "a ghost", "seed": -1}', '{"prompt": "a", "register": []}',
    "[" * 5000, "\x00", "\x1b]0;x\x07", "\u202etsohg", "\ufeff", "(ghost:1.2)", "a" * 30_000, "\U0001f47b" * 200,
    "\u2028", "%s%n{0}",
    "幽霊", '{"prompt": "a ghost", "seed": 1e999}', '{"prompt": "\\ud800"}', "<|endoftext|>", "\t",
)  # fmt: skip


def damaged_bytes(content: bytes, rng: random.Random) -> bytes:
    """Cut, flipped, overwritten, repeated or extended somewhere."""
    place = rng.randrange(len(content) + 1)
    length = rng.choice((1, 8, 64, 4096))
    kind = rng.randrange(8)
    if kind == 0:
        return content[:place]
    if kind == 1:
        flipped = bytearray(content)
        for _ in range(rng.choice((1, 10, 1000))):
            flipped[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
        return bytes(flipped)
    if kind == 2:
        return content[:place] + rng.randbytes(length) + content[place:]
    if kind == 3:
        return content[:place] + bytes(length) + content[place + length :]
    if kind == 4:
        return content[place:]
    if kind == 5:
        return content + rng.randbytes(length)
    if kind == 6:
        return rng.choice((b"", bytes(length), rng.randbytes(length), b"PK\x03\x04", b"\xff\xfe" + content))
    early = rng.randrange(min(256, len(content)))
    return content[:early] + rng.randbytes(8) + content[early + 8 :]


def damaged_json(content: bytes, rng: random.Random) -> bytes:
    """One or more values replaced, removed, renamed or repeated; or the text itself damaged."""
    if rng.random() < 0.2:
        return _damaged_json_text(content, rng)
    value = json.loads(content)
    for _ in range(rng.choice((1, 1, 2, 5))):
        value = _changed(value, rng)
    return json.dumps(value).encode("utf-8", "surrogatepass")


def damaged_safetensors(content: bytes, rng: random.Random) -> bytes:
    """The header's JSON damaged, or that of its `t2vu` description, or the bytes of the file."""
    if rng.random() < 0.3:
        return damaged_bytes(content, rng)
    length = struct.unpack("<Q", content[:8])[0]
    header = json.loads(content[8 : 8 + length])
    metadata = header.get("__metadata__", {})
    described = [key for key, text in metadata.items() if text.startswith(("{", "["))]
    if described and rng.random() < 0.6:
        key = rng.choice(described)
        metadata[key] = damaged_json(metadata[key].encode(), rng).decode("utf-8", "replace")
        encoded = json.dumps(header).encode()
    elif rng.random() < 0.3:
        encoded = (
            json.dumps(header).encode().replace(b'"F32"', rng.choice((b'"F8_E4M3"', b'"I64"', b'"BOOL"', b'"X"', b'"BF16"')))
        )
    else:
        encoded = damaged_json(json.dumps(header).encode(), rng)
    return struct.pack("<Q", len(encoded)) + encoded + content[8 + length :]


def damaged_lines(content: bytes, rng: random.Random) -> bytes:
    """Lines of text with hostile ones among them, in some encoding."""
    lines = content.decode().splitlines()
    for _ in range(rng.choice((1, 3, 20))):
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(TEXTS))
    text = rng.choice(("\n", "\r\n", "\r", "\n\n")).join(lines)
    kind = rng.randrange(8)
    if kind == 0:
        return text.encode(rng.choice(("utf-16", "utf-16-le", "utf-32", "utf-7")), "surrogatepass")
    if kind == 1:
        return b"\xef\xbb\xbf" + text.encode()
    if kind == 2:
        return damaged_bytes(text.encode(), rng)
    if kind == 3:
        return (text + "\n").encode() * rng.choice((1, 500, 20_000))
    return text.encode()


def _damaged_json_text(content: bytes, rng: random.Random) -> bytes:
    kind = rng.randrange(6)
    if kind == 0:
        return damaged_bytes(content, rng)
    if kind == 1:
        return b"[" * rng.choice((1, 1000, 200_000))
    if kind == 2:
        return b'{"a":' * rng.choice((10, 100_000)) + b"1"
    if kind == 3:
        return b'{"format_version": ' + b"9" * 6000 + b"}"
    if kind == 4:
        return content.decode().encode("utf-16")
    return rng.choice((b"", b"null", b"[]", b"{}", b"3", b'"x"', b"NaN"))


def _changed(value: Any, rng: random.Random) -> Any:
    """The value with one part of it, at any depth, changed."""
    if not isinstance(value, dict | list) or not value or rng.random() < 0.1:
        return copy.deepcopy(rng.choice(HOSTILE_VALUES))
    value = copy.copy(value)
    key = rng.choice(list(value)) if isinstance(value, dict) else rng.randrange(len(value))
    kind = rng.randrange(6)
    if kind == 0:
        del value[key]
    elif kind == 1 and isinstance(value, dict):
        value[rng.choice(("", "x", f"{key} ", "__proto__"))] = value.pop(key)
    elif kind == 2 and isinstance(value, list):
        value.extend([value[key]] * rng.choice((1, 3000)))
    elif isinstance(value[key], dict | list) and rng.random() < 0.7:
        value[key] = _changed(value[key], rng)
    else:
        value[key] = copy.deepcopy(rng.choice(HOSTILE_VALUES))
    return value
