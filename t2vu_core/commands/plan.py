"""`t2vu plan`: what a training run will take and do, before a weight is loaded. Each part is a module of its own.

A part has MARK (a key of its result), add_arguments(parser), asked(options), run(options) and show(result). Several parts
may be asked for at once: their results are merged into one object.
"""

from __future__ import annotations

import argparse
import dataclasses
from typing import Any, Protocol, cast

from t2vu_core.commands import plan_concept, plan_memory
from t2vu_core.errors import UserError
from t2vu_core.recipes import PRESETS, VelocityRecipe

HELP = "show what a training run will take, before anything is computed"


class Part(Protocol):
    """One part of the plan: a module of `t2vu_core.commands`."""

    MARK: str
    """A key that only this part's result has."""
    FLAG: str
    """The option that asks for it, as a user writes it."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None: ...
    def asked(self, options: argparse.Namespace) -> bool: ...
    def run(self, options: argparse.Namespace) -> dict[str, Any]: ...
    def show(self, result: dict[str, Any]) -> str: ...


PARTS: tuple[Part, ...] = (cast(Part, plan_concept), cast(Part, plan_memory))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What all parts read, and each part's own options."""
    parser.add_argument("--model", metavar="M", help="a bundled model (see `t2vu models`) or a diffusers folder")
    parser.add_argument("--preset", choices=PRESETS, default="balanced",
                        help="how long and how carefully to train (default: %(default)s)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="seed of the training (default: %(default)s)")
    parser.add_argument(
        "--method-option", action="append", default=[], metavar="KEY=VALUE",
        help=f"change a setting of the recipe; repeatable. Settings: "
        f"{', '.join(option.name for option in dataclasses.fields(VelocityRecipe))}",
    )  # fmt: skip
    for part in PARTS:
        part.add_arguments(parser)


def run(options: argparse.Namespace) -> dict[str, Any]:
    """The results of all parts that are asked for, as one object."""
    asked = [part for part in PARTS if part.asked(options)]
    if not asked:
        raise UserError(f"Say what to plan: {' or '.join(part.FLAG for part in PARTS)}.")
    return {key: value for part in asked for key, value in part.run(options).items()}


def show(result: dict[str, Any]) -> str:
    """The parts one after another."""
    return "\n\n".join(part.show(result) for part in PARTS if part.MARK in result)
