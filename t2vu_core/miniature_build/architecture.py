"""The miniature's parts before training: real classes of diffusers and transformers, at a size two cores can train.

The shape is CogVideoX-2B's: a T5 encoder, a causal video VAE, a joint text-video transformer with
sinusoidal positions, v-prediction with zero terminal SNR. `AutoencoderKLLTXVideo` stands for the
video VAE because its patches keep the convolutions cheap.
"""

from __future__ import annotations

import random

import torch
from diffusers import AutoencoderKLLTXVideo, CogVideoXDDIMScheduler, CogVideoXTransformer3DModel
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from torch import nn
from transformers import PreTrainedTokenizerFast, T5Config, T5EncoderModel

from t2vu_core.miniature.captions import REGISTERS, caption
from t2vu_core.miniature.world import NUM_FRAMES, SIZE, sample_labels

MAX_TEXT_TOKENS = 48
SPATIAL_RATIO = 4
TEMPORAL_RATIO = 1
LATENT_CHANNELS = 12
LATENT_SIZE = SIZE // SPATIAL_RATIO


def make_tokenizer(*, vocabulary_size: int = 768, num_captions: int = 20_000, seed: int = 0) -> PreTrainedTokenizerFast:
    """A byte-pair tokenizer learned from captions; a word never seen falls into pieces, a foreign letter is unknown."""
    generator, rng = torch.Generator().manual_seed(seed), random.Random(seed)
    rows = sample_labels(num_captions, generator).tolist()
    corpus = [caption(row, rng, register=rng.choice(REGISTERS)) for row in rows]
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Metaspace(), pre_tokenizers.Punctuation()])
    tokenizer.decoder = decoders.Metaspace()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=["<pad>", "</s>", "<unk>"],
        initial_alphabet=list("abcdefghijklmnopqrstuvwxyz0123456789.,;:!?'\"-()▁"),
        show_progress=False,
    )
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        eos_token="</s>",
        unk_token="<unk>",
        model_max_length=MAX_TEXT_TOKENS,
    )


def make_text_encoder(vocabulary_size: int, *, width: int = 160, layers: int = 3, heads: int = 5) -> T5EncoderModel:
    """A T5 v1.1 encoder (gated GELU, relative positions)."""
    config = T5Config(
        vocab_size=vocabulary_size,
        d_model=width,
        d_kv=width // heads,
        d_ff=2 * width,
        num_layers=layers,
        num_heads=heads,
        dropout_rate=0.0,
        feed_forward_proj="gated-gelu",
        is_encoder_decoder=False,
        pad_token_id=0,
        eos_token_id=1,
        relative_attention_num_buckets=16,
        relative_attention_max_distance=48,
    )
    model = T5EncoderModel(config)
    _look_at_neighbours(model)
    return model


def make_vae(*, width: int = 48) -> AutoencoderKLLTXVideo:
    """A causal video VAE: 9 x 32 x 32 pixels <-> 9 x 8 x 8 latents.

    Pixels are folded into patches of 4 x 4. The empty blocks are there because CogVideoXPipeline reads
    the spatial ratio off the number of entries: 2 ** (3 - 1).
    """
    return AutoencoderKLLTXVideo(
        latent_channels=LATENT_CHANNELS,
        block_out_channels=(width,) * 3,
        decoder_block_out_channels=(width,) * 3,
        layers_per_block=(1, 0, 1),
        decoder_layers_per_block=(2, 0, 0, 2),
        spatio_temporal_scaling=(False,) * 2,
        decoder_spatio_temporal_scaling=(False,) * 3,
        patch_size=4,
        patch_size_t=1,
        down_block_types=("LTXVideo095DownBlock3D",) * 2,
        downsample_type=("spatiotemporal",) * 2,
        decoder_inject_noise=(False,) * 4,
        upsample_residual=(False,) * 3,
        upsample_factor=(1,) * 3,
        spatial_compression_ratio=SPATIAL_RATIO,
        temporal_compression_ratio=TEMPORAL_RATIO,
    )


def make_transformer(
    *, heads: int = 6, head_dim: int = 32, layers: int = 6, text_width: int = 160
) -> CogVideoXTransformer3DModel:
    """CogVideoX's denoiser on 9 x 8 x 8 latents, adaLN-zero initialised."""
    model = CogVideoXTransformer3DModel(
        num_attention_heads=heads,
        attention_head_dim=head_dim,
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        time_embed_dim=64,
        text_embed_dim=text_width,
        num_layers=layers,
        sample_width=LATENT_SIZE,
        sample_height=LATENT_SIZE,
        sample_frames=NUM_FRAMES,
        patch_size=2,
        temporal_compression_ratio=TEMPORAL_RATIO,
        max_text_seq_length=MAX_TEXT_TOKENS,
        spatial_interpolation_scale=0.5,
        temporal_interpolation_scale=0.5,
    )
    for block in model.transformer_blocks:
        for norm in (block.norm1, block.norm2):
            _zero(norm.linear)
        for linear in (block.attn1.to_q, block.attn1.to_k, block.attn1.to_v, block.attn1.to_out[0]):
            nn.init.xavier_uniform_(linear.weight)
    _zero(model.norm_out.linear)
    _zero(model.proj_out)
    return model


def make_scheduler() -> CogVideoXDDIMScheduler:
    """CogVideoX's noise schedule: v-prediction, zero terminal SNR, trailing timesteps."""
    return CogVideoXDDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        clip_sample=False,
        set_alpha_to_one=True,
        steps_offset=0,
        prediction_type="v_prediction",
        timestep_spacing="trailing",
        rescale_betas_zero_snr=True,
        snr_shift_scale=1.0,
    )


def _look_at_neighbours(text_encoder: T5EncoderModel, *, bias: float = 4.0) -> None:
    """Four heads start with their eyes on the words one and two places before and behind.

    Started evenly, the encoder stays a bag of words for as long as we trained it: "a ghost and a cat" read like
    "a cat and a ghost", and the denoiser drew a blend of both in both places.
    """
    table = text_encoder.encoder.block[0].layer[0].SelfAttention.relative_attention_bias
    behind = table.num_embeddings // 2
    with torch.no_grad():
        for head, bucket in enumerate((1, 2, behind + 1, behind + 2)):
            table.weight[bucket, head] += bias


def _zero(linear: nn.Linear) -> None:
    nn.init.zeros_(linear.weight)
    nn.init.zeros_(linear.bias)
