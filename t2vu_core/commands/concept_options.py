"""Options that say what to erase and what must stay, shared by the commands that train and by `t2vu plan`."""

from __future__ import annotations

import argparse
from pathlib import Path

from t2vu_core.commands.options import read_prompts
from t2vu_core.errors import UserError
from t2vu_core.prompts.kinds import ASKED_KINDS, OLD_KINDS
from t2vu_core.prompts.request import ConceptRequest

_IF_EMPTY = {
    "of": "--of is empty: leave it out, or say what the attribute belongs to.",
    "instead": '--instead is empty: leave it out for what the kind suggests, or write "nothing".',
}


def add_concept(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """`--concept` and everything about it."""
    parser.add_argument("--concept", required=required, action="append", metavar="C",
                        help='what to erase, in the words of a prompt: "ghost", "in noir style"; repeatable')  # fmt: skip
    parser.add_argument("--kind", choices=(*ASKED_KINDS, *OLD_KINDS), default="auto", metavar="K",
                        help=f"what the concept is: {', '.join(ASKED_KINDS)} (default: %(default)s, by its words)")  # fmt: skip
    parser.add_argument("--of", metavar="W", help='what an attribute belongs to: "a shirt" for "logo"')
    parser.add_argument("--instead", metavar="W",
                        help='what stands in its place: "a robot" (default: what its kind suggests)')  # fmt: skip
    parser.add_argument("--neighbours", metavar="FILE",
                        help="what lies near the concept and must stay, one per line (default: a shipped table)")  # fmt: skip
    parser.add_argument("--synonym", action="append", default=[], metavar="S",
                        help="another name of the concept, which is erased too; repeatable")  # fmt: skip
    parser.add_argument("--concept-prompts", metavar="FILE", help="prompts that name the concept, one per line")
    parser.add_argument("--preserve-prompts", metavar="FILE", help="prompts that must keep working, one per line")
    parser.set_defaults(language_model=None)


def request_of(options: argparse.Namespace) -> ConceptRequest:
    """What these options ask to have erased. Raises UserError for an option whose words are empty."""
    for option, problem in _IF_EMPTY.items():
        words = getattr(options, option)
        if words is not None and not words.strip():
            raise UserError(problem)
    return ConceptRequest(
        options.concept,
        synonyms=options.synonym,
        concept_prompts=tuple(read_prompts(options.concept_prompts)),
        preserve_prompts=tuple(read_prompts(options.preserve_prompts)),
        language_model=Path(options.language_model) if options.language_model else None,
        kind=options.kind,
        attribute_of=options.of,
        replacement=options.instead,
        neighbours=tuple(read_prompts(options.neighbours)),
    )
