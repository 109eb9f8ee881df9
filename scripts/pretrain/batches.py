"""What is learnt from: clips of the small world, drawn on the device that learns, and captions as hidden states of the
toy Gemma, whose weights are random and stay so."""

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoTokenizer

from ltx_core.tiny.gemma import build_gemma, train_tokenizer, write_gemma
from ltx_core.tiny.world import (
    AUDIO,
    COLOURS,
    SHAPES,
    TWO_OBJECT_MOTIONS,
    Codes,
    Scene,
    Spec,
    all_specs,
    caption,
    codes,
    draw,
    play,
    scene,
    seen,
)

VOCABULARY = 1000
TEXT_SEED = 7
HELD_OUT = 10
"""One in ten combinations is never trained on."""
FREE_CORNERS = (0.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0)
FIVE_LEAST = 0.55
"""Inner radius of the sharpest star with five corners; the one that the base model never sees has 0.42."""
PAIRS = 2000
"""Specifications with two objects among those that are learnt from."""


def known() -> tuple[list[Spec], list[Spec]]:
    """Combinations that the base model learns from, and those that it is asked for afterwards."""
    specs = all_specs(seen(SHAPES), seen(AUDIO))
    random.Random(1234).shuffle(specs)
    cut = len(specs) // HELD_OUT
    return specs[cut:], specs[:cut]


def pairs() -> list[Spec]:
    """Specifications with two objects."""
    chance, first = random.Random(99), known()[0]
    objects = [(colour, shape) for colour in seen(COLOURS) for shape in seen(SHAPES)]
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
        self.corners = torch.tensor(FREE_CORNERS, device=generator.device)

    def draw_rows(self, count: int) -> Tensor:
        """Indices of random specifications, [count]."""
        return torch.randint(len(self.specs), (count,), device=self.generator.device, generator=self.generator)

    def scene(self, count: int) -> tuple[Codes, Scene]:
        """A batch of scenes that have words."""
        named = self.table.rows(self.draw_rows(count))
        return named, scene(named, self.generator)

    def free(self, count: int) -> Scene:
        """Scenes without words, for the video VAE: any colours, angles and outlines, sizes around the named ones.

        As the released VAE has seen more than any caption names, this one sees stars of three to eight corners. The
        five corners of `world.SHAPES`' star are never as sharp as there.
        """
        _, one = self.scene(count)

        def uniform(low: float, high: float, *shape: int) -> Tensor:
            drawn = torch.rand(count, *shape, device=self.generator.device, generator=self.generator)
            return low + (high - low) * drawn

        corners = self.corners[(uniform(0, 1, 2) * len(FREE_CORNERS)).long().clamp(max=len(FREE_CORNERS) - 1)]
        straight = (math.pi / corners.clamp(min=3)).cos()
        least = torch.where(corners == 5, FIVE_LEAST, 0.4).minimum(straight)
        inner = torch.where(uniform(0, 1, 2) < 0.4, straight, least + (straight - least) * uniform(0, 1, 2))
        return one._replace(
            corners=corners,
            colour=uniform(-0.95, 0.95, 2, 3),
            background=uniform(-0.95, 0.95, 3),
            angle=one.angle + uniform(-3.14, 3.14, 1, 1),
            radius=one.radius * uniform(0.7, 1.3, 2, 1),
            inner=inner,
        )


def in_batches(specs: list[Spec], generator: torch.Generator, size: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Pixels and audio of these specifications."""
    for begin in range(0, len(specs), size):
        named = codes(specs[begin : begin + size], generator.device)
        scenes = scene(named, generator)
        yield draw(scenes)[0], play(named, scenes, generator)


class Text:
    """The encoder on a device.

    Args:
        folder: Where it lies, and is written if it does not.
        device: Where it computes.
    """

    def __init__(self, folder: Path, device: torch.device) -> None:
        if not (folder / "config.json").exists():
            texts = [caption(spec, i % 3) for i, spec in enumerate(all_specs(list(SHAPES), list(AUDIO)))]
            write_gemma(folder, TEXT_SEED, train_tokenizer(texts, VOCABULARY))
        self.tokenizer: Any = AutoTokenizer.from_pretrained(folder)
        self.model: Any = (
            build_gemma(self.tokenizer, TEXT_SEED).model.language_model.to(device).eval().requires_grad_(False)
        )
        self.device = device

    @torch.no_grad()
    def embed(self, captions: list[str], batch: int = 1024) -> tuple[Tensor, Tensor]:
        """Normalised states of all layers [K, S, D * layers], zero after a caption's end, and the lengths [K]."""
        bos = self.tokenizer.bos_token_id
        ids = [self.tokenizer(text.strip(), add_special_tokens=True)["input_ids"] for text in captions]
        ids = [one if one[:1] == [bos] else [bos, *one] for one in ids]
        longest = max(map(len, ids))
        lengths = torch.tensor([len(one) for one in ids], device=self.device)
        table = torch.tensor([one + [0] * (longest - len(one)) for one in ids], device=self.device)
        made = []
        for part in table.split(batch):  # causal, so what follows a caption does not change it
            found = self.model(input_ids=part, output_hidden_states=True, use_cache=False)
            states = torch.stack([state.float() for state in found.hidden_states], dim=-1)
            made.append((states * torch.rsqrt(states.square().mean(dim=2, keepdim=True) + 1e-6)).flatten(2))
        valid = torch.arange(longest, device=self.device) < lengths[:, None]
        return torch.cat(made) * valid[..., None], lengths
