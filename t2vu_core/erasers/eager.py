"""Compiled code and forward hooks: while erasers are attached, everything computes uncompiled."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

import torch

from t2vu_core.errors import UserError


@contextlib.contextmanager
def uncompiled() -> Iterator[None]:
    """Inside this context, modules that `torch.compile` or `module.compile()` has compiled compute without their code.

    torch does not guard compiled code on hooks: a module that ran before a hook was added ignores the hook. Raises
    UserError if something has been compiled and torch is too old to switch that off.
    """
    if "torch._dynamo" not in sys.modules:  # then nothing in this process is compiled
        yield
    elif hasattr(torch.compiler, "set_stance"):
        with torch.compiler.set_stance("force_eager"):
            yield
    elif _frames_compiled():
        raise UserError(
            f"A model in this process was compiled with torch.compile, and torch {torch.__version__} cannot switch that off: "
            "the erasure might have no effect. Install torch 2.6 or newer, or run without torch.compile."
        )
    else:
        yield


def _frames_compiled() -> int:
    return int(sys.modules["torch._dynamo"].utils.counters["frames"]["ok"])
