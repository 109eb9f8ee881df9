"""What is learnt from: clips of the small world, drawn on the device that learns."""

import random
from collections.abc import Iterator

import torch
from torch import Tensor

from ltx_core.tiny.world import (
    AUDIO,
    COLOURS,
    SHAPES,
    TWO_OBJECT_MOTIONS,
    UNSEEN,
    Codes,
    Scene,
    Spec,
    all_specs,
    codes,
    draw,
    play,
    scene,
)

HELD_OUT = 10
"""One in ten combinations is never trained on."""
PAIRS = 2000
"""Specifications with two objects among those that are learnt from."""


def known() -> tuple[list[Spec], list[Spec]]:
    """Combinations that the base model learns from, and those that it is asked for afterwards."""
    shapes = [name for name in SHAPES if name not in UNSEEN]
    kinds = [name for name in AUDIO if name not in UNSEEN]
    specs = all_specs(shapes, kinds)
    random.Random(1234).shuffle(specs)
    cut = len(specs) // HELD_OUT
    return specs[cut:], specs[:cut]


def unseen(name: str) -> list[Spec]:
    """Combinations with one thing that the base model has never seen or heard, shuffled."""
    if name in SHAPES:
        specs = all_specs([name], [kind for kind in AUDIO if kind not in UNSEEN])
    else:
        specs = all_specs([shape for shape in SHAPES if shape not in UNSEEN], [name])
    random.Random(77).shuffle(specs)
    return specs


def pairs() -> list[Spec]:
    """Specifications with two objects."""
    chance, first = random.Random(99), known()[0]
    objects = [(colour, shape) for colour in COLOURS for shape in SHAPES if shape not in UNSEEN]
    return [
        Spec(
            tuple(chance.sample(objects, 2)),
            chance.choice(TWO_OBJECT_MOTIONS),
            chance.choice(first).background,
            chance.choice(first).audio,
        )
        for _ in range(PAIRS)
    ]


class Clips:
    """Endless batches on a device."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator
        self.specs = [*known()[0], *pairs()]
        self.table: Codes = codes(self.specs, generator.device)

    def draw_rows(self, count: int) -> Tensor:
        """Indices of random specifications, [count]."""
        return torch.randint(len(self.specs), (count,), device=self.generator.device, generator=self.generator)

    def scene(self, count: int) -> tuple[Codes, Scene]:
        """A batch of scenes that have words."""
        named = self.table.rows(self.draw_rows(count))
        return named, scene(named, self.generator)

    def free(self, count: int) -> Scene:
        """Scenes without words, for the video VAE: any colours, any angle, sizes between the named ones."""
        _, one = self.scene(count)

        def uniform(low: float, high: float, *shape: int) -> Tensor:
            drawn = torch.rand(count, *shape, device=self.generator.device, generator=self.generator)
            return low + (high - low) * drawn

        return one._replace(
            colour=uniform(-0.95, 0.95, 2, 3),
            background=uniform(-0.95, 0.95, 3),
            angle=one.angle + uniform(-3.14, 3.14, 1, 1),
            radius=one.radius * uniform(0.7, 1.3, 2, 1),
            inner=torch.where(one.corners == 0, one.inner, one.inner * uniform(0.8, 1.0, 2)),
        )


def in_batches(specs: list[Spec], generator: torch.Generator, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Pixels and audio of these specifications."""
    for begin in range(0, len(specs), size):
        named = codes(specs[begin : begin + size], generator.device)
        scenes = scene(named, generator)
        yield draw(scenes)[0], play(named, scenes, generator)
