"""The command line `t2vu`. Exit codes: 0 done, 2 bad input (one sentence on stderr), 1 a fault of t2vu, 130 interrupted."""

from __future__ import annotations

import argparse
import importlib
import io
import json
import logging
import os
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from t2vu_core.errors import UserError, escaped, panics_refused, shortened, without_unsafe_advice

COMMANDS = {
    "models": "models",
    "plan": "plan",
    "sample": "sample",
    "erase": "erase",
    "unlearn-encoder": "unlearn_encoder",
    "inspect": "inspect_",
    "miniature": "miniature",
    "evaluate": "evaluate",
    "verify": "verify",
    "judge": "judge",
    "export": "export",
    "import": "import_",
}
"""Command name -> module in `t2vu_core.commands` with HELP, add_arguments, run, show and perhaps exit_code."""
SPINS = "10000"
"""How often a thread of OpenMP looks for work before it sleeps; the default is for cores that nothing else uses."""
IN_RESULT = "t2vu_core.training.outcome"
"""A logger whose warnings are part of the command's result."""


class _Parser(argparse.ArgumentParser):
    """Reports wrong arguments in one sentence, like every other error."""

    def error(self, message: str) -> NoReturn:
        print(f"t2vu: {_shown(message)}. See `{self.prog} --help`.", file=sys.stderr)
        raise SystemExit(2)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns its exit code."""
    _show_every_character()
    _sleep_between_operations()
    try:
        return _run(_parser().parse_args(arguments))
    except KeyboardInterrupt:
        print("t2vu: stopped.", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace) -> int:
    _log(options.verbose)
    _quiet_libraries()
    command = options.command_module
    from t2vu_core.threads import free_threads

    try:
        with panics_refused(), free_threads():
            result = command.run(options)
    except UserError as error:
        print(f"t2vu: {_shown(str(error))}", file=sys.stderr)
        return 2
    except Exception as error:
        if isinstance(error, OSError) and _of_the_user(error.filename):
            print(f"t2vu: {_shown(f'{error.filename}: {error.strerror}')}.", file=sys.stderr)
            return 2
        if options.verbose:
            raise
        print(f"t2vu: failed: {escaped(_first_line(error))} (a fault of t2vu; {_write_log()})", file=sys.stderr)
        return 1
    if result is not None:
        print(json.dumps(result, indent=1) if options.json else escaped(command.show(result), keep="\n"))
    code: int = command.exit_code(options, result) if hasattr(command, "exit_code") else 0
    return code


def _shown(message: str) -> str:
    """The message for a terminal: without control characters, and cut where it quotes something endless."""
    return escaped(shortened(message))


def _of_the_user(file: object) -> bool:
    """Whether a file that could not be read or written is none of this package."""
    own = Path(__file__).resolve().parent
    return isinstance(file, str | os.PathLike) and not Path(os.path.abspath(file)).is_relative_to(own)


def _show_every_character() -> None:
    """Write what the encoding of a stream lacks as an escape, instead of failing."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _sleep_between_operations() -> None:
    """Let the threads of torch spin for microseconds, not for milliseconds, before they give up their core.

    libgomp reads this once, when torch is imported.
    """
    if "torch" not in sys.modules and "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def _write_log() -> str:
    """Write the traceback of the current exception to a file; returns where it is, in words."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="t2vu-", suffix=".log", encoding="utf-8", errors="backslashreplace", delete=False
        ) as log:
            traceback.print_exc(file=log)
    except OSError:
        return "run with --verbose for the traceback"
    return f"the traceback is in {log.name}"


class _Escaping(logging.Formatter):
    """Shows control characters in a message as escapes; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return escaped(super().formatMessage(record))


def _first_line(error: Exception) -> str:
    """The first line of an unexpected error, with the class name unless it is a RuntimeError or OSError with a message."""
    line = without_unsafe_advice((str(error).strip().splitlines() or [""])[0])
    return line if isinstance(error, RuntimeError | OSError) and line else f"{type(error).__name__} {line}".strip()


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="t2vu", description="Erase concepts from text-to-video models.")
    subparsers = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, module_name in COMMANDS.items():
        module = importlib.import_module(f"t2vu_core.commands.{module_name}")
        subparser = subparsers.add_parser(name, help=module.HELP, description=module.HELP)
        module.add_arguments(subparser)
        subparser.add_argument("--json", action="store_true", help="print the result as JSON")
        subparser.add_argument("--verbose", action="store_true", help="log progress and show tracebacks")
        subparser.set_defaults(command_module=module)
    return parser


def _log(verbose: bool) -> None:
    """Log to stderr: everything, or only this package's warnings that are not part of a command's result."""
    handler = logging.StreamHandler(sys.stderr)
    if not verbose:
        handler.addFilter(lambda record: record.name.startswith("t2vu_core.") and record.name != IN_RESULT)
    handler.setFormatter(_Escaping("%(asctime)s %(message)s" if verbose else "t2vu: %(message)s"))
    logging.basicConfig(level=logging.INFO if verbose else logging.WARNING, handlers=[handler])


def _quiet_libraries() -> None:
    """Turn off the libraries' loading bars and notes, which would hide our own messages."""
    import warnings

    import diffusers
    import transformers

    warnings.filterwarnings("ignore", category=FutureWarning)
    diffusers.utils.logging.set_verbosity_error()
    diffusers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()


if __name__ == "__main__":
    sys.exit(main())
