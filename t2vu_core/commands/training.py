"""What the two commands that train share: options, checks before hours of work, and the closing message."""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from pathlib import Path

from t2vu_core.commands.concept_options import add_concept, request_of
from t2vu_core.commands.options import add_model
from t2vu_core.erasure import Erasure, check_writable, is_whole, safetensors_path
from t2vu_core.errors import UserError
from t2vu_core.formatting import parse_options
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.recipes import FewShotRecipe, VelocityRecipe


@dataclass(frozen=True)
class TrainingOrder:
    """What to erase, the file to write, and the folder for the state."""

    request: ConceptRequest
    out: Path
    log_folder: Path | None

    @classmethod
    def of(cls, options: argparse.Namespace) -> TrainingOrder:
        """The order in these options. Raises UserError for a file that cannot be read or written."""
        if options.out is None:
            raise UserError("Name the erasure file to write with --out.")
        out = safetensors_path(options.out)
        check_writable(out)
        return cls(request_of(options), out, _log_folder(options))

    def save(self, erasure: Erasure) -> Path:
        """Write the erasure to `out`; a partial result does not replace a complete file and gets a number."""
        path, number = self.out, 2
        while erasure.partial and is_whole(path):
            path, number = self.out.with_stem(f"{self.out.stem}_{number}"), number + 1
        return erasure.save(path)


def add_training(parser: argparse.ArgumentParser, recipe: type[VelocityRecipe | FewShotRecipe], *, log: str) -> None:
    """Model, concept, output, recipe and prompts; `log` is the help text of `--log`."""
    add_model(parser)
    add_concept(parser)
    parser.add_argument("--out", metavar="F", help="the erasure file to write (.safetensors)")
    parser.add_argument("--preset", choices=recipe.presets(), default="balanced",
                        help="how long and how carefully to train (default: %(default)s)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same erasure (default: %(default)s)")
    parser.add_argument("--log", metavar="DIR", help=log)
    parser.add_argument("--resume", action="store_true", help="continue from the state in --log")
    parser.add_argument(
        "--method-option", action="append", default=[], metavar="KEY=VALUE",
        help=f"change a setting of the recipe; repeatable. Settings: "
        f"{', '.join(option.name for option in dataclasses.fields(recipe))}",
    )  # fmt: skip


def settings_of(options: argparse.Namespace) -> dict[str, int | float | str]:
    """The settings of `--seed` and `--method-option`; the latter win."""
    return {"seed": options.seed, **parse_options(options.method_option)}


def closing_message(written: str, *, stopped: bool, log: str | None, warning: str | None) -> str:
    """What was written, how to continue a stopped training, and that the erasure is not measured yet."""
    further = f"run the same command with --resume to continue from {log}" if log else "without --log it cannot be continued"
    resume = f" Training was stopped early: {further}." if stopped else ""
    lines = [f"{written}{resume}", "It is not measured yet: run `t2vu evaluate` to see what was erased and what was kept."]
    return "\n".join([*lines, *([f"Warning: {warning}"] if warning else [])])


def _log_folder(options: argparse.Namespace) -> Path | None:
    """The folder of `--log`, or None. Raises UserError if it cannot be written or does not fit `--resume`."""
    if options.log is None:
        if options.resume:
            raise UserError("--resume needs --log DIR, the folder with the state.")
        return None
    if Path(options.log).exists() and not Path(options.log).is_dir():
        raise UserError(f"{options.log} is not a folder; --log takes the folder for the state.")
    state = Path(options.log) / "state.safetensors"
    check_writable(state)
    if options.resume and not state.is_file():
        raise UserError(f"There is no state to resume in {options.log}.")
    if state.is_file() and not options.resume:
        raise UserError(
            f"{options.log} has the state of an earlier training run: add --resume to continue it, or choose another folder."
        )
    return Path(options.log)
