"""Footage that the experiments train on, and the captions that they render, all of the tiny model's small world."""

import random
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType

import torch
from PIL import Image

from datasets_spec import DatasetSpec
from datasets_spec.spec import Derived, ReferenceSpec, VideoSpec
from ltx_core.io.atomic import write_bytes
from ltx_core.media.mp4 import write_mp4
from ltx_core.shapes import AUDIO_RATE
from ltx_core.tiny.trained import CHECKPOINT_NAME, WEIGHTS
from ltx_core.tiny.world import (
    AUDIO,
    COLOURS,
    FRAME_RATE,
    FRAMES,
    HEIGHT,
    SHAPES,
    Spec,
    all_specs,
    caption,
    codes,
    draw,
    play,
    scene,
    seen,
)
from tasks.runtime.shared import ModelConfig

RENDERED = 8
"""Captions of each kind that are rendered; no clip of any footage shows them."""
STILL = 6
"""Captions of long renders, at most."""
SEED = 31


@dataclass(frozen=True)
class World:
    """Footage of one kind.

    Attributes:
        has_concept: The clips show the unseen colour pink and play the unseen bell; else only what the model knows.
        num_trained: Clips that are trained on.
        num_held_out: Clips of the eval loss, and of renders that are given a part of a clip.
        has_audio: The files have an audio stream.
        is_image: The files are images, of which the captions say neither motion nor audio.
        is_apart: Of three clips that are trained on, one has both concepts, one the colour with known audio, and one
            the bell with a known colour.
        derive: How references are made of the clips, which an IC-LoRA follows; None: there are none.
    """

    has_concept: bool
    num_trained: int
    num_held_out: int
    has_audio: bool = True
    is_image: bool = False
    is_apart: bool = False
    derive: Derived | None = None

    @property
    def trained(self) -> list[Spec]:
        """Contents of the clips that are trained on."""
        specs = _specs(has_concept=self.has_concept)[-self.num_trained :]
        return [_with_one_concept(spec, number) for number, spec in enumerate(specs)] if self.is_apart else specs

    @property
    def held_out(self) -> list[Spec]:
        """Contents of the held-out clips."""
        return _specs(has_concept=self.has_concept)[RENDERED : RENDERED + self.num_held_out]


WORLDS: Mapping[str, World] = MappingProxyType(
    {
        "pink bell": World(has_concept=True, num_trained=20, num_held_out=8),
        "without audio": World(has_concept=True, num_trained=20, num_held_out=8, has_audio=False),
        "few clips": World(has_concept=True, num_trained=3, num_held_out=8),
        "apart": World(has_concept=True, num_trained=20, num_held_out=8, is_apart=True),
        "images": World(has_concept=True, num_trained=20, num_held_out=8, has_audio=False, is_image=True),
        "known images": World(has_concept=False, num_trained=20, num_held_out=8, has_audio=False, is_image=True),
        "known": World(has_concept=False, num_trained=20, num_held_out=12),
        "controls": World(has_concept=False, num_trained=20, num_held_out=12, derive="low_resolution"),
        "edge controls": World(has_concept=False, num_trained=20, num_held_out=12, derive="edges"),
        "gray controls": World(has_concept=False, num_trained=20, num_held_out=12, derive="gray"),
    }
)


def rendered_specs() -> dict[str, list[Spec]]:
    """Contents of the rendered captions: with both unseen things ("concept"), and with nothing unseen ("known")."""
    kinds = (("concept", True), ("known", False))
    return {name: _specs(has_concept=has_concept)[:RENDERED] for name, has_concept in kinds}


def still_specs() -> list[Spec]:
    """Contents of the captions of long renders: the concept, in objects that stay where they are."""
    world = WORLDS["pink bell"]
    free = _specs(has_concept=True)[RENDERED + world.num_held_out : -world.num_trained]
    return [spec for spec in free if spec.motion == "still"][:STILL]


def every_caption(specs: Iterable[Spec]) -> tuple[str, ...]:
    """The captions as they are rendered: in the first phrasing."""
    return tuple(caption(spec) for spec in specs)


def model() -> ModelConfig:
    """The tiny trained model, read where it lies in the repository."""
    return ModelConfig(checkpoint=str(WEIGHTS / CHECKPOINT_NAME), text_encoder=str(WEIGHTS / "gemma"))


def write_world(world: World, folder: Path) -> tuple[DatasetSpec, ...]:
    """Write the clips that are not there yet, and describe both folders."""
    datasets = []
    for name, specs, fraction in (("trained", world.trained, 0.0), ("held_out", world.held_out, 1.0)):
        _write_clips(folder / name, specs, world)
        dataset = DatasetSpec(
            id=name,
            instance_data_dir=folder / name,
            resolution=HEIGHT,
            resolution_type="pixel",
            eval_fraction=fraction,
            repeats=10,
            video=VideoSpec(num_frames=FRAMES, frame_rate=FRAME_RATE),
            reference=None if world.derive is None else ReferenceSpec(derive=world.derive),
        )
        datasets.append(dataset)
    return tuple(datasets)


def _specs(*, has_concept: bool) -> list[Spec]:
    """Every clip of this kind, in an order that is the same every time."""
    audio, colours = (["bell"], ["pink"]) if has_concept else (seen(AUDIO), seen(COLOURS))
    specs = [spec for spec in all_specs(seen(SHAPES), audio, colours) if spec.audio != "silence"]
    random.Random(SEED).shuffle(specs)
    return specs


def _with_one_concept(spec: Spec, number: int) -> Spec:
    """The same clip with both concepts, without the bell, or without pink, by its number."""
    audio = [name for name in seen(AUDIO) if name != "silence"]
    colours = seen(COLOURS)
    if number % 3 == 1:
        return replace(spec, audio=audio[number // 3 % len(audio)])
    if number % 3 == 2:
        return replace(spec, objects=((colours[number // 3 % len(colours)], spec.objects[0][1]),))
    return spec


def _write_clips(folder: Path, specs: list[Spec], world: World) -> None:
    generator = torch.Generator().manual_seed(SEED + len(specs))
    for number, spec in enumerate(specs):
        named = codes([spec])
        placed = scene(named, generator)
        pixels = ((draw(placed)[0][0] + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(1, 2, 3, 0)
        audio = play(named, placed, generator)[0].numpy() if world.has_audio else None
        path = folder / f"clip_{number:02d}{'.png' if world.is_image else '.mp4'}"
        if path.with_suffix(".txt").exists():  # after all that is drawn at random, of which the next clip has the rest
            continue
        if world.is_image:
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels[len(pixels) // 2].numpy()).save(path)
        else:
            write_mp4(path, pixels.numpy(), FRAME_RATE, audio, AUDIO_RATE)
        text = _words_for_an_image(spec) if world.is_image else caption(spec)
        write_bytes(path.with_suffix(".txt"), text.encode() + b"\n")


def _words_for_an_image(spec: Spec) -> str:
    """The part of a caption that an image shows."""
    names = " and ".join(f"a {colour} {shape}" for colour, shape in spec.objects)
    return f"{names[0].upper()}{names[1:]} over a {spec.background} background."
