"""How fast samples come out of a pool, in random order from the page cache; and whole batches, ahead of the step.

    PYTHONPATH=. python benchmarks/input_rate.py [--samples 400]

Samples are those of 512x768x121: 128x16x16x24 bf16 of video (1.5 MiB), 126x128 of sound, and captions of 200x3840.
`first` reads check each sample's digest, later ones do not. Prints one JSON line. Needs torch and safetensors; no GPU.
"""

import argparse
import os
import random
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from benchmarks.lines import say
from ltx_core.shapes import audio_latent_frames
from ltx_core.store.tensor_items import ShardReader, pack_item
from ltx_core.training.batch import TrainBatch, collate
from ltx_core.training.config import TrainSettings
from ltx_core.training.draws import train_draw
from ltx_core.training.order import EpochPlan, SampleOccurrence
from ltx_core.training.prefetch import THREADS, prefetched
from ltx_core.training.samples import SampleInfo

FRAME_RATE = 24.0
VIDEO = (128, 16, 16, 24)
AUDIO = (audio_latent_frames(121 / FRAME_RATE), 128)
TEXT = (200, 3840)
SHARD_SIZE = 64
STEP_SECONDS = 0.25
"""A step that is faster than any planned one, of one clip."""
Place = tuple[str, int, int, str]


@dataclass(frozen=True)
class Pool:
    """A source over raw shards: where each sample lies."""

    reader: ShardReader
    places: dict[str, Place]
    samples: list[SampleInfo]

    def load(self, clip_id: str) -> dict[str, Tensor]:
        """The tensors of a clip."""
        return self.reader.read(*self.places[clip_id])

    def text(self, caption: str) -> dict[str, Tensor]:
        """The tensors of a caption."""
        return self.reader.read(*self.places[caption])


def main() -> int:
    """Write a pool, read it, and print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=400)
    args = parser.parse_args()
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as folder:
        pool = written(Path(folder), args.samples)
        figures: dict[str, float] = {"samples": args.samples, "cores": len(os.sched_getaffinity(0))}
        for threads in (1, THREADS):
            fresh = Pool(ShardReader(Path(folder)), pool.places, pool.samples)
            figures |= {f"{name}_{threads}_threads": rate for name, rate in reads(fresh, threads).items()}
        figures |= batches(pool)
    say("input_rate", {"gpu": "none", **figures})
    return 0


def written(root: Path, num_samples: int) -> Pool:
    """Shards of random samples; as many captions as clips."""
    generator = torch.Generator().manual_seed(0)
    places: dict[str, Place] = {}
    samples = []
    for start in range(0, num_samples, SHARD_SIZE):
        shard = f"{start // SHARD_SIZE:03d}.bin"
        with (root / shard).open("wb") as out:
            for number in range(start, min(start + SHARD_SIZE, num_samples)):
                clip, caption = f"clip{number}", f"caption {number}"
                for name, shapes in ((clip, {"video": VIDEO, "audio": AUDIO}), (caption, {"features": TEXT})):
                    data, digest = pack_item(
                        {n: torch.randn(s, generator=generator).bfloat16() for n, s in shapes.items()}
                    )
                    places[name] = (shard, out.tell(), len(data), digest)
                    out.write(data)
                samples.append(SampleInfo(clip, "one", "train", 1, FRAME_RATE, True, caption))
    return Pool(ShardReader(root), places, samples)


def reads(pool: Pool, threads: int) -> dict[str, float]:
    """Bytes a second and microseconds a sample, every byte touched by a copy."""
    names = sorted(pool.places)
    total = sum(place[2] for place in pool.places.values())
    rates: dict[str, float] = {}

    def touch(name: str) -> int:
        return sum(tensor.clone().numel() for tensor in pool.reader.read(*pool.places[name]).values())

    with ThreadPoolExecutor(threads) as workers:
        for label in ("first", "later"):
            random.Random(label).shuffle(names)
            seconds = timed(lambda: sum(workers.map(touch, names)))
            rates[f"{label}_gb_per_s"] = total / seconds / 1e9
            rates[f"{label}_microseconds_per_sample"] = seconds / len(names) * 1e6
    return rates


def batches(pool: Pool) -> dict[str, float]:
    """Batches of one clip: how many a second a thread makes, noise included, and the share of a step spent waiting."""
    settings = TrainSettings()
    plan = EpochPlan(tuple(pool.samples), 1, 0)

    def load(occurrences: Any) -> TrainBatch:
        def draw(i: int, video: int, audio: int) -> Any:
            return train_draw(occurrences[i], settings, video, audio)

        return collate([occurrence.sample for occurrence in occurrences], pool, draw, audio_channels=AUDIO[1])

    count = min(40, len(pool.samples))
    orders: list[tuple[SampleOccurrence, ...]] = [plan.batch(number) for number in range(count)]
    alone = timed(lambda: [load(occurrences) for occurrences in orders])
    with prefetched(load, orders[: count // 2], "cpu") as feed:
        began = time.monotonic()
        for occurrences in orders[: count // 2]:
            feed(occurrences)
            time.sleep(STEP_SECONDS)
        seconds = time.monotonic() - began
    return {
        "batches_per_s": count / alone,
        "step_seconds": STEP_SECONDS,
        "wait_share": feed.wait_seconds / seconds,
    }


def timed(work: Callable[[], Any]) -> float:
    """Seconds that `work` takes."""
    began = time.monotonic()
    work()
    return time.monotonic() - began


if __name__ == "__main__":
    sys.exit(main())
