"""Renders and clips of the small world as tensors, and continuous measures of them beside `tests.detectors`' names.

Pixels are [B, 3, F, H, W] in [-1, 1], audio is [B, 2, N] in [-1, 1] at 16 kHz.
"""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ltx_core.media.audio import decode_sound
from ltx_core.media.frames import decode_frames
from ltx_core.shapes import AUDIO_RATE
from ltx_core.tiny.world import COLOURS, WIDTH
from tests.detectors import Objects, find_objects

ENDS = 5
"""Frames at each end of a clip that are compared to see what has drifted."""
FLOOR_DB = -60.0
"""Quieter parts of a spectrogram count as this, relative to full scale."""


class Clips(NamedTuple):
    """A batch of clips of equal length."""

    pixels: Tensor
    audio: Tensor


def read_clips(files: Sequence[Path], num_frames: int, frame_rate: float) -> Clips:
    """Decode the first `num_frames` frames and their audio; where a file has less audio, the rest is silent."""
    clips = [_read(path, num_frames, frame_rate) for path in files]
    return Clips(torch.stack([pixels for pixels, _ in clips]), torch.stack([audio for _, audio in clips]))


def _read(path: Path, num_frames: int, frame_rate: float) -> tuple[Tensor, Tensor]:
    frames = np.stack(list(decode_frames(path, [(i + 0.25) / frame_rate for i in range(num_frames)])))
    samples = round(num_frames * AUDIO_RATE / frame_rate)
    decoded = decode_sound(path, 0.0, num_frames / frame_rate, rate=AUDIO_RATE)
    audio = torch.zeros(2, 0) if decoded is None else torch.from_numpy(decoded)
    audio = torch.nn.functional.pad(audio, (0, samples))[:, :samples]
    return torch.from_numpy(frames).permute(3, 0, 1, 2).float() / 127.5 - 1, audio


def colour_distance(found: Objects, colour: str) -> Tensor:
    """[B] distance of the objects' mean colour from a named one; the cube of all colours has edges of 2."""
    wanted = torch.tensor(COLOURS[colour], dtype=torch.float32) / 127.5 - 1
    return (found.colour - wanted).norm(dim=-1)


def flicker(pixels: Tensor, found: Objects) -> Tensor:
    """[B] mean change of the background from frame to frame, in grey levels of 0 to 255. Objects and a rim of three
    pixels around them are left out, so that motion does not count."""
    near = torch.nn.functional.max_pool2d(found.mask, 7, stride=1, padding=3)
    still = 1 - torch.maximum(near[:, 1:], near[:, :-1])
    change = (pixels[:, :, 1:] - pixels[:, :, :-1]).abs().mean(1) * 127.5
    return (change * still).sum((1, 2, 3)) / still.sum((1, 2, 3)).clamp(min=1)


def colour_wander(pixels: Tensor, found: Objects) -> Tensor:
    """[B] standard deviation over the frames of the objects' mean colour, in grey levels, mean of the channels."""
    return _frame_colours(pixels, found.mask).std(1).mean(-1) * 127.5


def drift(pixels: Tensor) -> Tensor:
    """[B] distance between the first and the last frames' mean colour of the objects, plus that of the background."""
    found = find_objects(pixels)
    total = torch.zeros(len(pixels))
    for mask in (found.mask, 1 - found.mask):
        colours = _frame_colours(pixels, mask)
        total += (colours[:, -ENDS:].mean(1) - colours[:, :ENDS].mean(1)).norm(dim=-1)
    return total


def _frame_colours(pixels: Tensor, mask: Tensor) -> Tensor:
    """[B, F, 3]"""
    weight = mask[:, None]
    colours: Tensor = ((pixels * weight).sum((3, 4)) / weight.sum((3, 4)).clamp(min=1)).transpose(1, 2)
    return colours


def psnr(one: Tensor, other: Tensor, where: Tensor | None = None) -> Tensor:
    """[B] peak signal to noise in dB of pixels [B, 3, F, H, W], over the places [H, W] that are 1, or all."""
    weight = torch.ones_like(one[0, 0, 0]) if where is None else where
    error = ((one - other).square() * weight).mean((1, 2, 3, 4)) / weight.mean()
    return 10 * (4 / error.clamp(min=1e-6)).log10()


def place_error(one: Tensor, other: Tensor) -> Tensor:
    """[B] mean distance over the frames between where the objects are in two clips from left to right, as a fraction
    of the width."""
    places = [find_objects(pixels).centre[..., 0] for pixels in (one, other)]
    return (places[0] - places[1]).abs().mean(1) / WIDTH


def audio_distance(one: Tensor, other: Tensor) -> Tensor:
    """[B] mean difference of two spectrograms in dB, over times, frequencies and channels."""
    levels = [_decibels(audio) for audio in (one, other)]
    return (levels[0] - levels[1]).abs().flatten(1).mean(1)


def _decibels(audio: Tensor) -> Tensor:
    window = torch.hann_window(512)
    flat = torch.stft(audio.flatten(0, 1), 512, 256, window=window, return_complex=True, center=False)
    power = (flat.abs() / window.sum()).square()
    return (10 * power.clamp(min=10 ** (FLOOR_DB / 10)).log10()).reshape(len(audio), -1)


def mean(values: Tensor) -> float:
    """The mean as a number that JSON has.

    Raises:
        ValueError: it is none.
    """
    found = float(values.float().mean())
    if not math.isfinite(found):
        raise ValueError(f"a figure is {found}: a render is damaged, or there is none")
    return found
