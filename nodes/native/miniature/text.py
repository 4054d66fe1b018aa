"""The miniatures' text encoders as ComfyUI's CLIP: its own T5 and CLIP classes, at their sizes, with their tokenizers."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import comfy.clip_model
import comfy.sd
import comfy.text_encoders.t5
import torch
from comfy.sd1_clip import SD1ClipModel, SD1Tokenizer, SDClipModel, SDTokenizer
from comfy.supported_models_base import ClipTarget
from safetensors.torch import load_file
from torch import Tensor
from transformers import PreTrainedTokenizerFast

NO_LIMIT = 99_999_999


class SmallT5(comfy.text_encoders.t5.T5):
    """ComfyUI's T5, whose table of positions has a fixed size, with the size of the config."""

    def __init__(self, config: dict[str, Any], dtype: Any, device: Any, operations: Any) -> None:
        super().__init__(config, dtype, device, operations)
        attention = self.encoder.block[0].layer[0].SelfAttention
        attention.relative_attention_num_buckets = config["relative_attention_num_buckets"]
        attention.relative_attention_max_distance = config["relative_attention_max_distance"]
        attention.relative_attention_bias = operations.Embedding(
            config["relative_attention_num_buckets"], config["num_heads"], device=device, dtype=dtype
        )


class SmallClip(comfy.clip_model.CLIPTextModel):
    """ComfyUI's CLIP text encoder, whose vocabulary has a fixed size, with the size of the config."""

    def __init__(self, config: dict[str, Any], dtype: Any, device: Any, operations: Any) -> None:
        super().__init__(config, dtype, device, operations)
        table = operations.Embedding(config["vocab_size"], config["hidden_size"], device=device, dtype=dtype)
        self.set_input_embeddings(table)


def t5_clip(folder: Path, dtype: torch.dtype, *, length: int, masks: bool) -> Any:
    """A miniature's T5. Prompts are padded to `length`, which the encoder sees; `masks` tells the denoiser what is padding."""
    config = _config(folder) | {"dense_act_fn": "gelu_pytorch_tanh"}
    weights = load_file(str(folder / "text_encoder" / "model.safetensors"))
    if "encoder.embed_tokens.weight" in weights:
        weights["shared.weight"] = weights.pop("encoder.embed_tokens.weight")
    special = {"end": config["eos_token_id"], "pad": config["pad_token_id"]}
    encoder = partial(
        SDClipModel, textmodel_json_config=config, special_tokens=special, model_class=SmallT5, return_attention_masks=masks
    )
    tokenizer = partial(
        SDTokenizer, str(folder / "tokenizer"), pad_with_end=False, embedding_size=config["d_model"], embedding_key="t5xxl",
        tokenizer_class=PreTrainedTokenizerFast, has_start_token=False, pad_to_max_length=False, max_length=NO_LIMIT,
        min_length=length,
    )  # fmt: skip
    return _clip({"name": "t5xxl"}, {"clip_name": "t5xxl"}, encoder, tokenizer, weights, dtype)


def clip_l(folder: Path, dtype: torch.dtype) -> Any:
    """A miniature's CLIP, in the place of CLIP-L."""
    config = _config(folder)
    weights = load_file(str(folder / "text_encoder" / "model.safetensors"))
    # The pooled output, which no miniature uses, is not projected.
    weights["text_projection.weight"] = torch.eye(config["hidden_size"])
    special = {"start": config["bos_token_id"], "end": config["eos_token_id"], "pad": config["pad_token_id"]}
    encoder = partial(
        SDClipModel, max_length=config["max_position_embeddings"], textmodel_json_config=config, special_tokens=special,
        model_class=SmallClip, return_projected_pooled=False,
    )  # fmt: skip
    tokenizer = partial(
        SDTokenizer, str(folder / "tokenizer"), max_length=config["max_position_embeddings"],
        embedding_size=config["hidden_size"],
    )  # fmt: skip
    return _clip({"clip_name": "l"}, {"clip_name": "l"}, encoder, tokenizer, weights, dtype)


def _config(folder: Path) -> dict[str, Any]:
    config: dict[str, Any] = json.loads((folder / "text_encoder" / "config.json").read_text(encoding="utf-8"))
    return config


def _clip(
    model_name: dict[str, str],
    tokenizer_name: dict[str, str],
    encoder: Callable[..., Any],
    tokenizer: Callable[..., Any],
    weights: dict[str, Tensor],
    dtype: torch.dtype,
) -> Any:
    target = ClipTarget(
        partial(SD1Tokenizer, **tokenizer_name, tokenizer=tokenizer), partial(SD1ClipModel, **model_name, clip_model=encoder)
    )
    clip = comfy.sd.CLIP(target, model_options={"dtype": dtype})
    missing, unexpected = clip.cond_stage_model.load_sd({name: tensor.to(dtype) for name, tensor in weights.items()})
    if missing or unexpected:
        raise ValueError(f"The text encoder's weights do not fit: missing {missing}, unexpected {unexpected}.")
    return clip
