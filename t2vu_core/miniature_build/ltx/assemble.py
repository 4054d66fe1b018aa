"""The files that come back from a GPU run, put together as the model's folder: `assemble(files, target)`.

The files hold weights and the tokenizer only; the configurations are those of the code that trained them.
"""

from __future__ import annotations

from pathlib import Path

import torch
from diffusers import LTXPipeline
from safetensors.torch import load_file
from torch import nn
from transformers import PreTrainedTokenizerFast

from t2vu_core.miniature_build.ltx.architecture import (
    MAX_TEXT_TOKENS,
    make_scheduler,
    make_text_encoder,
    make_transformer,
    make_vae,
)
from t2vu_core.miniature_build.stages import forget_places, name_tokenizer, new_folder


def assemble(files: Path, target: Path) -> None:
    """Write the pipeline in half precision to `target`, from three .safetensors files (named below) and tokenizer.json."""
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(files / "tokenizer.json"),
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=MAX_TEXT_TOKENS,
    )
    parts: dict[str, nn.Module] = {
        "transformer": make_transformer(),
        "vae": make_vae(),
        "text_encoder": make_text_encoder(len(tokenizer)),
    }
    for name, module in parts.items():
        _load(module, files / f"{name}.safetensors")
    pipeline = LTXPipeline(scheduler=make_scheduler(), tokenizer=tokenizer, **parts).to(dtype=torch.float16)
    with new_folder(target) as folder:
        pipeline.save_pretrained(folder)
        forget_places(folder)
        name_tokenizer(folder)


def _load(module: nn.Module, file: Path) -> None:
    """Load weights; tied ones may be there under one of their names only."""
    missing, unexpected = module.load_state_dict(load_file(str(file)), strict=False)
    tied = {"encoder.embed_tokens.weight", "shared.weight"}
    if unexpected or set(missing) >= tied or set(missing) - tied:
        raise ValueError(f"{file.name} does not fit: missing {sorted(missing)}, unexpected {sorted(unexpected)}.")
