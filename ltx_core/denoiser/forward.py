"""One forward of diffusers' LTX-2 transformer with Lightricks' semantics."""

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from diffusers import LTX2VideoTransformer3DModel

from ltx_core.denoiser.inputs import Stream
from ltx_core.errors import ConfigError, ShapeError


def denoise(
    transformer: LTX2VideoTransformer3DModel,
    video: Stream | None,
    audio: Stream | None,
    *,
    isolate: bool = False,
    stg_blocks: Sequence[int] = (),
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Predict the velocity (noise minus data) of each stream, in the dtype of its tokens; None for an absent stream.

    `isolate` turns attention between the streams off (the weak pass of modality guidance). `stg_blocks` are blocks
    whose self-attention is replaced by its values (the weak pass of spatio-temporal guidance).

    Without one stream the result equals Lightricks' inference without it: the streams are isolated and the absent one
    is a single token whose output is dropped.

    Raises:
        ShapeError: no stream, streams of different batch sizes, or no keyframes for a model that was trained with them.
        ConfigError: `stg_blocks` names a block that is not there, or the model was built without `perturbed_attn`.
    """
    config = transformer.config
    _check(config, video, audio, stg_blocks)
    isolate = isolate or video is None or audio is None
    video_in = video if video is not None else _absent_video(transformer, audio)
    audio_in = audio if audio is not None else _absent_audio(transformer, video)
    inputs = _arguments(transformer, video_in, audio_in)
    if stg_blocks:
        inputs["spatio_temporal_guidance_blocks"] = list(stg_blocks)
        inputs["perturbation_mask"] = torch.zeros(len(video_in.tokens), device=video_in.tokens.device)
    with _lightricks_gates(transformer, video_in.sigma, audio_in.sigma):
        velocities = transformer(**inputs, isolate_modalities=isolate, use_cross_timestep=False, return_dict=False)
    return (
        velocities[0].to(video.tokens.dtype) if video is not None else None,
        velocities[1].to(audio.tokens.dtype) if audio is not None else None,
    )


def _arguments(transformer: LTX2VideoTransformer3DModel, video: Stream, audio: Stream) -> dict[str, Any]:
    """The streams as diffusers names them. No text mask: registers fill the padding, so all positions are valid.

    diffusers wants timesteps and sigmas already multiplied; Lightricks' code multiplies inside.
    """
    dtype = transformer.proj_in.weight.dtype
    scale = transformer.config.timestep_scale_multiplier
    return {
        "hidden_states": video.tokens.to(dtype),
        "audio_hidden_states": audio.tokens.to(dtype),
        "encoder_hidden_states": video.context.to(dtype),
        "audio_encoder_hidden_states": audio.context.to(dtype),
        "timestep": video.timesteps.float() * scale,
        "audio_timestep": audio.timesteps.float() * scale,
        "sigma": video.sigma.float() * scale,
        "audio_sigma": audio.sigma.float() * scale,
        "encoder_attention_mask": None,
        "audio_encoder_attention_mask": None,
        "video_coords": video.positions.float(),
        "audio_coords": audio.positions.float(),
        "video_keyframes_mask": video.keyframes,
    }


@contextmanager
def _lightricks_gates(
    transformer: LTX2VideoTransformer3DModel, video_sigma: torch.Tensor, audio_sigma: torch.Tensor
) -> Iterator[None]:
    """For one call, let the gates between the streams follow the other stream's sigma, as Lightricks' inference does.

    diffusers drives scale, shift and gate of the cross-modal attention alike: by the stream's own timesteps or by the
    other's sigma. Lightricks drives scale and shift by the own timesteps and the gate by the other's sigma; the two
    agree only where all are equal. Gates are computed once before the blocks, so a hook for the length of the forward
    is enough also when gradient checkpointing recomputes blocks in the backward.
    """
    scale = transformer.config.cross_attn_timestep_scale_multiplier
    with ExitStack() as hooks:
        for gate, sigma in (
            (transformer.av_cross_attn_video_a2v_gate, audio_sigma),
            (transformer.av_cross_attn_audio_v2a_gate, video_sigma),
        ):
            hooks.enter_context(_first_argument(gate, sigma.float() * scale))
        yield


@contextmanager
def _first_argument(module: torch.nn.Module, value: torch.Tensor) -> Iterator[None]:
    """Replace the first positional argument of `module` until left."""
    handle = module.register_forward_pre_hook(lambda _, arguments: (value, *arguments[1:]))
    try:
        yield
    finally:
        handle.remove()


def _absent_video(transformer: LTX2VideoTransformer3DModel, like: Stream | None) -> Stream:
    config = transformer.config
    width = config.caption_channels if config.use_prompt_embeddings else config.cross_attention_dim
    return _single_token(like, config.in_channels, width, axes=3)


def _absent_audio(transformer: LTX2VideoTransformer3DModel, like: Stream | None) -> Stream:
    config = transformer.config
    width = config.caption_channels if config.use_prompt_embeddings else config.audio_cross_attention_dim
    return _single_token(like, config.audio_in_channels, width, axes=1)


def _single_token(like: Stream | None, channels: int, width: int, axes: int) -> Stream:
    """Stands in for an absent stream, which diffusers cannot leave out; finite, so that nothing spreads NaN."""
    assert like is not None  # _check refused two absent streams
    tokens = like.tokens
    zeros = tokens.new_zeros
    batch = len(tokens)
    return Stream(
        tokens=zeros(batch, 1, channels),
        timesteps=zeros(batch),
        sigma=zeros(batch),
        context=zeros(batch, 1, width),
        positions=torch.zeros(batch, axes, 1, 2, device=tokens.device),
    )


def _check(config: Any, video: Stream | None, audio: Stream | None, stg_blocks: Sequence[int]) -> None:
    if video is None and audio is None:
        raise ShapeError("neither video nor audio tokens; a forward wants at least one stream")
    if video is not None and audio is not None and len(video.tokens) != len(audio.tokens):
        raise ShapeError(f"{len(video.tokens)} video samples and {len(audio.tokens)} audio samples; they must pair up")
    if config.use_keyframes_abs_pos_embedding and video is not None and video.keyframes is None:
        raise ShapeError(
            "this model marks single-frame tokens (LTX-2.5) and the video stream has no keyframes; give "
            "`first_frame_keyframes(shape, batch)`"
        )
    if stg_blocks and not config.perturbed_attn:
        raise ConfigError(f"stg_blocks {list(stg_blocks)} would do nothing: the model was built without perturbed_attn")
    if wrong := [block for block in stg_blocks if not 0 <= block < config.num_layers]:
        raise ConfigError(f"stg_blocks {wrong} do not exist; the model has blocks 0 to {config.num_layers - 1}")
