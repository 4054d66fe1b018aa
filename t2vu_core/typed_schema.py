"""The JSON Schema (draft 2020-12) of a dataclass that `typed_json` reads and writes."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Union

from t2vu_core.typed_json import Range

DRAFT = "https://json-schema.org/draft/2020-12/schema"
PLAIN = {str: "string", bool: "boolean", int: "integer", float: "number", types.NoneType: "null"}


def json_schema(kind: type, title: str) -> dict[str, Any]:
    """The schema of a dataclass; dataclasses within it are definitions. Keys that have no field are allowed, as in reading."""
    definitions: dict[str, Any] = {}
    _object(kind, definitions)
    own = definitions.pop(kind.__name__)
    return {"$schema": DRAFT, "title": title, **own, "$defs": dict(sorted(definitions.items()))}


def _object(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    if kind.__name__ not in definitions:
        definitions[kind.__name__] = {}
        hints = typing.get_type_hints(kind, include_extras=True)
        fields = dataclasses.fields(kind)
        required = [
            field.name
            for field in fields
            if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        ]
        definitions[kind.__name__] = {
            "type": "object",
            **({"description": kind.__doc__.strip().splitlines()[0]} if kind.__doc__ else {}),
            "properties": {field.name: _schema(hints[field.name], definitions) for field in fields},
            "required": required,
        }
    return {"$ref": f"#/$defs/{kind.__name__}"}


def _schema(kind: Any, definitions: dict[str, Any]) -> dict[str, Any]:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if dataclasses.is_dataclass(kind):
        return _object(kind, definitions)
    if origin is Annotated:
        limits = next(each for each in arguments[1:] if isinstance(each, Range))
        return {**_schema(arguments[0], definitions), "minimum": limits.low, "maximum": limits.high}
    if origin in (Union, types.UnionType):
        return {"anyOf": [_schema(each, definitions) for each in arguments]}
    if origin is tuple:
        return _tuple(arguments, definitions)
    if isinstance(origin, type) and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _schema(arguments[1], definitions)}
    if origin is Literal:
        return {"enum": list(arguments)}
    return {} if kind is Any else {"type": PLAIN[kind]}


def _tuple(arguments: tuple[Any, ...], definitions: dict[str, Any]) -> dict[str, Any]:
    if arguments[-1] is Ellipsis:
        return {"type": "array", "items": _schema(arguments[0], definitions)}
    items = [_schema(each, definitions) for each in arguments]
    return {"type": "array", "prefixItems": items, "minItems": len(items), "maxItems": len(items)}
