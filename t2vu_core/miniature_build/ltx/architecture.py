"""The parts of `miniature-ltx` before training, in LTX-Video's classes and in a shape that ComfyUI's own code also runs.

ComfyUI fixes 128 latent channels and 128 channels at the VAE's pixel end (or a divisor of 128, see
`native_files`); diffusers' decoder upsamples space and time together. So the VAE folds patches of 8 x 8 pixels
and halves space and time once: 9 x 64 x 64 pixels <-> 5 x 4 x 4 latents of 128 channels, 80 tokens.

Of the 128 channels, the first `LIVE_CHANNELS` carry the picture. The decoder ignores the others and the denoiser neither
reads nor changes them: a denoiser of this width could not carry the noise of 128 channels and think as well.
"""

from __future__ import annotations

import torch
from diffusers import AutoencoderKLLTXVideo, FlowMatchEulerDiscreteScheduler, LTXVideoTransformer3DModel
from torch import nn
from transformers import T5Config, T5EncoderModel

LATENT_CHANNELS = 128
LIVE_CHANNELS = 64
PATCH_SIZE = 8
SPATIAL_RATIO = 16
TEMPORAL_RATIO = 2
MAX_TEXT_TOKENS = 128
"""LTXPipeline pads every prompt to this length, and its T5 attends to the padding: training must pad alike."""
FPS = 25
ROPE_SCALE = (TEMPORAL_RATIO / FPS, SPATIAL_RATIO, SPATIAL_RATIO)


def make_text_encoder(vocabulary_size: int, *, width: int = 128, layers: int = 3, heads: int = 8) -> T5EncoderModel:
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


def make_vae(
    *, encoder_width: int = 64, width: int = 64, encoder_layers: int = 1, decoder_layers: tuple[int, int] = (0, 2)
) -> AutoencoderKLLTXVideo:
    """A video VAE: 9 x 64 x 64 pixels <-> 5 x 4 x 4 latents.

    `encoder_width` and `width` are the channels at 9 x 8 x 8, each a divisor of 128; `decoder_layers` counts the
    residual blocks before and after the upsampling.
    """
    return AutoencoderKLLTXVideo(
        latent_channels=LATENT_CHANNELS,
        block_out_channels=(encoder_width, LATENT_CHANNELS),
        down_block_types=("LTXVideo095DownBlock3D",),
        downsample_type=("spatiotemporal",),
        spatio_temporal_scaling=(True,),
        layers_per_block=(encoder_layers, 0),
        decoder_block_out_channels=(LATENT_CHANNELS,),
        decoder_spatio_temporal_scaling=(True,),
        decoder_layers_per_block=decoder_layers[::-1],
        decoder_inject_noise=(False, False),
        upsample_residual=(False,),
        upsample_factor=(LATENT_CHANNELS // width,),
        patch_size=PATCH_SIZE,
        patch_size_t=1,
        spatial_compression_ratio=SPATIAL_RATIO,
        temporal_compression_ratio=TEMPORAL_RATIO,
    )


def make_transformer(
    *, heads: int = 6, head_dim: int = 32, layers: int = 5, text_width: int = 128
) -> LTXVideoTransformer3DModel:
    """LTX-Video's denoiser: it reads the live channels only, every block starts as the identity, the prediction at zero."""
    width = heads * head_dim
    model = LTXVideoTransformer3DModel(
        in_channels=LATENT_CHANNELS,
        out_channels=LATENT_CHANNELS,
        num_attention_heads=heads,
        attention_head_dim=head_dim,
        cross_attention_dim=width,
        caption_channels=text_width,
        num_layers=layers,
    )
    nn.init.zeros_(model.scale_shift_table)
    nn.init.zeros_(model.proj_in.weight[:, LIVE_CHANNELS:])
    for linear in (model.time_embed.linear, model.proj_out):
        nn.init.zeros_(linear.weight)
        nn.init.zeros_(linear.bias)
    for block in model.transformer_blocks:
        nn.init.zeros_(block.scale_shift_table)
        nn.init.zeros_(block.attn2.to_out[0].weight)
        nn.init.zeros_(block.attn2.to_out[0].bias)
    return model


def make_scheduler() -> FlowMatchEulerDiscreteScheduler:
    """LTX-Video's noise schedule, shifted by the number of tokens; not stretched to end at 0.1, so that KSampler has it too."""
    return FlowMatchEulerDiscreteScheduler(
        use_dynamic_shifting=True,
        base_shift=0.95,
        max_shift=2.05,
        base_image_seq_len=1024,
        max_image_seq_len=4096,
    )


def _look_at_neighbours(text_encoder: T5EncoderModel, *, bias: float = 4.0) -> None:
    """Let four heads start on the words one and two places before and after.

    With even attention at the start, the encoder stays a bag of words for a long time and confuses the order of two
    subjects.
    """
    table = text_encoder.encoder.block[0].layer[0].SelfAttention.relative_attention_bias
    behind = table.num_embeddings // 2
    with torch.no_grad():
        for head, bucket in enumerate((1, 2, behind + 1, behind + 2)):
            table.weight[bucket, head] += bias
