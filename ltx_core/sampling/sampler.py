"""The Euler loop: from noise to latents of picture and sound, through the same `denoise` that training calls."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import pairwise

import torch
from diffusers import LTX2VideoTransformer3DModel

from ltx_core.conditioning.kinds import MODES, Conditioning
from ltx_core.conditioning.state import SampleState
from ltx_core.denoiser.packing import unpack_video
from ltx_core.errors import ConfigError, DataError
from ltx_core.progress import Progress, stop_if_asked
from ltx_core.sampling.latents import SampledLatents
from ltx_core.sampling.noise import initial_state
from ltx_core.sampling.request import RenderRequest
from ltx_core.sampling.schedule import schedule_sigmas
from ltx_core.sampling.walk import Prompts, Walk


def sample(
    transformer: LTX2VideoTransformer3DModel,
    prompts: Prompts,
    request: RenderRequest,
    progress: Progress,
    *,
    conditionings: Sequence[Conditioning] = (),
) -> SampledLatents:
    """Render one request up to its latents; the first of two phases, so that the transformer is gone when VAEs come.

    Args:
        transformer: base, or with a LoRA; the initial noise is the same for both.
        prompts: contexts of the request's prompt, and of its negative prompt if `request.needs_negative`.
        request: what to render.
        progress: told after each step, asked before each step whether to stop.
        conditionings: what `request.mode` is given beside the text, none for `t2v`.

    Raises:
        Stopped: asked to stop; a half-made sample is not kept.
        ConfigError: prompts or conditionings are not those that the request needs.
        DataError: the result is not finite.
    """
    _check(request, prompts, conditionings)
    config = transformer.config
    weight = transformer.proj_in.weight
    state = initial_state(
        request.seed, request.grid, config.in_channels, request.audio_tokens, config.audio_in_channels
    )
    for conditioning in conditionings:
        state = conditioning.apply(state)
    walk = Walk(transformer, prompts, request.guidance, request.frame_rate)
    sigmas = schedule_sigmas(request.schedule, request.num_steps)
    with torch.no_grad(), _evaluating(transformer):
        state = _to(state, weight.device)
        for step, (sigma, next_sigma) in enumerate(pairwise(sigmas)):
            stop_if_asked(progress, f"sampling step {step + 1} of {request.num_steps}")
            state = walk.step(state, sigma, next_sigma)
            progress.advance(step + 1, request.num_steps, "steps")
    return _finite(SampledLatents(unpack_video(state.video.tokens, state.grid)[0].cpu(), state.audio.tokens[0].cpu()))


def _to(state: SampleState, device: torch.device) -> SampleState:
    return replace(state, video=state.video.to(device), audio=state.audio.to(device))


def _check(request: RenderRequest, prompts: Prompts, conditionings: Sequence[Conditioning]) -> None:
    if request.needs_negative != (prompts.negative is not None):
        raise ConfigError(
            f"guidance cfg is {request.guidance.video.cfg} (video) and {request.guidance.audio.cfg} (audio), and a "
            f"negative text is {'given' if prompts.negative else 'missing'}; give one if, and only if, a cfg is not 1"
        )
    given, wanted = tuple(type(item) for item in conditionings), MODES[request.mode]
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
    """Without dropout, whatever the mode the caller trains in."""
    training = transformer.training
    transformer.eval()
    try:
        yield
    finally:
        transformer.train(training)
