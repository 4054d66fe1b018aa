"""Errors that users see: one sentence that says what is wrong and what to do."""

from __future__ import annotations

import contextlib
import re
import unicodedata
from collections.abc import Iterator

PANIC = "PanicException"
"""What a panic in compiled Rust code (tokenizers, safetensors) raises. It is not an Exception, and no module exports it."""


class UserError(ValueError):
    """Invalid input. The command line prints the message and exits with code 2; a node shows it."""


class NotFinite(UserError):
    """A computation gave NaN or inf."""


class Cancelled(Exception):
    """The user cancelled; this is not a failure."""


def escaped(text: str, *, keep: str = "") -> str:
    """The text with control characters as escapes, except those in `keep`: text from a file must not steer a terminal."""
    return "".join(letter if letter in keep or not _steers(letter) else ascii(letter)[1:-1] for letter in text)


def _steers(letter: str) -> bool:
    return unicodedata.category(letter) in ("Cc", "Cs") or letter in DIRECTIONS


DIRECTIONS = "\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
"""Line ends and marks that reorder the text after them."""


def check_text(text: str, what: str) -> None:
    """Raise UserError for half of a character pair in a text: no tokenizer and no file takes it."""
    if has_surrogate(text):
        raise UserError(f"{what} {text!r} has half of a character pair standing alone; type the text again.")


def has_surrogate(text: str) -> bool:
    """Whether half of a character pair stands alone in the text."""
    return any(unicodedata.category(letter) == "Cs" for letter in text)


def first_line(error: BaseException) -> str:
    """The first line of another library's error message, or the whole message if its first line ends with a colon.

    Sentences that advise to switch a protection off are left out. The name of the error's class if nothing remains.
    """
    lines = [line.strip() for line in str(error).strip().splitlines()]
    text = " ".join(filter(None, lines)) if lines and lines[0].endswith(":") else next(iter(lines), "")
    return without_unsafe_advice(text) or type(error).__name__


def without_unsafe_advice(text: str) -> str:
    """The text without its sentences about settings that let a file run code."""
    return " ".join(sentence for sentence in _SENTENCE_END.split(text) if not _UNSAFE.search(sentence))


_SENTENCE_END = re.compile(r"(?<=[.!?;])\s+")
_UNSAFE = re.compile(
    r"trust_remote|weights_only|use_safetensors|safe_serialization|allow_pickle|safe_globals|set_int_max_str_digits", re.I
)


def shortened(text: str, most: int = 2000) -> str:
    """The text without its middle if it is longer than `most` characters: a file may hold names of any length."""
    return text if len(text) <= most else f"{text[: most // 2]} ... {text[-most // 2 :]}"


@contextlib.contextmanager
def panics_refused() -> Iterator[None]:
    """A panic of a library in this block becomes a UserError: nothing above would catch it. Can be used as a decorator."""
    try:
        yield
    except BaseException as error:
        if type(error).__name__ != PANIC:
            raise
        raise UserError(
            f"A library failed on this text or on the files of the model ({first_line(error)}). "
            "Change the text, or download the files again."
        ) from error


LIBRARIES = ("diffusers", "transformers", "tokenizers", "torch")


def raised_by(error: BaseException, *packages: str) -> bool:
    """Whether code of one of these packages raised it. If a library did, what it was given or the model's files are wrong."""
    trace, module = error.__traceback__, ""
    while trace is not None:
        module, trace = str(trace.tb_frame.f_globals.get("__name__", "")), trace.tb_next
    return any(module == package or module.startswith(f"{package}.") for package in packages)


@contextlib.contextmanager
def reading(failure: str, advice: str = "") -> Iterator[None]:
    """Whatever a library raises about a user's file in this block becomes a UserError: `failure`, the reason, `advice`."""
    try:
        with panics_refused():
            yield
    except (UserError, Cancelled):
        raise
    except Exception as error:
        # ComfyUI logs the whole chain of errors.
        cause = None if _UNSAFE.search(str(error)) else error
        reason = first_line(error)
        raise UserError(f"{failure}: {reason.rstrip('.') if advice else reason}{advice}") from cause
