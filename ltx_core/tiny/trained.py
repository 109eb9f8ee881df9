"""The tiny LTX-2 that has learnt a small world, and footage of what it has never seen: what `ltx2-lora tiny` writes.

Its weights lie beside this file, made by `scripts/pretrain` from nothing but `ltx_core.tiny.world`: docs/tiny.md.
"""

import random
import shutil
from collections.abc import Sequence
from pathlib import Path

import torch

from ltx_core.errors import ConfigError
from ltx_core.io.atomic import atomic_path, find_whole, write_bytes
from ltx_core.media.mp4 import write_mp4
from ltx_core.progress import SILENT, Progress, stop_if_asked
from ltx_core.shapes import AUDIO_RATE
from ltx_core.tiny.model import Miniature
from ltx_core.tiny.world import (
    AUDIO,
    COLOURS,
    FRAME_RATE,
    SHAPES,
    UNSEEN,
    Spec,
    all_specs,
    caption,
    codes,
    draw,
    play,
    scene,
    seen,
)

WEIGHTS = Path(__file__).with_name("checkpoint")
CHECKPOINT_NAME = "tiny-ltx2.safetensors"
CONCEPTS = ("pink", "bell")
"""A colour that the model has never seen, and a sound that it has never heard."""
CLIPS = 8
"""Of each concept by itself, and of both at once."""
RENDERED = {"pink": 6, "bell": 6, "known": 8}
"""Captions of each concept that are rendered, and of what the model knows."""
SEED = 20


def write_trained(folder: Path, progress: Progress = SILENT) -> Miniature:
    """Copy the model below `folder`, and write footage of the concepts beside it, replacing what has their names.

    Raises:
        StorageError: the disk is full or read-only.
        Stopped: asked to stop; the files written so far are whole.
    """
    footage = folder / "footage"
    model = folder / "model"
    for path in [*find_whole(WEIGHTS, "*.*"), *find_whole(WEIGHTS, "*/*")]:
        with atomic_path(model / path.relative_to(WEIGHTS)) as partial:
            shutil.copyfile(path, partial)
    write_clips(footage, footage_specs(), progress)
    write_broken(footage)
    return Miniature(model / CHECKPOINT_NAME, model / "gemma", footage)


def concept_specs(*concepts: str) -> list[Spec]:
    """Every clip with these things that the base model has never seen or heard, shuffled, the same order every time.

    Raises:
        ConfigError: no such thing.
    """
    for concept in concepts:
        if concept not in UNSEEN:
            raise ConfigError(f"the base model has seen {concept!r}, or nobody has; choose {', '.join(UNSEEN)}")
    shapes, audio, colours = ([c for c in concepts if c in t] or seen(t) for t in (SHAPES, AUDIO, COLOURS))
    specs = all_specs(shapes, audio, colours)
    random.Random(SEED).shuffle(specs)
    return specs


def footage_specs() -> list[Spec]:
    """The clips of the footage: some with each concept, some with both."""
    return [spec for taught in (*((c,) for c in CONCEPTS), CONCEPTS) for spec in concept_specs(*taught)[:CLIPS]]


def demo_specs() -> dict[str, list[Spec]]:
    """Captions to render: with each concept, of no clip in the footage, and of what the model knows ("known")."""
    known = all_specs(seen(SHAPES), seen(AUDIO))
    random.Random(SEED).shuffle(known)
    taught = {concept: concept_specs(concept)[CLIPS : CLIPS + RENDERED[concept]] for concept in CONCEPTS}
    return taught | {"known": known[: RENDERED["known"]]}


def demo_prompts() -> list[str]:
    """The captions of `demo_specs`, in their order."""
    return [caption(spec) for specs in demo_specs().values() for spec in specs]


def write_broken(folder: Path) -> None:
    """Two files that no run can use, as real footage has them: one is cut off, one is no video."""
    whole = (folder / "clip_00.mp4").read_bytes()
    for name, content in {"cut_off": whole[: len(whole) // 2], "notes": b"Shots for Monday\n"}.items():
        write_bytes(folder / f"{name}.mp4", content)
        write_bytes(folder / f"{name}.txt", (folder / "clip_00.txt").read_bytes())


def write_clips(folder: Path, specs: Sequence[Spec], progress: Progress = SILENT) -> None:
    """One MP4 for each specification, its caption beside it."""
    generator = torch.Generator().manual_seed(SEED)
    for number, spec in enumerate(specs):
        stop_if_asked(progress, "writing footage")
        named = codes([spec])
        placed = scene(named, generator)
        pixels = ((draw(placed)[0][0] + 1) * 127.5).round().clamp(0, 255).to(torch.uint8)
        path = folder / f"clip_{number:02d}.mp4"
        write_mp4(
            path, pixels.permute(1, 2, 3, 0).numpy(), FRAME_RATE, play(named, placed, generator)[0].numpy(), AUDIO_RATE
        )
        write_bytes(path.with_suffix(".txt"), caption(spec, number % 3).encode() + b"\n")
        progress.advance(number + 1, len(specs), "files")
