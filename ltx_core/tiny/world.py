"""The small world of the tiny model: one or two coloured shapes that move over a plain background, with audio.

Everything is drawn from a specification and a random generator, on any device, so that pretraining makes as many clips
as it wants and the demo writes footage of what the model has never seen. A caption follows from the specification
alone: colour, shape, motion, background, and the audio with its pitch. The stereo position of the audio is where the
object is.

Pitches are multiples of 100 Hz. Their periods then fit the 10 ms hop of the spectrogram, and a vocoder that sees
magnitudes only can place them.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ltx_core.errors import ConfigError
from ltx_core.shapes import AUDIO_RATE

WIDTH, HEIGHT, FRAMES, FRAME_RATE = 128, 96, 17, 25
NUM_SAMPLES = FRAMES * AUDIO_RATE // FRAME_RATE


class Shape(NamedTuple):
    """A regular star polygon.

    Attributes:
        corners: 0 for a circle.
        inner: Inner radius as a fraction of the outer one; cos(pi / corners) makes straight edges.
        scale: Outer radius of the shape over that of the circle with about the same area.
    """

    corners: int
    inner: float
    scale: float


class Audio(NamedTuple):
    """A kind of audio by its words; `hertz` is its pitch, 0 if it has none."""

    words: str
    hertz: int = 0


COLOURS: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {
        "red": (220, 40, 40),
        "green": (40, 180, 60),
        "blue": (50, 90, 235),
        "yellow": (240, 210, 40),
        "cyan": (40, 205, 225),
        "purple": (165, 55, 205),
        "pink": (255, 120, 190),
    }
)
SHAPES: Mapping[str, Shape] = MappingProxyType(
    {
        "circle": Shape(0, 1.0, 1.0),
        "square": Shape(4, math.cos(math.pi / 4), 1.22),
        "triangle": Shape(3, 0.5, 1.38),
        "star": Shape(5, 0.42, 1.40),
    }
)
BACKGROUNDS: Mapping[str, tuple[int, int, int]] = MappingProxyType(
    {"dark": (18, 18, 24), "grey": (128, 128, 128), "white": (240, 240, 240), "brown": (92, 60, 36)}
)
MOTIONS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "left": ("moves to the left", "move to the left"),
        "right": ("moves to the right", "move to the right"),
        "up": ("moves up", "move up"),
        "down": ("moves down", "move down"),
        "still": ("stays still", "stay still"),
        "growing": ("grows", "grow"),
        "spinning": ("spins", "spin"),
    }
)
"""The verb for one object, and for two."""
AUDIO: Mapping[str, Audio] = MappingProxyType(
    {
        "deep": Audio("a deep tone hums", 200),
        "low": Audio("a low tone hums", 300),
        "high": Audio("a high tone rings", 1500),
        "shrill": Audio("a shrill tone rings", 2000),
        "hiss": Audio("noise hisses"),
        "clicks": Audio("something clicks"),
        "silence": Audio("nothing is heard"),
        "bell": Audio("a bell rings", 800),
    }
)
UNSEEN = ("pink", "star", "bell")
"""Things that the base model never sees, so that a LoRA has something to learn."""
TWO_OBJECT_MOTIONS = ("left", "right", "up", "down", "still")
CLICK_HERTZ = 3000.0


@dataclass(frozen=True)
class Spec:
    """Contents of a clip: the things that it shows and plays.

    Attributes:
        objects: Colour and shape of one or two objects.
        motion: A name in `MOTIONS`, of all objects.
        background: A name in `BACKGROUNDS`.
        audio: A name in `AUDIO`.

    Raises:
        ConfigError: a combination that cannot be seen: a circle that spins, or two objects that grow or spin.
    """

    objects: tuple[tuple[str, str], ...]
    motion: str
    background: str
    audio: str

    def __post_init__(self) -> None:
        if len(self.objects) == 1 and self.objects[0][1] == "circle" and self.motion == "spinning":
            raise ConfigError("a circle that spins looks as one that stays still; choose another shape or motion")
        if len(self.objects) == 2 and self.motion not in TWO_OBJECT_MOTIONS:
            raise ConfigError(f"two objects can be {', '.join(TWO_OBJECT_MOTIONS)}, and not {self.motion}")


def seen(names: Iterable[str]) -> list[str]:
    """Those of a table's names that the base model knows."""
    return [name for name in names if name not in UNSEEN]


def all_specs(shapes: Sequence[str], audio: Sequence[str], colours: Sequence[str] | None = None) -> list[Spec]:
    """Every clip of one object with these shapes, audio and colours, in a fixed order; by default in seen colours."""
    return [
        Spec(((colour, shape),), motion, background, kind)
        for colour in (seen(COLOURS) if colours is None else colours)
        for shape in shapes
        for motion in MOTIONS
        if not (shape == "circle" and motion == "spinning")
        for background in BACKGROUNDS
        for kind in audio
    ]


def caption(spec: Spec, phrasing: int = 0) -> str:
    """The words for a clip, in one of three phrasings (0, 1, 2)."""
    names = " and ".join(f"a {colour} {shape}" for colour, shape in spec.objects)
    scene = f"{names} {MOTIONS[spec.motion][len(spec.objects) - 1]}"
    heard, ground = AUDIO[spec.audio].words, f"over a {spec.background} background"
    text = (f"{scene} {ground} while {heard}.", f"{heard} while {scene} {ground}.", f"{ground}, {scene}, and {heard}.")
    return text[phrasing][0].upper() + text[phrasing][1:]


class Codes(NamedTuple):
    """Specifications as indices into the tables of this file, so that a device can draw them by itself.

    Attributes:
        colours: [B, 2]; the first twice if there is one object.
        shapes: [B, 2].
        two: [B], true if there are two objects.
        motion: [B].
        background: [B].
        audio: [B].
    """

    colours: Tensor
    shapes: Tensor
    two: Tensor
    motion: Tensor
    background: Tensor
    audio: Tensor

    def rows(self, index: Tensor) -> "Codes":
        """Those at `index`."""
        return Codes(*(column[index] for column in self))


def codes(specs: Sequence[Spec], device: torch.device | str = "cpu") -> Codes:
    """The indices of specifications."""
    pairs = [spec.objects if len(spec.objects) == 2 else spec.objects * 2 for spec in specs]
    columns = (
        [[list(COLOURS).index(colour) for colour, _ in pair] for pair in pairs],
        [[list(SHAPES).index(shape) for _, shape in pair] for pair in pairs],
        [len(spec.objects) == 2 for spec in specs],
        [list(MOTIONS).index(spec.motion) for spec in specs],
        [list(BACKGROUNDS).index(spec.background) for spec in specs],
        [list(AUDIO).index(spec.audio) for spec in specs],
    )
    return Codes(*(torch.tensor(column, device=device) for column in columns))


class Scene(NamedTuple):
    """Objects of a batch over time, in pixels and radians.

    Attributes:
        centre: [B, K, F, 2], x and y.
        radius: [B, K, F], outer.
        angle: [B, K, F].
        corners: [B, K]; 0 is a circle.
        inner: [B, K].
        colour: [B, K, 3] in [-1, 1].
        background: [B, 3] in [-1, 1].
        present: [B, K], 0 or 1.
    """

    centre: Tensor
    radius: Tensor
    angle: Tensor
    corners: Tensor
    inner: Tensor
    colour: Tensor
    background: Tensor
    present: Tensor


def scene(codes: Codes, generator: torch.Generator) -> Scene:
    """Sizes, places and speeds for what `codes` name, drawn from the generator, on its device."""
    count, device = len(codes.two), generator.device
    uniform, two = _Uniform(generator, count), codes.two

    def among(*names: str) -> Tensor:
        return _table(tuple(name in names for name in MOTIONS), device)[codes.motion]

    sign = torch.where(among("left", "up"), -1.0, 1.0)
    sideways, upright = among("left", "right").float(), among("up", "down").float()
    grows, spins = among("growing"), among("spinning").float()
    time = torch.linspace(0, 1, FRAMES, device=device)

    base = torch.where(two, uniform(11, 14), uniform(14, 19))
    slower = torch.where(two, 0.8, 1.0)
    travel = torch.stack([uniform(0.32, 0.45) * WIDTH * sideways, uniform(0.26, 0.36) * HEIGHT * upright], -1)
    travel = travel * slower[:, None]
    size = _table((float(WIDTH), float(HEIGHT)), device)
    free = (size - 2.5 * base[:, None] - travel).clamp(min=0) * torch.where(grows, 0.4, 1.0)[:, None]
    across = torch.stack([1 - sideways, sideways], -1)  # two objects lie side by side across the way they go
    free = torch.where(two[:, None], free * (1 - across) + 8 * across, free)
    start = torch.stack([uniform(-0.5, 0.5), uniform(-0.5, 0.5)], -1) * free
    path = size / 2 + start[:, None] + (sign[:, None] * travel)[:, None] * (time[:, None] - 0.5)
    apart = _table((24.0, 22.0), device) * across * two[:, None]
    centre = torch.stack([path - apart[:, None], path + apart[:, None]], 1)

    grown = 9 + (uniform(22, 27)[:, None] - 9) * time
    radius = torch.where(grows[:, None], grown, base[:, None].expand(count, FRAMES))
    angle = uniform(-0.15, 0.15)[:, None] + (spins * uniform(1.3, 2.4))[:, None] * time
    shapes = _table(tuple(SHAPES.values()), device)[codes.shapes]
    colours = _levels(COLOURS, device)[codes.colours]
    grounds = _levels(BACKGROUNDS, device)[codes.background]
    return Scene(
        centre=centre,
        radius=radius[:, None] * shapes[..., 2, None],
        angle=angle[:, None].expand(count, 2, FRAMES),
        corners=shapes[..., 0],
        inner=shapes[..., 1],
        colour=(colours + uniform(-0.05, 0.05, 2, 3)).clamp(-1, 1),
        background=grounds + uniform(-0.03, 0.03, 3),
        present=torch.stack([torch.ones_like(two), two], 1).float(),
    )


def draw(scene: Scene, height: int = HEIGHT, width: int = WIDTH) -> tuple[Tensor, Tensor]:
    """Pixels [B, 3, F, H, W] in [-1, 1], and how much of each pixel is an object [B, 1, F, H, W] in [0, 1]."""
    device = scene.centre.device
    y, x = torch.meshgrid(
        torch.arange(height, device=device) + 0.5, torch.arange(width, device=device) + 0.5, indexing="ij"
    )
    frames = scene.centre.shape[2]
    pixels = scene.background[:, :, None, None, None].expand(-1, -1, frames, height, width)
    covered = torch.zeros_like(pixels[:, :1])
    for k in range(scene.centre.shape[1]):
        alpha = _coverage(scene, k, x, y)[:, None]
        pixels = pixels * (1 - alpha) + scene.colour[:, k, :, None, None, None] * alpha
        covered = torch.maximum(covered, alpha)
    return pixels, covered


def play(codes: Codes, scene: Scene, generator: torch.Generator, *, locked: bool = False) -> Tensor:
    """Stereo audio [B, 2, N] in [-1, 1] at 16 kHz; each lies where its objects are.

    Tones begin at a random phase, or `locked` at none: then all clips of one pitch have the same waveform, but for its
    gain.
    """
    device, count = generator.device, len(codes.two)
    uniform = _Uniform(generator, count)
    time = torch.arange(NUM_SAMPLES, device=device) / AUDIO_RATE
    phase, gain = uniform(0, 0.0 if locked else 2 * math.pi, 1), uniform(0.25, 0.4, 1)
    hertz = _table(tuple(float(one.hertz) for one in AUDIO.values()), device)[codes.audio][:, None]
    turn = 2 * math.pi * hertz * time + phase
    rich = 0.7 * turn.sin() + 0.2 * (2 * turn).sin() + 0.1 * (3 * turn).sin()
    waves = {
        "hiss": 0.4 * torch.randn(count, NUM_SAMPLES, device=device, generator=generator),
        "clicks": _clicks(time, uniform),
        "silence": torch.zeros(count, NUM_SAMPLES, device=device),
    }
    mono = torch.where(hertz < 1000, rich, 0.8 * turn.sin())
    for name, wave in waves.items():
        mono = torch.where((codes.audio == list(AUDIO).index(name))[:, None], wave, mono)
    mono = mono * gain
    place = (scene.centre[..., 0] * scene.present[..., None]).sum(1) / scene.present.sum(1, keepdim=True) / WIDTH
    place = torch.nn.functional.interpolate(place[:, None], size=NUM_SAMPLES, mode="linear", align_corners=True)[:, 0]
    angle = place.clamp(0, 1) * math.pi / 2
    return torch.stack([mono * angle.cos(), mono * angle.sin()], 1).clamp(-1, 1)


class _Uniform:
    """Numbers drawn evenly between two bounds, a row for each clip."""

    def __init__(self, generator: torch.Generator, count: int) -> None:
        self.generator, self.count = generator, count

    def __call__(self, low: float, high: float, *shape: int) -> Tensor:
        drawn = torch.rand(self.count, *shape, device=self.generator.device, generator=self.generator)
        return low + (high - low) * drawn


def _levels(table: Mapping[str, tuple[int, int, int]], device: torch.device) -> Tensor:
    """[names, 3] in [-1, 1]."""
    return _table(tuple(tuple(level / 127.5 - 1 for level in colour) for colour in table.values()), device)


@cache
def _table(values: tuple[Any, ...], device: torch.device) -> Tensor:
    """A constant, copied to the device once: a CUDA graph cannot copy it from the host."""
    return torch.tensor(values, device=device)


def _coverage(scene: Scene, k: int, x: Tensor, y: Tensor) -> Tensor:
    """[B, F, H, W]: 1 inside object `k`, 0 outside, between over one pixel at its edge."""
    radius = scene.radius[:, k, :, None, None]
    corners, inner = scene.corners[:, k, None, None, None], scene.inner[:, k, None, None, None]
    upright = torch.where(corners == 4, math.pi / 4, math.pi / 2)
    turn = scene.angle[:, k, :, None, None] - upright
    dx = (x - scene.centre[:, k, :, 0, None, None]) / radius
    dy = (y - scene.centre[:, k, :, 1, None, None]) / radius
    u, v = dx * turn.cos() + dy * turn.sin(), dy * turn.cos() - dx * turn.sin()
    inside = 0.5 - _distance(u, v, corners, inner) * radius
    return inside.clamp(0, 1) * scene.present[:, k, None, None, None]


def _distance(u: Tensor, v: Tensor, corners: Tensor, inner: Tensor) -> Tensor:
    """Distance to the edge of a star polygon of outer radius 1, or of the unit circle; negative inside.

    By symmetry only half of a corner's sector is looked at, whose edge is a straight line.
    """
    rho, sector = (u.square() + v.square()).sqrt(), 2 * math.pi / corners.clamp(min=3)
    folded = (torch.remainder(torch.atan2(v, u) + sector / 2, sector) - sector / 2).abs()
    dent_x, dent_y = inner * (sector / 2).cos(), inner * (sector / 2).sin()
    edge = ((dent_x - 1).square() + dent_y.square()).sqrt()
    polygon = ((rho * folded.cos() - 1) * dent_y - rho * folded.sin() * (dent_x - 1)) / edge
    return torch.where(corners == 0, rho - 1, polygon)


def _clicks(time: Tensor, uniform: _Uniform) -> Tensor:
    """Short bursts of 3 kHz, 5 to 10 a second."""
    period = uniform(0.10, 0.20, 1)
    since = torch.remainder(time + uniform(0, 1, 1) * period, period)
    return 1.6 * (2 * math.pi * CLICK_HERTZ * since).sin() * (-since / 0.004).exp()
