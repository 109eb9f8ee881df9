"""Conditions that come from files, several in a render. Needs torch."""

import torch
from torch import Tensor

from ltx_core.conditioning.kinds import (
    AudioMask,
    Conditioning,
    FirstFrame,
    Keyframes,
    Mask,
    Prefix,
    Suffix,
    WholeAudio,
    inside,
    outside,
)
from ltx_core.conditioning.reference import AudioReference, Reference
from ltx_core.sampling.request import RenderRequest
from ltx_core.shapes import AUDIO_LATENT_SECONDS
from ltx_core.training.conditions import audio_times
from tasks.stages.render.conditioning import ConditioningSource

EDGES = ("audio_prefix", "audio_suffix")


def audio_seconds(source: ConditioningSource, request: RenderRequest) -> float:
    """Length of the audio that is read of a file: all of the render's, or that of its part."""
    for condition in source.conditions:
        if condition.kind in EDGES:
            return min(condition.frames * AUDIO_LATENT_SECONDS, request.seconds)
    return request.seconds


def of_file_part(part: ConditioningSource, request: RenderRequest, latent: Tensor) -> Conditioning:
    """The conditioning by a part of a composed render; `latent` is that of its file, video or audio.

    Raises:
        ShapeError: it does not fit the render, or leaves nothing to generate.
    """
    (condition,) = part.conditions
    kind, strength, rate = condition.kind, condition.strength, request.frame_rate
    if kind.startswith("audio"):
        return _of_audio(part, request, latent)
    if kind in ("outpaint", "inpaint"):
        assert condition.region is not None  # such a condition has one
        places = inside if kind == "outpaint" else outside
        return Mask(latent, places(condition.region, request.grid), strength)
    if kind == "keyframe":
        return Keyframes(latent, (min(round(part.at_seconds * rate), request.num_frames - 1),), rate, strength)
    if kind == "reference":
        return Reference(latent, rate, strength)
    if kind == "suffix":  # its file begins a frame before it, as a latent frame wants
        return Suffix(latent[:, 1:], strength)
    return FirstFrame(latent, strength) if kind == "first_frame" else Prefix(latent, strength)


def _of_audio(part: ConditioningSource, request: RenderRequest, tokens: Tensor) -> Conditioning:
    (condition,) = part.conditions
    if condition.kind == "audio":
        return WholeAudio(tokens)
    if condition.kind == "audio_reference":
        return AudioReference(tokens, condition.strength)
    count, whole = request.audio_tokens, torch.zeros(request.audio_tokens, tokens.shape[1])
    if condition.kind == "audio_suffix":
        whole[max(count - len(tokens), 0) :] = tokens[-count:]
    else:
        whole[: len(tokens)] = tokens[:count]
    return AudioMask(whole, audio_times(condition, count), condition.strength)
