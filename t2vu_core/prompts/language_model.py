"""Prompts that a language model on this machine writes: the register that people's own prompt tools produce.

A transformers folder, chat or plain, safetensors only; nothing is downloaded and no code of the folder runs. It is
loaded, asked, and freed before anything else needs the memory. T2VUnlearning (arXiv 2505.17550) asks a chat model in
the same way: few examples, sampling, and again until the answer says the concept.
"""

from __future__ import annotations

import gc
import logging
import random
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import transformers
from packaging.version import Version
from transformers import AutoModelForCausalLM, AutoTokenizer

from t2vu_core.errors import UserError, first_line
from t2vu_core.pipelines import LOAD_ERRORS
from t2vu_core.prompts.grammar import short_prompt
from t2vu_core.prompts.pairs import ConceptKind, concept_kind, says
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


def write_prompts(
    folder: Path,
    names: Mapping[str, Sequence[str]],
    *,
    count: int,
    seed: int,
    device: torch.device,
    on_step: Callable[[int, int], None] | None = None,
) -> dict[str, list[str]]:
    """By concept, up to `count` different prompts that say one of its names; the same seed gives the same on one device.

    Every answer that does not say the name it was asked for is asked for again, a few times. `on_step(done, count)`
    sees the progress with each concept; what it raises stops the writing. Raises UserError for a folder that holds no
    language model, and for a model none of whose answers says one of the concepts.
    """
    try:
        with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []), quiet_libraries():
            return _written(folder, names, count, seed, device, on_step)
    finally:
        gc.collect()
        if device.type == "cuda":
            torch.cuda.empty_cache()


def _written(
    folder: Path,
    names: Mapping[str, Sequence[str]],
    count: int,
    seed: int,
    device: torch.device,
    on_step: Callable[[int, int], None] | None,
) -> dict[str, list[str]]:
    """The model is opened once for all concepts; what one of them gets does not depend on the others."""
    ask = partial(_answers, *_open(folder, device))
    written = {}
    for concept, own in names.items():
        torch.manual_seed(seed)
        written[concept] = _of_one(ask, folder, own, concept_kind(concept), count, random.Random(seed), on_step)
    return written


def _of_one(
    ask: Callable[[Sequence[str]], list[str]],
    folder: Path,
    names: Sequence[str],
    kind: ConceptKind,
    count: int,
    rng: random.Random,
    on_step: Callable[[int, int], None] | None,
) -> list[str]:
    found: dict[str, None] = {}
    tries = ROUNDS * -(-count // BATCH)
    for _ in range(tries):
        asked = [names[0] if index % 2 == 0 else rng.choice(names) for index in range(BATCH)]
        answers = ask([short_prompt(name, kind, rng) for name in asked])
        usable = (text for name, text in zip(asked, answers, strict=True) if says(text, [name]))
        found.update(dict.fromkeys(text for text in usable if len(text.split()) >= MIN_WORDS))
        if on_step is not None:
            on_step(min(len(found), count), count)
        if len(found) >= count:
            break
    if not found:
        raise UserError(
            f"The language model in {folder} wrote no prompt that says {names[0]!r} in {BATCH * tries} answers. "
            "Use another one, or give prompts of your own."
        )
    if len(found) < count:
        log.info("%s wrote %d of %d prompts; the others come from templates", folder, len(found), count)
    return list(found)[:count]


def _open(folder: Path, device: torch.device) -> tuple[Any, Any]:
    if not (folder / "config.json").is_file():
        raise UserError(f"{folder} is not a folder with a language model: it has no config.json.")
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, padding_side="left")
        dtype = torch.float32 if device.type == "cpu" else "auto"
        model = AutoModelForCausalLM.from_pretrained(folder, local_files_only=True, use_safetensors=True, **{DTYPE: dtype})
    except (ImportError, *LOAD_ERRORS) as error:
        raise UserError(f"The language model in {folder} cannot be loaded: {first_line(error)}") from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer, model.to(device).eval()


@torch.no_grad()
def _answers(tokenizer: Any, model: Any, requests: Sequence[str]) -> list[str]:
    texts = [_conversation(tokenizer, request) for request in requests]
    # A chat template writes the markers of the text's start itself.
    plain = tokenizer.chat_template is None
    inputs = tokenizer(texts, return_tensors="pt", padding=True, add_special_tokens=plain, return_token_type_ids=False)
    tokens = model.generate(
        **inputs.to(model.device), **SAMPLING, max_new_tokens=MAX_NEW_TOKENS, pad_token_id=tokenizer.pad_token_id
    )
    answers = tokenizer.batch_decode(tokens[:, inputs.input_ids.shape[1] :], skip_special_tokens=True)
    return [_paragraph(answer) for answer in answers]


def _conversation(tokenizer: Any, request: str) -> str:
    """Instruction, examples and request: in the model's chat form, or as a text to be continued."""
    if tokenizer.chat_template is None:
        examples = "".join(f"Short prompt: {short}\nLong prompt: {long}\n\n" for short, long in EXAMPLES)
        return f"{INSTRUCTION}\n\n{examples}Short prompt: {request}\nLong prompt:"
    turns = [(f"{INSTRUCTION}\n\n{EXAMPLES[0][0]}", EXAMPLES[0][1]), *EXAMPLES[1:]]
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
    # A paragraph that ran into the limit ends in the middle of a sentence.
    end = max(text.rfind(mark) for mark in ".!?")
    return " ".join(text[: end + 1].split()) if end > 0 else " ".join(text.split())
