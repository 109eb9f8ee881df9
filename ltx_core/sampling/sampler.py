"""The Euler loop: from noise to latents of video and audio, through the same `denoise` that training calls.

Source of the formula: Lightricks' inference (its multi-modal guider), on predictions of x0.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import pairwise

import torch
from diffusers import LTX2VideoTransformer3DModel
from torch import Tensor

from ltx_core.conditioning.kinds import MODES, Conditioning, Text
from ltx_core.conditioning.state import SampleState, StreamState
from ltx_core.denoiser.forward import denoise
from ltx_core.denoiser.tokens import (
    Stream,
    audio_positions,
    first_frame_keyframes,
    joined,
    pack_video,
    unpack_video,
    video_positions,
)
from ltx_core.errors import ConfigError, DataError
from ltx_core.io.digest import text_digest
from ltx_core.progress import Progress, stop_if_asked
from ltx_core.sampling.decoding import SampledLatents
from ltx_core.sampling.guidance import Guidance, Pass, StreamGuidance
from ltx_core.sampling.request import RenderRequest
from ltx_core.sampling.schedule import schedule_sigmas
from ltx_core.shapes import LatentShape


def initial_state(
    seed: int, grid: LatentShape, video_channels: int, audio_tokens: int, audio_channels: int, *, purpose: str = ""
) -> SampleState:
    """A sample at sigma 1 with nothing known, batch 1, on the CPU.

    Each stream has its own generator: the audio's noise does not depend on the video's size. Noise is drawn on the
    CPU because generators of different devices give different numbers. Another `purpose` gives other noise.
    """
    video = _normal(seed, f"{purpose}video", video_channels, *grid)
    audio = _normal(seed, f"{purpose}audio", audio_tokens, audio_channels)
    return SampleState(
        StreamState.noise(pack_video(video[None])),
        StreamState.noise(audio[None]),
        grid,
        lambda place, shape: _normal(seed, f"{purpose}{place}", *shape),
    )


def _normal(seed: int, stream: str, *shape: int) -> Tensor:
    generator = torch.Generator().manual_seed(int(text_digest("noise", stream, str(seed))[:15], 16))
    return torch.randn(shape, generator=generator, dtype=torch.float32)


def combine(scales: StreamGuidance, x0: dict[Pass, Tensor]) -> Tensor:
    """The guided prediction of x0, [B, T, C].

    c + (cfg - 1)(c - unconditional) + stg (c - perturbed) + (modality - 1)(c - isolated), then scaled by
    rescale * std(c) / std(result) + 1 - rescale, with each sample's own standard deviations.

    Args:
        scales: this stream's scales.
        x0: prediction of each pass that was run, [B, T, C]; passes that this stream does not need are not looked at.
    """
    conditional = x0["conditional"]
    weights: dict[Pass, float] = {
        "unconditional": scales.cfg - 1,
        "perturbed": scales.stg,
        "isolated": scales.modality - 1,
    }
    guided = conditional
    for name in scales.passes():
        guided = guided + weights[name] * (conditional - x0[name])
    if not scales.rescale:
        return guided
    ratio = _spread(conditional) / _spread(guided).clamp(min=torch.finfo(guided.dtype).tiny)
    return guided * (scales.rescale * ratio + 1 - scales.rescale)


def _spread(tokens: Tensor) -> Tensor:
    return tokens.std(dim=(1, 2), keepdim=True)


@dataclass(frozen=True)
class Prompts:
    """The texts that a render follows, and that it is guided away from."""

    positive: Text
    negative: Text | None = None
    """Wanted if, and only if, some stream's `cfg` differs from 1."""


@dataclass(frozen=True)
class Walk:
    """Values that stay the same over the steps of one sample."""

    transformer: LTX2VideoTransformer3DModel
    prompts: Prompts
    guidance: Guidance
    frame_rate: float
    together: bool = False
    """The conditional and the unconditional pass are one forward of a batch of two."""

    def along(self, state: SampleState, sigmas: Sequence[float], progress: Progress) -> SampledLatents:
        """Walk from the first of these noise levels to the last, and return what is there.

        Raises:
            Stopped: asked to stop.
            DataError: the result is not finite.
        """
        steps = len(sigmas) - 1
        with torch.no_grad(), _evaluating(self.transformer):
            state = _to(state, self.transformer.proj_in.weight.device)
            for step, (sigma, next_sigma) in enumerate(pairwise(sigmas)):
                stop_if_asked(progress, f"sampling step {step + 1} of {steps}")
                state = self.step(state, sigma, next_sigma)
                progress.advance(step + 1, steps, "steps")
        video = unpack_video(state.video.tokens[:, : state.grid.tokens], state.grid)
        return _finite(SampledLatents(video[0].cpu(), state.audio.tokens[0, : state.audio.num_own].cpu()))

    def step(self, state: SampleState, sigma: float, next_sigma: float) -> SampleState:
        """One Euler step in fp32; known tokens stay as they are.

        x(next) = x0 + (next / sigma) (x - x0), which is x + (next - sigma) v with v = (x - x0) / sigma, and is exactly
        x0 at the last step.
        """
        passes = [found for names in self.forwards() for found in self.predict(state, names, sigma)]
        video = state.video.tokens
        if video.shape[1]:  # audio alone has none
            video = combine(self.guidance.video, {name: x0 for name, x0, _ in passes})
        audio = combine(self.guidance.audio, {name: x0 for name, _, x0 in passes})
        ratio = next_sigma / sigma
        return replace(state, video=_moved(state.video, video, ratio), audio=_moved(state.audio, audio, ratio))

    def forwards(self) -> tuple[tuple[Pass, ...], ...]:
        """The passes of a step, those of one forward together: the perturbed and the isolated one have other blocks."""
        names = self.guidance.passes()
        alike = tuple(name for name in names if name in ("conditional", "unconditional"))
        first = (alike,) if self.together else tuple((name,) for name in alike)
        return (*first, *((name,) for name in names if name not in alike))

    def predict(self, state: SampleState, names: Sequence[Pass], sigma: float) -> list[tuple[Pass, Tensor, Tensor]]:
        """x0 of both streams by each of these passes, in one forward: x - t v, with each token's own t."""
        given = [self.streams(self._text(name).apply(state), sigma) for name in names]
        video, audio = (joined(streams) for streams in zip(*given, strict=True))
        absent = torch.zeros_like(video.tokens)
        velocity_of_video, velocity_of_audio = denoise(
            self.transformer,
            video if video.tokens.shape[1] else None,
            audio,
            isolate="isolated" in names,
            stg_blocks=self.guidance.stg_blocks if "perturbed" in names else (),
        )
        velocities = absent if velocity_of_video is None else velocity_of_video, velocity_of_audio
        found = (
            _x0(stream, velocity).chunk(len(names)) for stream, velocity in zip((video, audio), velocities, strict=True)
        )
        return list(zip(names, *found, strict=True))

    def _text(self, name: Pass) -> Text:
        text = self.prompts.negative if name == "unconditional" else self.prompts.positive
        if text is None:
            raise ConfigError(
                "guidance cfg differs from 1 and there is no negative text; embed the negative prompt too"
            )
        return text

    def streams(self, state: SampleState, sigma: float) -> tuple[Stream, Stream]:
        """Return what the transformer is given for this state at this noise level."""
        device = state.video.tokens.device
        marks = first_frame_keyframes(state.grid, 1, device)
        if (appended := state.video.appended) is not None:  # which are not marked, a keyframe either
            marks = torch.cat([marks, marks.new_zeros(1, appended.shape[2], 1)], dim=1)
        video = _stream(state.video, sigma, video_positions(state.grid, self.frame_rate, 1, device))
        audio = _stream(state.audio, sigma, audio_positions(state.audio.num_own, 1, device))
        return replace(video, keyframes=marks), audio


def _stream(state: StreamState, sigma: float, positions: Tensor) -> Stream:
    """Given tokens are told less noise by their strength. A stream that is known as a whole is at sigma 0, as in
    training."""
    level = torch.full((len(state.tokens),), sigma, device=state.tokens.device)
    if whole := bool(state.clean[:, : state.num_own].all()):
        level = torch.zeros_like(level)
    # one value a sample costs one modulation vector a sample, one a token costs one a token
    mixed = bool(state.strength.any()) and not whole
    timesteps = level[:, None] * (1 - state.strength) if mixed else level
    if state.appended is not None:
        positions = torch.cat([positions, state.appended], dim=2)
    context = state.context
    if context is None:
        raise ConfigError("a sample without text; apply a Text first")
    return Stream(state.tokens, timesteps, level, context.to(state.tokens.device), positions)


def _x0(stream: Stream, velocity: Tensor | None) -> Tensor:
    if velocity is None:
        raise ConfigError("the transformer gave no velocity for a stream that it was given")
    return stream.tokens - stream.timesteps.view(len(stream.tokens), -1, 1) * velocity.float()


def _moved(state: StreamState, x0: Tensor, ratio: float) -> StreamState:
    x0 = state.pulled(x0)
    moved = x0 + ratio * (state.tokens - x0)
    return replace(state, tokens=torch.where(state.clean[..., None], state.tokens, moved))


def sample(
    transformer: LTX2VideoTransformer3DModel,
    prompts: Prompts,
    request: RenderRequest,
    progress: Progress,
    *,
    conditionings: Sequence[Conditioning] = (),
    together: bool = False,
) -> SampledLatents:
    """Render one request up to its latents; the first of two phases, so that the transformer is gone when VAEs come.

    Args:
        transformer: base, or with a LoRA; the initial noise is the same for both.
        prompts: contexts of the request's prompt, and of its negative prompt if `request.needs_negative`.
        request: what to render.
        progress: told after each step, asked before each step whether to stop.
        conditionings: what `request.mode` is given beside the text, none for `t2v`.
        together: run the conditional and the unconditional pass as one batch, which takes twice a forward's memory and
            gives the same but for rounding.

    Raises:
        Stopped: asked to stop; a half-made sample is not kept.
        ConfigError: prompts or conditionings are not those that the request needs.
        DataError: the result is not finite.
    """
    _check(request, prompts, conditionings)
    config = transformer.config
    grid = request.grid._replace(height=0, width=0) if request.mode == "t2a" else request.grid
    state = initial_state(request.seed, grid, config.in_channels, request.audio_tokens, config.audio_in_channels)
    for conditioning in conditionings:
        state = conditioning.apply(state)
    walk = Walk(transformer, prompts, request.guidance, request.frame_rate, together)
    return walk.along(state, schedule_sigmas(request.schedule, request.num_steps), progress)


def refine(
    transformer: LTX2VideoTransformer3DModel,
    prompt: Text,
    request: RenderRequest,
    upscaled: SampledLatents,
    progress: Progress,
    *,
    conditionings: Sequence[Conditioning] = (),
) -> SampledLatents:
    """Render the second half of a two-stage request: from an upscaled latent, in the few steps of
    `request.upscaling.sigmas`, without guidance.

    As in Lightricks' two-stage pipelines, both streams are mixed with new noise up to the first sigma, what is given
    beside the text is given again at full size, and the audio stays that of the first half: it was made by the full
    model with guidance, while the steps here are for the details of the video.

    Args:
        transformer: with every adapter of the second half.
        prompt: contexts of the request's prompt.
        request: with `upscaling`.
        upscaled: video [C, F, H, W] at the request's full size, normalised, and the audio of the first half.
        progress: as for `sample`.
        conditionings: as for `sample`, at full size; none where only the first half follows something.

    Raises:
        Stopped, DataError: as for `sample`.
        ConfigError: the request is of one stage.
    """
    if request.upscaling is None:
        raise ConfigError("a render of one stage is not refined; give the request an upscaling")
    sigmas = request.upscaling.sigmas
    state = initial_state(request.seed, request.grid, len(upscaled.video), *upscaled.audio.shape, purpose="upscaling ")
    beside = state.noise
    state = replace(
        state,
        video=_noised(state.video, pack_video(upscaled.video[None]), sigmas[0]),
        audio=_noised(state.audio, upscaled.audio[None], sigmas[0]),
        noise=lambda place, shape: sigmas[0] * beside(place, shape),
    )
    for conditioning in conditionings:
        state = conditioning.apply(state)
    made = Walk(transformer, Prompts(prompt), Guidance(), request.frame_rate).along(state, sigmas, progress)
    return replace(made, audio=upscaled.audio)


def _noised(noise: StreamState, tokens: Tensor, sigma: float) -> StreamState:
    """A stream of `tokens` [1, T, C] at a noise level: (1 - sigma) tokens + sigma noise."""
    return replace(noise, tokens=torch.lerp(tokens.float(), noise.tokens, sigma))


def _to(state: SampleState, device: torch.device) -> SampleState:
    return replace(state, video=state.video.to(device), audio=state.audio.to(device))


def _check(request: RenderRequest, prompts: Prompts, conditionings: Sequence[Conditioning]) -> None:
    if request.needs_negative != (prompts.negative is not None):
        raise ConfigError(
            f"guidance cfg is {request.guidance.video.cfg} (video) and {request.guidance.audio.cfg} (audio), and a "
            f"negative text is {'given' if prompts.negative else 'missing'}; give one if, and only if, a cfg is not 1"
        )
    given = tuple(type(item) for item in conditionings)
    wanted = given if request.mode == "composed" else MODES[request.mode]
    if given != wanted:
        names = [[kind.__name__ for kind in kinds] for kinds in (given, wanted)]
        raise ConfigError(f"mode {request.mode!r} was given {names[0]} beside its text; it takes {names[1]}")


def _finite(latents: SampledLatents) -> SampledLatents:
    for name, tokens in (("video", latents.video), ("audio", latents.audio)):
        if not tokens.isfinite().all():
            raise DataError(
                f"sampled {name} latents are not finite. The weights or the LoRA are broken, or computed in float16: "
                f"use bfloat16, and check the LoRA's training loss"
            )
    return latents


@contextmanager
def _evaluating(transformer: LTX2VideoTransformer3DModel) -> Iterator[None]:
    """Without dropout, whatever the mode the caller trains in; afterwards each module has its own mode again."""
    modes = {module: module.training for module in transformer.modules()}
    transformer.eval()
    try:
        yield
    finally:
        for module, training in modes.items():
            module.training = training
