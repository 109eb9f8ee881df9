"""The trained tiny model's widths: the header of the random miniature, with layers that can learn the small world."""

from typing import Any

from ltx_core.tiny import header

GENERATION: header.Generation = "2.3"
LATENT_CHANNELS = 32
"""Released models have 128. A clip of the small world has fewer than 20 degrees of freedom and 36 video tokens, and the
encoder's layers are as wide as the latent: 128 would spend more than the 16 MB that all weights may take on them."""
LAYERS, HEADS, HEAD_WIDTH = 5, 5, 32
CONNECTOR_LAYERS = 1
AUDIO_WIDTH = 32
VOCODER_WIDTH = 128


def config() -> dict[str, Any]:
    """The config of the checkpoint's header."""
    sections = header.config(GENERATION)
    width = HEADS * HEAD_WIDTH
    sections["transformer"] |= {
        "num_layers": LAYERS,
        "in_channels": LATENT_CHANNELS,
        "out_channels": LATENT_CHANNELS,
        "num_attention_heads": HEADS,
        "attention_head_dim": HEAD_WIDTH,
        "cross_attention_dim": width,
        "audio_num_attention_heads": HEADS,
        "audio_attention_head_dim": HEAD_WIDTH // 2,
        "audio_cross_attention_dim": width // 2,
        "connector_num_layers": CONNECTOR_LAYERS,
        "audio_connector_num_layers": CONNECTOR_LAYERS,
        "connector_num_attention_heads": HEADS,
        "connector_attention_head_dim": HEAD_WIDTH,
        "audio_connector_num_attention_heads": HEADS,
        "audio_connector_attention_head_dim": HEAD_WIDTH // 2,
    }
    sections["vae"] |= {
        "latent_channels": LATENT_CHANNELS,
        "encoder_base_channels": LATENT_CHANNELS,
        "decoder_base_channels": 32,
        "encoder_blocks": _encoder_blocks(),
        "decoder_blocks": _decoder_blocks(),
    }
    sections["audio_vae"]["model"]["params"]["ddconfig"] |= {"ch": AUDIO_WIDTH, "ch_mult": [1, 1, 1]}
    sections["vocoder"] = {
        "resblock": "1",
        "stereo": True,
        "upsample_initial_channel": VOCODER_WIDTH,
        "upsample_rates": [10, 16],
        "upsample_kernel_sizes": [20, 32],
        "resblock_kernel_sizes": [3],
        "resblock_dilation_sizes": [[1, 3]],
    }
    return sections


def _encoder_blocks() -> list[list[Any]]:
    steps = [
        ["compress_space_res", {"multiplier": 2}],
        ["compress_time_res", {"multiplier": 1}],
        ["compress_all_res", {"multiplier": 1}],
        ["compress_all_res", {"multiplier": 1}],
    ]
    blocks: list[list[Any]] = [["res_x", {"num_layers": 1}]]
    for step in steps:
        blocks += [step, ["res_x", {"num_layers": 1}]]
    return blocks


def _decoder_blocks() -> list[list[Any]]:
    """From the pixels' end to the latent's. Residual upsampling, as in 2.0: gradients reach the latent sooner."""
    steps = [("compress_space", 1), ("compress_all", 1), ("compress_all", 2), ("compress_time", 1)]
    blocks: list[list[Any]] = [["res_x", {"num_layers": 2}]]
    for kind, multiplier in steps:
        blocks += [[kind, {"multiplier": multiplier, "residual": True}], ["res_x", {"num_layers": 1}]]
    return blocks
