"""Dataclasses to JSON values and back; on the way back every value is checked against the types of the fields.

Understood are dataclasses, `tuple`, `Mapping[str, ...]`, unions, `Literal`, `bool`, `int`, `float`, `str`, `Any` (free JSON),
and a number annotated with a `Range`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import reprlib
import types
import typing
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, Union

from t2vu_core.errors import UserError

T = TypeVar("T")
MOST_ENTRIES = 10_000
"""Of a list or an object; files from strangers must not fill the memory."""
MOST_CHARACTERS = 100_000


@dataclass(frozen=True)
class Range:
    """Limits of a number, both included."""

    low: float
    high: float


class _Wrong(Exception):
    """A value that does not fit its field."""


def to_json(value: Any) -> Any:
    """A dataclass as an object with one key per field, tuples as lists; other JSON values stay as they are."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {name: to_json(part) for name, part in value.items()}
    return [to_json(part) for part in value] if isinstance(value, list | tuple) else value


def from_json(kind: type[T], value: Any, source: str) -> T:
    """The dataclass that the JSON value describes; keys that it has no field for are ignored.

    Raises UserError, with `source` and the path of the field, if a key is missing, a value has the wrong type, a number is
    not finite or outside its range, or a text or list is too long.
    """
    try:
        checked: T = _read(kind, value, "")
    except _Wrong as problem:
        raise UserError(f"{source}: {problem}.") from None
    return checked


def _read(kind: Any, value: Any, where: str) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _object(kind, value, where)
    if origin is Annotated:
        return _ranged(arguments[0], arguments[1], value, where)
    if origin in (Union, types.UnionType):
        return _one_of(arguments, value, where)
    if origin is tuple:
        return _tuple(arguments, value, where)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        _check(isinstance(value, dict) and len(value) <= MOST_ENTRIES, where, "an object", value)
        return {name: _read(arguments[1], part, _below(where, name)) for name, part in value.items()}
    if origin is Literal:
        _check(value in arguments, where, " or ".join(map(repr, arguments)), value)
        return value
    return _free(value, where) if kind is Any else _plain(kind, value, where)


def _object(kind: Any, value: Any, where: str) -> Any:
    _check(isinstance(value, dict), where, "an object", value)
    found = {}
    hints = _hints(kind)
    for field in dataclasses.fields(kind):
        if field.name in value:
            found[field.name] = _read(hints[field.name], value[field.name], _below(where, field.name))
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise _Wrong(f"{_below(where, field.name)} is missing")
    return kind(**found)


@cache
def _hints(kind: type) -> dict[str, Any]:
    return typing.get_type_hints(kind, include_extras=True)


def _one_of(options: tuple[Any, ...], value: Any, where: str) -> Any:
    if value is None and types.NoneType in options:
        return None
    problem = _Wrong()
    for option in options:
        if option is types.NoneType:
            continue
        try:
            return _read(option, value, where)
        except _Wrong as wrong:
            problem = wrong
    raise problem


def _tuple(arguments: tuple[Any, ...], value: Any, where: str) -> tuple[Any, ...]:
    if arguments[-1] is Ellipsis:
        _check(isinstance(value, list) and len(value) <= MOST_ENTRIES, where, f"a list of at most {MOST_ENTRIES}", value)
        arguments = arguments[:1] * len(value)
    _check(isinstance(value, list) and len(value) == len(arguments), where, f"a list of {len(arguments)}", value)
    return tuple(
        _read(kind, part, f"{where}[{index}]") for index, (kind, part) in enumerate(zip(arguments, value, strict=True))
    )


def _ranged(kind: type, limits: Range, value: Any, where: str) -> Any:
    number = _plain(kind, value, where)
    _check(limits.low <= number <= limits.high, where, f"from {limits.low:g} to {limits.high:g}", value)
    return number


def _plain(kind: type, value: Any, where: str) -> Any:
    if kind is str:
        _check(isinstance(value, str) and len(value) <= MOST_CHARACTERS, where, "a text that is not too long", value)
    elif kind is bool:
        _check(isinstance(value, bool), where, "true or false", value)
    elif kind is int:
        _check(isinstance(value, int) and not isinstance(value, bool), where, "a whole number", value)
    elif kind is float:
        return _number(value, where)
    else:
        raise TypeError(f"{where} has the type {kind}, which cannot be read from JSON")
    return value


def _number(value: Any, where: str) -> float:
    _check(isinstance(value, int | float) and not isinstance(value, bool), where, "a number", value)
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    _check(math.isfinite(number), where, "a finite number", value)
    return number


def _free(value: Any, where: str) -> Any:
    try:
        size = len(json.dumps(value, allow_nan=False))
    except (ValueError, RecursionError):
        size = MOST_CHARACTERS + 1
    _check(size <= MOST_CHARACTERS, where, "JSON without NaN that is not too long", value)
    return value


def _check(holds: bool, where: str, wanted: str, value: Any) -> None:
    if not holds:
        raise _Wrong(f"{where or 'the whole'} must be {wanted}, not {reprlib.repr(value)}")


def _below(where: str, name: str) -> str:
    return f"{where}.{name[:40]}" if where else name[:40]
