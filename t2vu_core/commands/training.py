"""What the two commands that train share: their arguments, what they check before hours of work, and what they say after."""

from __future__ import annotations

import argparse
import dataclasses
from dataclasses import dataclass
from pathlib import Path

from t2vu_core.commands.options import add_model, read_prompts
from t2vu_core.erasure import check_writable, safetensors_path
from t2vu_core.errors import UserError
from t2vu_core.formatting import parse_options
from t2vu_core.prompts.request import ConceptRequest
from t2vu_core.recipes import PRESETS, FewShotRecipe, VelocityRecipe

STOPPED = " It was stopped there; --log and --resume would go on."


@dataclass(frozen=True)
class TrainingFiles:
    """Where the erasure goes, where the state is kept, and the user's own prompts."""

    out: Path
    log_folder: Path | None
    concept_prompts: tuple[str, ...]
    preserve_prompts: tuple[str, ...]

    @classmethod
    def of(cls, options: argparse.Namespace) -> TrainingFiles:
        """Read and check; UserError for what cannot be read or written."""
        out = safetensors_path(options.out)
        check_writable(out)
        log_folder = _log_folder(options)
        return cls(out, log_folder, tuple(read_prompts(options.concept_prompts)), tuple(read_prompts(options.preserve_prompts)))

    def request(self, options: argparse.Namespace) -> ConceptRequest:
        """What the options and these files ask to have erased."""
        writer = getattr(options, "language_model", None)
        return ConceptRequest(
            options.concept, options.synonym, self.concept_prompts, self.preserve_prompts, Path(writer) if writer else None
        )


def add_training(parser: argparse.ArgumentParser, recipe: type[VelocityRecipe | FewShotRecipe], *, log: str) -> None:
    """Model, concept, output, recipe and prompts; `log` says what `--log` keeps."""
    add_model(parser)
    parser.add_argument("--concept", required=True, action="append", metavar="C",
                        help='what is to go, in words: "ghost", "in noir style"; may be given again')  # fmt: skip
    parser.add_argument("--out", required=True, metavar="F", help="the erasure file to write (.safetensors)")
    parser.add_argument("--preset", choices=PRESETS, default="balanced",
                        help="how long and how carefully to train (default: %(default)s)")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same erasure (default: %(default)s)")
    parser.add_argument("--synonym", action="append", default=[], help="another name of the concept; may be given again")
    parser.add_argument("--concept-prompts", metavar="FILE", help="prompts that say the concept, one a line")
    parser.add_argument("--preserve-prompts", metavar="FILE", help="prompts that must keep working, one a line")
    parser.add_argument("--log", metavar="DIR", help=log)
    parser.add_argument("--resume", action="store_true", help="go on with the state in --log")
    parser.add_argument(
        "--method-option", action="append", default=[], metavar="KEY=VALUE",
        help=f"change a setting of the recipe: {', '.join(option.name for option in dataclasses.fields(recipe))}",
    )  # fmt: skip


def settings_of(options: argparse.Namespace) -> dict[str, int | float | str]:
    """The recipe's settings that were asked for, `--method-option` before `--seed`."""
    return {"seed": options.seed, **parse_options(options.method_option)}


def told(first: str, warning: str | None) -> str:
    """What was written; a loss is no proof, so it says what to do next."""
    lines = [first, "It is not measured yet: `t2vu evaluate` says what is gone and what was kept."]
    return "\n".join([*lines, *([f"Warning: {warning}"] if warning else [])])


def _log_folder(options: argparse.Namespace) -> Path | None:
    """The folder of `--log`, None without one; UserError where `--resume` and what lies there do not agree."""
    if options.log is None:
        if options.resume:
            raise UserError("--resume needs --log DIR, the folder that keeps the state.")
        return None
    state = Path(options.log) / "state.safetensors"
    if options.resume and not state.is_file():
        raise UserError(f"There is no state to resume in {options.log}.")
    if state.is_file() and not options.resume:
        raise UserError(f"{options.log} holds the state of a training; add --resume to go on, or name another folder.")
    return Path(options.log)
