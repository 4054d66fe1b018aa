"""Prompts and neighbours from a local language model, the prompts in the style of the expansion tools that people use.

The model is a transformers folder, chat or plain, safetensors only; nothing is downloaded and no code of the folder runs.
It is loaded, used, and freed before anything else needs the memory. T2VUnlearning (arXiv 2505.17550) prompts a chat model
in the same way: a few examples, sampling, and again until the answer names the concept.
"""

from __future__ import annotations

import gc
import logging
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from packaging.version import Version
from transformers import AutoModelForCausalLM, AutoTokenizer

from t2vu_core.errors import UserError, reading
from t2vu_core.mentions import says
from t2vu_core.model_folders import LOCAL, folder_problem
from t2vu_core.model_limits import check_model_folder
from t2vu_core.prompts import asked_neighbours
from t2vu_core.prompts.concept import Concept
from t2vu_core.prompts.fitting import same_concept
from t2vu_core.prompts.grammar import short_prompt
from t2vu_core.prompts.written import Written
from t2vu_core.quiet import quiet_libraries

log = logging.getLogger(__name__)

INSTRUCTION = (
    "You expand short prompts for a text-to-video model. Answer with one paragraph of two to four sentences that "
    "describes the same video with its subject, place, light and camera. Use the short prompt's words for the subject "
    "and the style. Answer with the paragraph alone."
)
EXAMPLES = (
    (
        "a lighthouse in a storm",
        "A lighthouse stands on a black rock while waves break over it. Rain sweeps across the picture, and the beam "
        "turns slowly through the dark clouds. The camera looks up from the water and sways with the sea.",
    ),
    (
        "two children on a snowy path, in watercolor style",
        "Two children walk hand in hand along a snowy path, in watercolor style. Pale blue shadows run into the white of "
        "the paper, and the bare trees are drawn with a few wet strokes. The camera follows them at a distance.",
    ),
)
BATCH = 4
ROUNDS = 4
MAX_NEW_TOKENS = 160
MIN_WORDS = 8
DTYPE = "dtype" if Version(transformers.__version__) >= Version("4.56") else "torch_dtype"
"""What transformers calls the precision of a model's weights."""
SAMPLING = {"do_sample": True, "temperature": 0.9, "top_p": 0.95}

OnStep = Callable[[int, int], None]
"""Called with the number of prompts written so far and the number wanted."""


def write_prompts(
    folder: Path,
    concepts: Sequence[Concept],
    *,
    count: int,
    seed: int,
    device: torch.device,
    neighbours: bool = False,
    on_step: OnStep | None = None,
) -> dict[str, Written]:
    """By concept, up to `count` different prompts that contain one of its names, and with `neighbours` what lies near it.

    The same seed gives the same prompts on one device. Answers that do not contain the requested name are requested again,
    a few times. `on_step(done, count)` is called for the progress with each concept; an exception from it stops the
    writing. Raises UserError if the folder holds no language model, or if no answer contains a name of a concept.
    """
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), quiet_libraries():
            writer = _Writer(folder, partial(_answers, *_open(folder, device)), count, neighbours, on_step)
            # The model is opened once; the prompts of one concept do not depend on the others.
            return {concept.title: writer.write(concept, seed) for concept in concepts}
    finally:
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


@dataclass(frozen=True)
class _Writer:
    """An opened language model, and how many prompts it writes for each concept."""

    folder: Path
    answers: Callable[[_Task, Sequence[str]], list[str]]
    count: int
    neighbours: bool
    on_step: OnStep | None

    def write(self, concept: Concept, seed: int) -> Written:
        """What is wanted for one concept; the same seed gives the same."""
        torch.manual_seed(seed)
        prompts = tuple(self._prompts(concept, seed))
        return Written(prompts, tuple(self._neighbours(concept)) if self.neighbours else ())

    def _prompts(self, concept: Concept, seed: int) -> list[str]:
        """Different prompts with one of the names, half of them requested with the first."""
        rng, found = random.Random(seed), dict[str, None]()
        tries = ROUNDS * -(-self.count // BATCH)
        for _ in range(tries):
            found.update(dict.fromkeys(self._usable(concept, rng)))
            if self.on_step is not None:
                self.on_step(min(len(found), self.count), self.count)
            if len(found) >= self.count:
                break
        if not found:
            raise UserError(
                f"The language model in {self.folder} wrote no prompt that contains {concept.names[0]!r} in "
                f"{BATCH * tries} answers. Use another one, or give prompts of your own."
            )
        if len(found) < self.count:
            log.info("%s wrote %d of %d prompts; the others come from templates", self.folder, len(found), self.count)
        return list(found)[: self.count]

    def _neighbours(self, concept: Concept) -> list[str]:
        """What a batch of answers says lies near the concept."""
        asked = [asked_neighbours.question(concept.names[0], concept.kind)] * BATCH
        erased = (*concept.names, *same_concept(concept.title))
        found = asked_neighbours.neighbours_in(self.answers(NEIGHBOURS, asked), erased)
        if len(found) < asked_neighbours.FEWEST:
            log.info("%s named %d neighbours of %r; the shipped table is used", self.folder, len(found), concept.title)
            return []
        return found

    def _usable(self, concept: Concept, rng: random.Random) -> list[str]:
        """The answers of one batch that contain their name and are long enough."""
        names = concept.names
        asked = [names[0] if index % 2 == 0 else rng.choice(names) for index in range(BATCH)]
        answers = self.answers(PROMPTS, [short_prompt(concept.wording(name), rng) for name in asked])
        named = [text for name, text in zip(asked, answers, strict=True) if says(text, [name])]
        return [text for text in named if len(text.split()) >= MIN_WORDS]


def _open(folder: Path, device: torch.device) -> tuple[Any, Any]:
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} is not a folder with a language model: it has no config.json.")
    failure = f"The language model in {folder} cannot be loaded"
    check_model_folder(folder, failure)
    with reading(failure):
        problem = folder_problem(folder)
        if problem is not None:
            raise UserError(f"{failure}: {problem}.")
        tokenizer = AutoTokenizer.from_pretrained(folder, **LOCAL, padding_side="left")
        dtype = torch.float32 if device.type == "cpu" else "auto"
        model = AutoModelForCausalLM.from_pretrained(folder, **LOCAL, use_safetensors=True, **{DTYPE: dtype})
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer, model.to(device).eval()


@torch.no_grad()
def _answers(tokenizer: Any, model: Any, task: _Task, requests: Sequence[str]) -> list[str]:
    texts = [_conversation(tokenizer, task, request) for request in requests]
    # A chat template adds the start-of-text token itself.
    plain = tokenizer.chat_template is None
    inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=plain, return_token_type_ids=False)
    tokens = model.generate(
        **inputs.to(model.device), **SAMPLING, max_new_tokens=MAX_NEW_TOKENS, pad_token_id=tokenizer.pad_token_id
    )
    answers = tokenizer.batch_decode(tokens[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)
    return [task.read(answer) for answer in answers]


def _conversation(tokenizer: Any, task: _Task, request: str) -> str:
    """Instruction, examples and request: in the model's chat template, or as a text to continue."""
    given, wanted = task.labels
    if tokenizer.chat_template is None:
        examples = "".join(f"{given}: {short}\n{wanted}: {long}\n\n" for short, long in task.examples)
        return f"{task.instruction}\n\n{examples}{given}: {request}\n{wanted}:"
    turns = [(f"{task.instruction}\n\n{task.examples[0][0]}", task.examples[0][1]), *task.examples[1:]]
    messages = [
        message
        for short, long in turns
        for message in ({"role": "user", "content": short}, {"role": "assistant", "content": long})
    ]
    messages.append({"role": "user", "content": request})
    text: str = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    return text


def _paragraph(answer: str) -> str:
    """The first paragraph, without the quotes and labels that models add."""
    lines = [line.strip() for line in answer.strip().splitlines()]
    text = " ".join(lines[: lines.index("")] if "" in lines else lines)
    text = text.split("Short prompt:")[0].removeprefix("Long prompt:").strip(" \"'*")
    # A paragraph that reached the token limit ends in the middle of a sentence.
    end = max(text.rfind(mark) for mark in ".!?")
    return " ".join(text[: end + 1].split()) if end > 0 else " ".join(text.split())


def _list(answer: str) -> str:
    """The answer up to where a model without a chat template goes on with a subject of its own."""
    return answer.split("Subject:")[0].removeprefix("Neighbours:").strip()


@dataclass(frozen=True)
class _Task:
    """What the language model is asked to do, and how its answers are read."""

    instruction: str
    examples: Sequence[tuple[str, str]]
    labels: tuple[str, str]
    read: Callable[[str], str]


PROMPTS = _Task(INSTRUCTION, EXAMPLES, ("Short prompt", "Long prompt"), _paragraph)
NEIGHBOURS = _Task(asked_neighbours.INSTRUCTION, asked_neighbours.EXAMPLES, ("Subject", "Neighbours"), _list)
