"""What clips of `ltx_core.tiny.world` show and play, measured by rules that have learnt nothing.

Pixels are [B, 3, F, H, W] in [-1, 1], audio is [B, 2, N] at 16 kHz. Every detector answers with names of the world, or
None for what looks or sounds like nothing in it.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from ltx_core.shapes import AUDIO_RATE
from ltx_core.tiny.world import AUDIO, BACKGROUNDS, COLOURS, SHAPES, UNSEEN, Scene, Spec, draw

SEEN = 40
"""Pixels of the square that an outline is compared in."""
TURNS = 24
"""Angles at which each shape is tried."""
LEAST_OVERLAP = 0.55
"""Real outlines overlap with their shape by 0.9; noise is below a half."""
COLOUR_TOLERANCE = 0.7
MOVED, GROWN, TURNED = 0.12, 1.7, 0.12
"""Of the frame's edge; times the area; part of the outline that leaves itself."""
SILENT_DB = -50.0


@dataclass(frozen=True)
class Objects:
    """The objects of a batch, as one mask: [B, F, H, W], with colour [B, 3], centre [B, F, 2], area [B, F]."""

    mask: Tensor
    colour: Tensor
    ground: Tensor
    centre: Tensor
    area: Tensor


def find_objects(pixels: Tensor) -> Objects:
    """What differs from the colour of the frame's border."""
    frames = pixels.permute(0, 2, 1, 3, 4)
    rim = [frames[..., :3, :], frames[..., -3:, :], frames[..., :, :3], frames[..., :, -3:]]
    ground = torch.cat([part.flatten(3) for part in rim], -1).median(-1).values
    far = (frames - ground[..., None, None]).norm(dim=2)
    top = far.flatten(2).topk(80, dim=-1).values.mean(-1)[..., None, None]
    mask = (far > (0.5 * top).clamp(min=0.3)).float()
    core = (far > 0.8 * top).float() * mask
    colour = (frames * core[:, :, None]).sum((1, 3, 4)) / core.sum((1, 2, 3)).clamp(min=1)[:, None]
    area = mask.sum((2, 3))
    rows, columns = torch.arange(mask.shape[2]), torch.arange(mask.shape[3])
    x = (mask * columns).sum((2, 3)) / area.clamp(min=1)
    y = (mask * rows[:, None]).sum((2, 3)) / area.clamp(min=1)
    return Objects(mask, colour, ground.mean(1), torch.stack([x, y], -1), area)


def right(specs: Sequence[Spec], pixels: Tensor, audio: Tensor) -> dict[str, list[bool]]:
    """For each clip, whether each thing is as its specification says, and all of colour, shape, motion and sound.

    Sound is right if its kind is: low tones are one, high tones another; `pitch` measures them.
    """
    found = find_objects(pixels)
    detected = {
        "colour": (colours(found), [spec.objects[0][0] for spec in specs]),
        "shape": (shapes(found), [spec.objects[0][1] for spec in specs]),
        "motion": (motions(found), [spec.motion for spec in specs]),
        "background": (backgrounds(found), [spec.background for spec in specs]),
        "audio": ([_kind(heard) for heard in audio_kinds(audio)], [_kind(spec.audio) for spec in specs]),
    }
    same = {
        name: [one == other for one, other in zip(seen, wanted, strict=True)]
        for name, (seen, wanted) in detected.items()
    }
    parts = (same[name] for name in ("colour", "shape", "motion", "audio"))
    return {**same, "all": [all(of_one) for of_one in zip(*parts, strict=True)]}


def colours(found: Objects) -> list[str | None]:
    """The nearest colour, if one is near."""
    return _nearest(found.colour, COLOURS, found)


def backgrounds(found: Objects) -> list[str | None]:
    """The nearest background, if one is near."""
    return _nearest(found.ground, BACKGROUNDS, None)


def shapes(found: Objects) -> list[str | None]:
    """The shape whose outline, at its best angle, overlaps most in three frames."""
    names, frames = list(SHAPES), found.mask.shape[1]
    overlap = torch.zeros(len(found.mask), len(names))
    for frame in (2, frames // 2, frames - 3):
        outline = _outlines(found, frame)
        overlap += _overlap(outline, _templates()).view(len(outline), len(names), TURNS).amax(-1) / 3
    best = overlap.max(1)
    rows = zip(best.values.tolist(), best.indices.tolist(), _are_there(found), strict=True)
    return [names[i] if value > LEAST_OVERLAP and is_there else None for value, i, is_there in rows]


def motions(found: Objects) -> list[str | None]:
    """Where the middle of the objects goes, or whether they grow or turn."""
    height, width = found.mask.shape[2:]
    moved = found.centre[:, -3:].mean(1) - found.centre[:, :3].mean(1)
    moved = moved / torch.tensor([width, height])
    grown = found.area[:, -3:].mean(1) / found.area[:, :3].mean(1).clamp(min=1)
    first = _outlines(found, 0)
    others = [_outlines(found, frame) for frame in range(2, found.mask.shape[1], 2)]
    turned = torch.stack([1 - _pairwise_overlap(first, other) for other in others]).amax(0)
    names: list[str | None] = []
    for (dx, dy), growth, turn in zip(moved.tolist(), grown.tolist(), turned.tolist(), strict=True):
        if max(abs(dx), abs(dy)) > MOVED:
            names.append(("right" if dx > 0 else "left") if abs(dx) > abs(dy) else ("down" if dy > 0 else "up"))
        else:
            names.append("growing" if growth > GROWN else "spinning" if turn > TURNED else "still")
    return [name if seen else None for name, seen in zip(names, _are_there(found), strict=True)]


def audio_kinds(audio: Tensor) -> list[str | None]:
    """The sound by its level, how its power lies over time and pitch, and how its pitch moves."""
    return [_audio(one) for one in audio]


def pitch(audio: Tensor) -> Tensor:
    """[B] Hz of the strongest partial, to a fraction of a bin."""
    mono = audio.mean(1)
    power = torch.fft.rfft(mono * torch.hann_window(mono.shape[-1])).abs().square()
    peak = power[:, 1:-1].argmax(-1) + 1
    left, middle, right = (power.gather(1, peak[:, None] + step)[:, 0].clamp(min=1e-12).log() for step in (-1, 0, 1))
    offset = 0.5 * (left - right) / (left - 2 * middle + right).clamp(max=-1e-6)
    hertz: Tensor = (peak + offset) * AUDIO_RATE / mono.shape[-1]
    return hertz


def sides(audio: Tensor) -> Tensor:
    """[B, 2] where the sound is at the start and at the end: -1 left, 1 right."""
    quarter = audio.shape[-1] // 4
    power = torch.stack([audio[..., :quarter].square().mean(-1), audio[..., -quarter:].square().mean(-1)], 1)
    return (power[..., 1] - power[..., 0]) / (power.sum(-1) + 1e-9)


def _kind(sound: str | None) -> str | None:
    if sound is None or sound in UNSEEN or not AUDIO[sound].hertz:
        return sound
    return "low tone" if AUDIO[sound].hertz < 1000 else "high tone"


def _audio(stereo: Tensor) -> str | None:
    mono = stereo.square().sum(0).sqrt() * stereo.mean(0).sign()  # the level does not depend on the side
    level = 10 * math.log10(float(mono.square().mean()) + 1e-12)
    if level < SILENT_DB:
        return "silence"
    window = torch.hann_window(512)
    power = torch.stft(mono, 512, 128, window=window, return_complex=True, center=False).abs().square() + 1e-9
    flatness = float((power.mean(1).log().mean() - power.mean(1).mean().log()).exp())
    if flatness > 0.3:
        return "hiss"
    loud = power.sum(0)
    if float(loud.median() / loud.mean()) < 0.3:  # it is silent most of the time
        return "clicks"
    peaks = power.argmax(0).float() * AUDIO_RATE / 512
    steady = peaks[loud > 0.1 * loud.mean()]
    if float(steady.quantile(0.9) - steady.quantile(0.1)) > 200:
        return None  # no tone of this world wanders
    found = float(pitch(stereo[None])[0])
    return min((name for name in AUDIO if AUDIO[name].hertz), key=lambda n: abs(math.log(found / AUDIO[n].hertz)))


def _nearest(seen: Tensor, table: Mapping[str, tuple[int, int, int]], found: Objects | None) -> list[str | None]:
    names, levels = list(table), torch.tensor(list(table.values()), dtype=torch.float32) / 127.5 - 1
    far = torch.cdist(seen, levels).min(1)
    there = _are_there(found) if found is not None else [True] * len(seen)
    rows = zip(far.values.tolist(), far.indices.tolist(), there, strict=True)
    return [names[i] if distance < COLOUR_TOLERANCE and is_there else None for distance, i, is_there in rows]


def _are_there(found: Objects) -> list[bool]:
    area = found.area.median(1).values
    return [50 < a < 0.4 * found.mask[0, 0].numel() for a in area.tolist()]


def _outlines(found: Objects, frame: int) -> Tensor:
    """[B, SEEN * SEEN]: the mask around its centre, scaled to equal area."""
    mask, centre, area = found.mask[:, frame], found.centre[:, frame], found.area[:, frame]
    reach = (area.clamp(min=20) / math.pi).sqrt() * 1.9
    line = torch.linspace(-1, 1, SEEN)
    y, x = torch.meshgrid(line, line, indexing="ij")
    across = (centre[:, 0, None, None] + x * reach[:, None, None] + 0.5) / mask.shape[2] * 2 - 1
    down = (centre[:, 1, None, None] + y * reach[:, None, None] + 0.5) / mask.shape[1] * 2 - 1
    grid = torch.stack([across, down], -1)
    cut = torch.nn.functional.grid_sample(mask[:, None], grid, align_corners=False)
    return (cut[:, 0] > 0.5).float().flatten(1)


def _overlap(one: Tensor, other: Tensor) -> Tensor:
    both = one @ other.T
    return both / (one.sum(1)[:, None] + other.sum(1) - both).clamp(min=1)


def _pairwise_overlap(one: Tensor, other: Tensor) -> Tensor:
    both = (one * other).sum(1)
    return both / (one.sum(1) + other.sum(1) - both).clamp(min=1)


@cache
def _templates() -> Tensor:
    """[shapes * TURNS, SEEN * SEEN]"""
    count = len(SHAPES) * TURNS
    table = torch.tensor(list(SHAPES.values())).repeat_interleave(TURNS, 0)
    angle = (torch.arange(TURNS) / TURNS * 2 * math.pi).repeat(len(SHAPES))
    white, one = torch.ones(count, 1, 3), torch.ones(count, 1)
    scene = Scene(
        centre=torch.full((count, 1, 1, 2), 48.0),
        radius=(24 * table[:, 2]).view(count, 1, 1),
        angle=angle.view(count, 1, 1),
        corners=table[:, :1],
        inner=table[:, 1:2],
        colour=white,
        background=-white[:, 0],
        present=one,
    )
    return _outlines(find_objects(draw(scene, 96, 96)[0]), 0)
