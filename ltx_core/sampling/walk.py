"""One step of sampling: the passes that guidance needs, and the Euler update of both streams."""

from dataclasses import dataclass, replace

import torch
from diffusers import LTX2VideoTransformer3DModel
from torch import Tensor

from ltx_core.conditioning.state import SampleState, StreamState
from ltx_core.conditioning.text import Text
from ltx_core.denoiser.forward import denoise
from ltx_core.denoiser.inputs import Stream
from ltx_core.denoiser.positions import audio_positions, first_frame_keyframes, video_positions
from ltx_core.errors import ConfigError
from ltx_core.sampling.combine import combine
from ltx_core.sampling.guidance import Guidance, Pass


@dataclass(frozen=True)
class Prompts:
    """What a render follows, and what it is guided away from."""

    positive: Text
    negative: Text | None = None
    """Wanted if, and only if, some stream's `cfg` differs from 1."""


@dataclass(frozen=True)
class Walk:
    """What stays the same over the steps of one sample."""

    transformer: LTX2VideoTransformer3DModel
    prompts: Prompts
    guidance: Guidance
    frame_rate: float

    def step(self, state: SampleState, sigma: float, next_sigma: float) -> SampleState:
        """One Euler step in fp32; known tokens stay as they are.

        x(next) = x0 + (next / sigma) (x - x0), which is x + (next - sigma) v with v = (x - x0) / sigma, and is exactly
        x0 at the last step.
        """
        passes = [self.predict(state, name, sigma) for name in self.guidance.passes()]
        video = combine(self.guidance.video, {name: x0 for name, x0, _ in passes})
        audio = combine(self.guidance.audio, {name: x0 for name, _, x0 in passes})
        ratio = next_sigma / sigma
        return replace(state, video=_moved(state.video, video, ratio), audio=_moved(state.audio, audio, ratio))

    def predict(self, state: SampleState, name: Pass, sigma: float) -> tuple[Pass, Tensor, Tensor]:
        """x0 of both streams by one pass: x - t v, with each token's own t."""
        text = self.prompts.negative if name == "unconditional" else self.prompts.positive
        if text is None:
            raise ConfigError(
                "guidance cfg differs from 1 and there is no negative text; embed the negative prompt too"
            )
        video, audio = self.streams(text.apply(state), sigma)
        velocities = denoise(
            self.transformer,
            video,
            audio,
            isolate=name == "isolated",
            stg_blocks=self.guidance.stg_blocks if name == "perturbed" else (),
        )
        return name, _x0(video, velocities[0]), _x0(audio, velocities[1])

    def streams(self, state: SampleState, sigma: float) -> tuple[Stream, Stream]:
        """What the transformer is given for this state at this noise level."""
        device = state.video.tokens.device
        video = _stream(state.video, sigma, video_positions(state.grid, self.frame_rate, 1, device))
        audio = _stream(state.audio, sigma, audio_positions(state.audio.tokens.shape[1], 1, device))
        return replace(video, keyframes=first_frame_keyframes(state.grid, 1, device)), audio


def _stream(state: StreamState, sigma: float, positions: Tensor) -> Stream:
    """Known tokens are at timestep 0, those known in part at a part of the level. A stream that is known as a whole is
    at sigma 0, as in training."""
    batch = len(state.tokens)
    level = torch.full((batch,), sigma, device=state.tokens.device)
    if state.clean.all():
        level = torch.zeros_like(level)
    # one value a sample costs one modulation vector a sample, one a token costs one a token
    mixed = bool(state.clean.any()) and not bool(state.clean.all())
    timesteps = torch.where(state.clean, 0.0, level[:, None]) if mixed else level
    if state.leaning is not None:
        timesteps = timesteps.view(batch, -1) * (1 - state.leaning.strength)
    context = state.context
    if context is None:
        raise ConfigError("a sample without text; apply a Text first")
    return Stream(state.tokens, timesteps, level, context.to(state.tokens.device), positions)


def _x0(stream: Stream, velocity: Tensor | None) -> Tensor:
    if velocity is None:
        raise ConfigError("the transformer gave no velocity for a stream that it was given")
    return stream.tokens - stream.timesteps.view(len(stream.tokens), -1, 1) * velocity.float()


def _moved(state: StreamState, x0: Tensor, ratio: float) -> StreamState:
    x0 = x0 if state.leaning is None else state.leaning.mixed(x0)
    moved = x0 + ratio * (state.tokens - x0)
    return replace(state, tokens=torch.where(state.clean[..., None], state.tokens, moved))
