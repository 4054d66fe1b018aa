"""The second miniature's parts before training: Stable Diffusion's and AnimateDiff's real classes, very small.

A CLIP text encoder, a KL VAE of images, an image UNet that reads the text by cross-attention, and a motion
adapter between the UNet's layers. v-prediction with zero terminal SNR, as the first miniature. Image and
video model share all parts but the motion adapter, so that one diffusers folder is both.
"""

from __future__ import annotations

import json
import random
import string

import torch
from diffusers import AutoencoderKL, DDIMScheduler, MotionAdapter, UNet2DConditionModel
from tokenizers import Tokenizer, models, trainers
from torch import nn
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer

from t2vu_core.miniature.captions import REGISTERS, caption
from t2vu_core.miniature.world import NUM_FRAMES, SIZE, sample_labels

MAX_TEXT_TOKENS = 48
SPATIAL_RATIO = 4
LATENT_CHANNELS = 12
LATENT_SIZE = SIZE // SPATIAL_RATIO
TEXT_WIDTH = 128
UNET_WIDTHS = (80, 80)
START, END, WORD_END = "<|startoftext|>", "<|endoftext|>", "</w>"
LETTERS = string.ascii_lowercase + string.digits + ".,;:!?'\"-()"


def make_tokenizer(*, vocabulary_size: int = 768, num_captions: int = 20_000, seed: int = 0) -> CLIPTokenizer:
    """CLIP's byte-pair tokenizer, learned from captions; a word never seen falls into pieces, a foreign letter is unknown."""
    generator, rng = torch.Generator().manual_seed(seed), random.Random(seed)
    rows = sample_labels(num_captions, generator).tolist()
    corpus = [caption(row, rng, register=rng.choice(REGISTERS)) for row in rows]
    letters = [*LETTERS, *(letter + WORD_END for letter in LETTERS)]
    blank = CLIPTokenizer(vocab={piece: index for index, piece in enumerate([*letters, START, END])}, merges=[])
    learner = Tokenizer(models.BPE(end_of_word_suffix=WORD_END))
    learner.normalizer = blank.backend_tokenizer.normalizer
    learner.pre_tokenizer = blank.backend_tokenizer.pre_tokenizer
    trainer = trainers.BpeTrainer(vocab_size=vocabulary_size - 2, end_of_word_suffix=WORD_END, show_progress=False)
    learner.train_from_iterator(corpus, trainer)
    merges = _merges(learner)
    pieces = list(dict.fromkeys([*letters, *("".join(pair) for pair in merges)]))[: vocabulary_size - 2]
    known = set(pieces)
    merges = [pair for pair in merges if {*pair, "".join(pair)} <= known]
    vocabulary = {piece: index for index, piece in enumerate([*pieces, START, END])}
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=MAX_TEXT_TOKENS)


def _merges(tokenizer: Tokenizer) -> list[tuple[str, str]]:
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    pairs = (pair.split(" ") if isinstance(pair, str) else pair for pair in merges)
    return [(left, right) for left, right in pairs]


def make_text_encoder(tokenizer: CLIPTokenizer, *, width: int = TEXT_WIDTH, layers: int = 3, heads: int = 4) -> CLIPTextModel:
    """A CLIP text encoder: causal attention, learned positions."""
    model = CLIPTextModel(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=2 * width,
            projection_dim=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            max_position_embeddings=MAX_TEXT_TOKENS,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )
    _look_at_neighbours(model)
    return model


def make_vae(*, widths: tuple[int, int, int] = (24, 48, 48)) -> AutoencoderKL:
    """Stable Diffusion's VAE: 32 x 32 pixels <-> 8 x 8 latents."""
    return AutoencoderKL(
        block_out_channels=widths,
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        latent_channels=LATENT_CHANNELS,
        layers_per_block=1,
        norm_num_groups=GROUPS,
        sample_size=SIZE,
        scaling_factor=1.0,
        force_upcast=False,
        use_quant_conv=False,
        use_post_quant_conv=False,
        mid_block_add_attention=False,
    )


GROUPS = 8
"""Of every normalisation in the VAE."""


def make_unet(*, widths: tuple[int, ...] = UNET_WIDTHS, text_width: int = TEXT_WIDTH) -> UNet2DConditionModel:
    """Stable Diffusion's UNet on 8 x 8 latents, every residual branch silent at first."""
    unet = UNet2DConditionModel(
        sample_size=LATENT_SIZE,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        block_out_channels=widths,
        down_block_types=("CrossAttnDownBlock2D",) * len(widths),
        up_block_types=("CrossAttnUpBlock2D",) * len(widths),
        layers_per_block=1,
        cross_attention_dim=text_width,
        attention_head_dim=5,  # the number of heads, by diffusers' historical name
        norm_num_groups=16,
    )
    for name, module in unet.named_modules():
        if name.endswith(("conv2", "proj_out", "conv_out")) and isinstance(module, nn.Conv2d):
            _zero(module)
    return unet


def make_motion_adapter(*, widths: tuple[int, ...] = UNET_WIDTHS) -> MotionAdapter:
    """AnimateDiff's motion modules for `make_unet`, silent at first (arXiv 2307.04725, section 4.2)."""
    adapter = MotionAdapter(
        block_out_channels=widths,
        motion_layers_per_block=1,
        motion_num_attention_heads=5,
        motion_norm_num_groups=16,
        motion_max_seq_length=NUM_FRAMES,
        use_motion_mid_block=False,
    )
    for name, module in adapter.named_modules():
        if name.endswith("proj_out") and isinstance(module, nn.Linear):
            _zero(module)
    return adapter


def make_scheduler() -> DDIMScheduler:
    """Stable Diffusion's noise schedule with zero terminal SNR (arXiv 2305.08891): v-prediction, trailing timesteps."""
    return DDIMScheduler(
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=1,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
    )


@torch.no_grad()
def _look_at_neighbours(text_encoder: CLIPTextModel, *, gain: float = 0.6) -> None:
    """Two heads of the first layer start with their eyes on the words one and two places before.

    Started evenly, an encoder may stay a bag of words for which "a ghost and a cat" is "a cat and a ghost" (see the
    first miniature's). Positions start as waves whose frequencies lie evenly, so that they are at right angles to each
    other; as long as the words', so that after the normalisation they are half of a state. A head whose keys are the
    waves and whose queries are the waves turned back by a place then looks one place behind: its logit there is 4.
    """
    attention = text_encoder.encoder.layers[0].self_attn
    size = attention.head_dim
    tokens, positions = (text_encoder.embeddings.token_embedding.weight, text_encoder.embeddings.position_embedding.weight)
    frequencies = torch.pi * (torch.arange(size // 2) + 0.5) / (size // 2)
    angles = torch.arange(len(positions))[:, None] * frequencies
    waves = torch.cat([angles.cos(), angles.sin()], 1)
    positions[:, :size] += waves * tokens.norm(dim=1).mean() / (size / 2) ** 0.5
    for head, places in enumerate((1, 2)):
        rows = slice(head * size, (head + 1) * size)
        cosine, sine = (places * frequencies).cos().diag(), (places * frequencies).sin().diag()
        attention.k_proj.weight[rows, :size] += gain * torch.eye(size)
        attention.q_proj.weight[rows, :size] += gain * torch.cat([torch.cat([cosine, sine], 1), torch.cat([-sine, cosine], 1)])


def _zero(layer: nn.Linear | nn.Conv2d) -> None:
    nn.init.zeros_(layer.weight)
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)
