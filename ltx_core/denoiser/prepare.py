"""The parts around the transformer's blocks: embeddings, modulation and rotary tables before them, projection after."""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import LTX2VideoTransformer3DModel

from ltx_core.denoiser.tokens import Stream


@dataclass(frozen=True)
class Hidden:
    """The two residual streams between blocks."""

    video: torch.Tensor
    """[B, T, D]."""
    audio: torch.Tensor
    """[B, A, D']."""


@dataclass(frozen=True)
class BlockCall:
    """Arguments of every block beside the residual streams, by the names of diffusers' block."""

    arguments: dict[str, Any]
    stg_blocks: frozenset[int] = frozenset()
    """Blocks whose self-attention is replaced by its values."""

    @property
    def is_plain(self) -> bool:
        """True if no block's self-attention is replaced, and the streams attend to each other."""
        return not self.stg_blocks and bool(self.arguments.get("use_a2v_cross_attention", True))

    def of(self, index: int) -> dict[str, Any]:
        """The keyword arguments of block `index`."""
        if index not in self.stg_blocks:
            return self.arguments
        context = self.arguments["encoder_hidden_states"]
        mask = torch.zeros(len(context), 1, 1, device=context.device)
        return self.arguments | {"perturbation_mask": mask, "all_perturbed": True}


@dataclass(frozen=True)
class OutputModulation:
    """Values of the timesteps for the output layers: [B, 1 or T, D] and [B, 1 or A, D']."""

    video: torch.Tensor
    audio: torch.Tensor


def prepare(
    transformer: LTX2VideoTransformer3DModel,
    video: Stream,
    audio: Stream,
    *,
    isolate: bool,
    stg_blocks: frozenset[int] = frozenset(),
) -> tuple[Hidden, BlockCall, OutputModulation]:
    """Everything before the blocks, in the order and the dtypes of diffusers' forward, bit for bit.

    The gates between the streams follow the other stream's sigma, as in Lightricks' inference; scale and shift of
    that attention follow the stream's own timesteps. diffusers drives all three alike; where all are equal, so is this.
    """
    dtype = transformer.proj_in.weight.dtype
    modulation = _modulation(transformer, video, audio, dtype)
    hidden = Hidden(_video_tokens(transformer, video, dtype), transformer.audio_proj_in(audio.tokens.to(dtype)))
    arguments = modulation.arguments | _rotary(transformer, video, audio) | _contexts(transformer, video, audio, dtype)
    arguments |= {"use_a2v_cross_attention": not isolate, "use_v2a_cross_attention": not isolate}
    if transformer.config.perturbed_attn:
        arguments |= {"perturbation_mask": None, "all_perturbed": False}
    return hidden, BlockCall(arguments, stg_blocks), modulation.output


def finish(
    transformer: LTX2VideoTransformer3DModel, hidden: Hidden, output: OutputModulation
) -> tuple[torch.Tensor, torch.Tensor]:
    """The velocities [B, T, C] and [B, A, C'], after the blocks."""
    video = _modulated(transformer.norm_out, transformer.scale_shift_table, hidden.video, output.video)
    audio = _modulated(transformer.audio_norm_out, transformer.audio_scale_shift_table, hidden.audio, output.audio)
    return transformer.proj_out(video), transformer.audio_proj_out(audio)


@dataclass(frozen=True)
class _Modulation:
    arguments: dict[str, Any]
    output: OutputModulation


def _modulation(transformer: Any, video: Stream, audio: Stream, dtype: torch.dtype) -> _Modulation:
    """adaLN vectors of each stream, one a sample where no token differs. Multipliers are those of the config."""
    config, batch = transformer.config, len(video.tokens)
    scale, gate_scale = config.timestep_scale_multiplier, config.cross_attn_timestep_scale_multiplier
    video_time, audio_time = (stream.timesteps.float() * scale for stream in (video, audio))
    video_sigma, audio_sigma = (stream.sigma.float() for stream in (video, audio))

    def embed(layer: Any, times: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        made = layer(times.flatten(), batch_size=batch, hidden_dtype=dtype)
        vectors, embedded = (part.view(batch, -1, part.size(-1)) for part in made)
        return vectors, embedded

    temb, video_out = embed(transformer.time_embed, video_time)
    temb_audio, audio_out = embed(transformer.audio_time_embed, audio_time)
    arguments = {
        "temb": temb,
        "temb_audio": temb_audio,
        "temb_ca_scale_shift": embed(transformer.av_cross_attn_video_scale_shift, video_time)[0],
        "temb_ca_audio_scale_shift": embed(transformer.av_cross_attn_audio_scale_shift, audio_time)[0],
        "temb_ca_gate": embed(transformer.av_cross_attn_video_a2v_gate, audio_sigma * gate_scale)[0],
        "temb_ca_audio_gate": embed(transformer.av_cross_attn_audio_v2a_gate, video_sigma * gate_scale)[0],
        "temb_prompt": None,
        "temb_prompt_audio": None,
    }
    if transformer.prompt_modulation and config.use_prompt_adaln_single:
        arguments["temb_prompt"] = embed(transformer.prompt_adaln, video_sigma * scale)[0]
        arguments["temb_prompt_audio"] = embed(transformer.audio_prompt_adaln, audio_sigma * scale)[0]
    return _Modulation(arguments, OutputModulation(video_out, audio_out))


def _video_tokens(transformer: Any, video: Stream, dtype: torch.dtype) -> torch.Tensor:
    """[B, T, D] after the input projection; LTX-2.5 marks tokens that show a single pixel frame."""
    hidden: torch.Tensor = transformer.proj_in(video.tokens.to(dtype))
    if transformer.config.use_keyframes_abs_pos_embedding and video.keyframes is not None:
        marker = (video.keyframes > 0).to(hidden.dtype)
        hidden = hidden + marker * transformer.keyframes_abs_pos_embedding.to(hidden.dtype)
    return hidden


def _rotary(transformer: Any, video: Stream, audio: Stream) -> dict[str, Any]:
    """Rotary tables of the self-attentions, and of the attention between the streams, which knows seconds alone."""
    video_positions, audio_positions = video.positions.float(), audio.positions.float()
    return {
        "video_rotary_emb": transformer.rope(video_positions),
        "audio_rotary_emb": transformer.audio_rope(audio_positions),
        "ca_video_rotary_emb": transformer.cross_attn_rope(video_positions[:, 0:1]),
        "ca_audio_rotary_emb": transformer.cross_attn_audio_rope(audio_positions[:, 0:1]),
    }


def _contexts(transformer: Any, video: Stream, audio: Stream, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """Text [B, S, D] of each stream. No mask: registers fill the padding, so all positions are valid."""
    contexts = video.context.to(dtype), audio.context.to(dtype)
    if transformer.config.use_prompt_embeddings:
        contexts = transformer.caption_projection(contexts[0]), transformer.audio_caption_projection(contexts[1])
    return {"encoder_hidden_states": contexts[0], "audio_encoder_hidden_states": contexts[1]}


def _modulated(
    norm: torch.nn.Module, table: torch.Tensor, hidden: torch.Tensor, embedded: torch.Tensor
) -> torch.Tensor:
    values = table[None, None] + embedded[:, :, None]
    shift, scale = values[:, :, 0], values[:, :, 1]
    result: torch.Tensor = norm(hidden) * (1 + scale) + shift
    return result
