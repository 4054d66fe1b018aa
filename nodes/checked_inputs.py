"""Checks before a node computes: ComfyUI lets a value through where a link belongs, and text that no library takes."""

import functools
import typing
from collections.abc import Mapping, Sequence
from typing import Any

from comfy_api.v0_0_2 import io

from t2vu_core import Erasure, T2VModel, UserError
from t2vu_core.errors import check_text, panics_refused

from .declare import Eraser, Model, UnlearnedEncoder

OWN_TYPES = {Model.io_type: T2VModel, Eraser.io_type: Erasure, UnlearnedEncoder.io_type: Erasure}
"""What a link of the pack's own types carries."""
LINKS = {*OWN_TYPES, "MODEL", "CLIP", "VAE", "LATENT", "CONDITIONING", "IMAGE", "MASK", "VIDEO"}
"""Types of inputs that only a link can give a value."""
JSON_VALUES = (str, int, float, bool, dict, list)
"""What a graph can hold in place of a link."""
NESTED = {"LATENT": dict, "CONDITIONING": list}
"""What a link of ComfyUI's types carries if that is a JSON value too."""


def with_checked_inputs(node: type[io.ComfyNode]) -> type[io.ComfyNode]:
    """The node; its `execute` refuses, in a sentence, what is no value for an input. A library's panic is a sentence too."""
    execute = node.execute.__func__
    kinds = {each.id: str(each.get_io_type()).split(",") for each in node.define_schema().inputs}
    links = {name: kinds[name] for name in kinds if LINKS.issuperset(kinds[name])}
    may_be_empty = {name for name, hint in typing.get_type_hints(execute).items() if type(None) in typing.get_args(hint)}

    @functools.wraps(execute)
    def checked(cls: type[io.ComfyNode], *args: Any, **inputs: Any) -> io.NodeOutput:
        _check_texts(inputs)
        for name, kinds in links.items():
            if name in inputs and not (inputs[name] is None and name in may_be_empty):
                _check_link(name, kinds, inputs[name])
        return panics_refused()(execute)(cls, *args, **inputs)

    node.execute = classmethod(checked)
    return node


def _check_texts(inputs: Mapping[str, Any]) -> None:
    for name, value in inputs.items():
        if isinstance(value, str):
            check_text(value, f"The input {name}:")


def _check_link(name: str, kinds: Sequence[str], value: Any) -> None:
    wanted = tuple({OWN_TYPES[kind] for kind in kinds if kind in OWN_TYPES})
    nested = tuple(NESTED[kind] for kind in kinds if kind in NESTED)
    if value is None:
        raise UserError(f"The input {name} is empty: no link leads to it, or the node before it has no result.")
    is_json = isinstance(value, JSON_VALUES) and not (isinstance(value, nested) and len(value))
    if is_json or (wanted and not isinstance(value, wanted)):
        raise UserError(f"The input {name} needs a link from an output of type {' or '.join(kinds)}, not {repr(value)[:60]}.")
