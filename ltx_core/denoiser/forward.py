"""One forward of diffusers' LTX-2 transformer with Lightricks' semantics."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from diffusers import LTX2VideoTransformer3DModel
from torch import Tensor

from ltx_core.denoiser.blocks import BlockRunner, TokenRoute, run_routed, runner_of
from ltx_core.denoiser.prepare import BlockCall, Hidden, finish, prepare
from ltx_core.denoiser.tokens import Stream
from ltx_core.errors import ConfigError, ShapeError


@dataclass
class HiddenStateHook:
    """Keeps the hidden states of the video as they are after one block of one forward.

    The blocks run in two spans and not in one, which changes no arithmetic: recomputed, offloaded and compiled blocks
    stay what they are, and what is kept is an input of the next block, which is there anyway.
    """

    block: int
    video: Tensor | None = None
    """[B, T, D] after the forward; inside a route [B, K, D], the tokens it keeps in the order of `TokenRoute.kept`."""

    def on(self, run: BlockRunner) -> BlockRunner:
        """Runs blocks by `run`, and keeps the stream on the way."""

        def hooked(blocks: Sequence[Any], hidden: Hidden, call: BlockCall, span: range) -> Hidden:
            if self.block not in span:
                return run(blocks, hidden, call, span)
            hidden = run(blocks, hidden, call, range(span.start, self.block + 1))
            self.video = hidden.video
            return run(blocks, hidden, call, range(self.block + 1, span.stop))

        return hooked


def denoise(
    transformer: LTX2VideoTransformer3DModel,
    video: Stream | None,
    audio: Stream | None,
    *,
    isolate: bool = False,
    stg_blocks: Sequence[int] = (),
    routes: Sequence[TokenRoute] = (),
    hooks: Sequence[HiddenStateHook] = (),
) -> tuple[torch.Tensor | None, torch.Tensor | None]:
    """Predict the velocity (noise minus data) of each stream, in the dtype of its tokens; None for an absent stream.

    `isolate` turns attention between the streams off (the weak pass of modality guidance). `stg_blocks` are blocks
    whose self-attention is replaced by its values (the weak pass of spatio-temporal guidance). `routes`, in order, are
    runs of blocks that compute a part of the video tokens: for training. `hooks` get the video stream after their
    blocks.

    Without one stream the result equals Lightricks' inference without it: the streams are isolated and the absent one
    is a single token whose output is dropped.

    Raises:
        ShapeError: no stream, streams of different batch sizes, or no keyframes for a model that was trained with them;
            routes that overlap or do not fit.
        ConfigError: `stg_blocks` names a block that is not there, or the model was built without `perturbed_attn`.
    """
    _check(transformer.config, video, audio, stg_blocks)
    isolate = isolate or video is None or audio is None
    video_in = video if video is not None else _absent_video(transformer, audio)
    audio_in = audio if audio is not None else _absent_audio(transformer, video)
    hidden, call, output = prepare(transformer, video_in, audio_in, isolate=isolate, stg_blocks=frozenset(stg_blocks))
    run = runner_of(transformer)
    for hook in hooks:
        run = hook.on(run)
    hidden = run_routed(transformer.transformer_blocks, hidden, call, routes, run)
    velocities = finish(transformer, hidden, output)
    return (
        velocities[0].to(video.tokens.dtype) if video is not None else None,
        velocities[1].to(audio.tokens.dtype) if audio is not None else None,
    )


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
