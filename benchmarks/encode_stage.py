"""How fast `encode_latents` encodes at the released sizes, through the functions that it runs, from clips in memory.

    python benchmarks/encode_stage.py --out results.jsonl      # about two minutes on one GPU
    python benchmarks/encode_stage.py --tiny                   # tries the script on a CPU

First the seconds a clip of each way to run the encoder (`--ways`), each through `encode_clips`; then the whole loop
with the fastest way: clips come from worker threads that spend as long as decoding 1080p does, latents are packed and
written, and CUDA events say how long the GPU worked. Prints one JSON line. Needs torch and diffusers; no PyAV.
"""

import argparse
import hashlib
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.lines import say
from benchmarks.vae_memory import build
from ltx_core.autoencoder.encoding import ClipEncoder, Decoded, encode_clips
from ltx_core.autoencoder.video import compiled_encoder, difference, encode_pixels
from ltx_core.media.workers import Leaving, Window, default_workers, run_ahead
from ltx_core.shapes import PixelShape

GIB = 2**30
FULL, TINY = PixelShape(121, 512, 768), PixelShape(9, 64, 64)
DECODE_SECONDS = 2.0
"""Of one core for 121 frames of 1080p H.264 scaled to 768x512, measured with PyAV on a slow core."""
AHEAD_BYTES = 4 * GIB
WARM_UP, MEASURED = 2, 6
WAYS = ("eager", "channels_last", "compiled", "compiled_autotuned", "batch2")
DEFAULT_WAYS = WAYS[:3]
"""Every other way is a minute more."""


@dataclass(frozen=True)
class Way:
    """One way to run the encoder, measured."""

    way: str
    seconds_per_clip: float
    first_seconds: float
    """Until the first clip was done: compiling, autotuning."""
    peak_gib: float
    """Beyond the weights."""
    relative_off: float
    """From eager, over the norm."""


class Timed:
    """Calls something on the device between two events."""

    def __init__(self, work: Callable[[Tensor], Tensor], device: torch.device) -> None:
        self.work, self.on_gpu = work, device.type == "cuda"
        self.spans: list[tuple[Any, Any]] = []

    def __call__(self, pixels: Tensor) -> Tensor:
        began = self._mark()
        result = self.work(pixels)
        self.spans.append((began, self._mark()))
        return result

    def _mark(self) -> Any:
        if not self.on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def busy_seconds(self) -> float:
        """Sum of all spans; the device must have finished."""
        if not self.on_gpu:
            return sum(end - began for began, end in self.spans)
        return sum(began.elapsed_time(end) for began, end in self.spans) / 1000


def main() -> int:
    """Measure, print, and append to a file if asked."""
    given = arguments()
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    shape = TINY if given.tiny else FULL
    vae = build("2.0", device, torch.float32 if given.tiny else torch.bfloat16, given.tiny)
    frames = torch.randint(0, 256, (*shape, 3), dtype=torch.uint8)
    rows: list[Way] = []
    right: Tensor | None = None
    for way in given.ways:
        row, latent = measure(way, vae, frames, right)
        right = latent if right is None else right
        rows.append(row)
        sys.stderr.write(f"{row}\n")
    fastest = min(rows, key=lambda row: row.seconds_per_clip).way
    loop = stage_loop(vae, frames, fastest, given.clips, 0.01 if given.tiny else DECODE_SECONDS)
    say("encode_stage", {"clip": list(shape), **loop, "rows": [asdict(r) for r in rows]}, given.out)
    return 0


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tiny", action="store_true", help="toy sizes; works on a CPU")
    parser.add_argument("--ways", nargs="+", choices=WAYS, help=f"default: {DEFAULT_WAYS}; --tiny: those not compiled")
    parser.add_argument("--clips", type=int, default=32, help="of the loop")
    parser.add_argument("--out", type=Path, help="append the line here")
    given = parser.parse_args()
    if not given.tiny and not torch.cuda.is_available():
        parser.error("no GPU here; --tiny works on a CPU")
    not_compiled = [way for way in WAYS if not way.startswith("compiled")]
    given.ways = given.ways or (not_compiled if given.tiny else DEFAULT_WAYS)
    return given


def way_of(way: str, vae: Any) -> Callable[[Tensor], Tensor]:
    """What encodes bytes [B, 3, F, H, W] in a way; sets the VAE's layout and cuDNN's."""
    channels_last = way.endswith("channels_last")
    vae.encoder.to(memory_format=torch.channels_last_3d if channels_last else torch.contiguous_format)
    torch.backends.cudnn.benchmark = way.endswith("autotuned")
    torch.compiler.reset()
    encoder = compiled_encoder(vae) if way.startswith("compiled") else None
    return lambda pixels: encode_pixels(vae, pixels, encoder=encoder)


def size_of(way: str) -> int:
    """Clips at once."""
    return 2 if way == "batch2" else 1


def measure(way: str, vae: Any, frames: Tensor, right: Tensor | None) -> tuple[Way, Tensor]:
    """Seconds a clip in the steady state, through `encode_clips`."""
    encode, size = way_of(way, vae), size_of(way)
    encoder = ClipEncoder(vae.device, encode, lambda sound: sound, lambda _: size)
    before = _ready(vae.device)
    begun = time.perf_counter()
    latent = next(encode_clips(_copies(frames, size), encoder))[1]["video"]
    first = time.perf_counter() - begun
    for _ in encode_clips(_copies(frames, WARM_UP), encoder):
        pass
    begun = time.perf_counter()
    for _ in encode_clips(_copies(frames, MEASURED), encoder):
        pass
    seconds = (time.perf_counter() - begun) / MEASURED
    peak = (torch.cuda.max_memory_allocated() - before) / GIB if vae.device.type == "cuda" else 0.0
    off = 0.0 if right is None else difference(latent, right).relative
    return Way(way, seconds, first, peak, off), latent


def stage_loop(vae: Any, frames: Tensor, way: str, num_clips: int, decode_seconds: float) -> dict[str, Any]:
    """The stage's loop, decoding included: share of the time in which the GPU worked, from the first clip on it."""
    workers = default_workers()
    timed = Timed(way_of(way, vae), vae.device)
    encoder = ClipEncoder(vae.device, timed, lambda sound: sound, lambda _: size_of(way))
    for _ in encode_clips(_copies(frames, 1), encoder):  # compiles
        timed.spans.clear()
    timed.spans.clear()

    def decode(number: int, leaving: Leaving) -> Decoded:
        work_until(time.thread_time() + decode_seconds, leaving)
        return Decoded(str(number), frames.clone(), None)

    ahead = run_ahead(
        range(num_clips),
        decode,
        size=lambda _: frames.nbytes,
        window=Window(workers, AHEAD_BYTES),
        check=lambda: None,
        apart=RuntimeError,
    )
    began = 0.0
    with tempfile.TemporaryFile() as shard, closing(ahead) as results:
        clips = Source(results)
        for number, (_, tensors) in enumerate(encode_clips(clips, encoder)):
            began = clips.began if number == 0 else began
            data = save({name: tensor.contiguous() for name, tensor in tensors.items()})
            hashlib.sha256(data).hexdigest()
            shard.write(data)
    wall = time.perf_counter() - began
    return {
        "loop_way": way,
        "loop_clips": num_clips,
        "loop_decode_workers": workers,
        "loop_decode_seconds_a_clip": decode_seconds,
        "loop_seconds_a_clip": wall / num_clips,
        "loop_gpu_busy_share": timed.busy_seconds() / wall,
    }


def work_until(end: float, leaving: Leaving) -> None:
    """Keep one core at work with the interpreter's lock released, as ffmpeg does."""
    data = bytes(2**20)
    while time.thread_time() < end:
        leaving.check()
        hashlib.sha256(data).digest()


class Source:
    """The decoded clips, and when the first one was there."""

    def __init__(self, results: Iterator[tuple[int, Decoded | RuntimeError]]) -> None:
        self.results, self.began = results, 0.0

    def __iter__(self) -> Iterator[Decoded]:
        for _, clip in self.results:
            if isinstance(clip, RuntimeError):
                raise clip
            self.began = self.began or time.perf_counter()
            yield clip


def _copies(frames: Tensor, number: int) -> Iterator[Decoded]:
    return (Decoded(str(place), frames, None) for place in range(number))


def _ready(device: torch.device) -> int:
    if device.type != "cuda":
        return 0
    torch.cuda.synchronize()
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


if __name__ == "__main__":
    sys.exit(main())
