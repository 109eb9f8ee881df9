"""GB a second of the digests of files: SHA-256 as of footage, BLAKE3 as of weights, on a file that is in memory.

    python benchmarks/digests.py --out results.jsonl             # 2 GiB in /dev/shm
    python benchmarks/digests.py --folder /data --gib 40         # on a disk; the first reading is the disk's
    python benchmarks/digests.py --tiny

Each is measured in turns, and the median counts. Needs no torch but for its version, and no GPU.
"""

import argparse
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.lines import say
from ltx_core.io.digest import content_digest, weights_digest

DIGESTS: dict[str, Callable[[Path, BinaryIO], str]] = {
    "sha256": lambda _, file: content_digest(file),
    "blake3": weights_digest,
}
SHM = Path("/dev/shm")  # memory, where there is such a folder
REPEATS = 3


def main() -> int:
    """Write a file, and read it with each digest."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--gib", type=float, default=2.0)
    parser.add_argument("--folder", type=Path, default=SHM if SHM.is_dir() else None)
    parser.add_argument("--out", type=Path)
    args = parser.parse_args()
    size = 2**25 if args.tiny else round(args.gib * 2**30)
    with tempfile.NamedTemporaryFile(dir=args.folder) as file:
        piece = os.urandom(min(size, 2**24))
        for _ in range(size // len(piece)):
            file.write(piece)
        file.flush()
        say("digests", measure(Path(file.name)), args.out)
    return 0


def measure(path: Path) -> dict[str, Any]:
    """Of each digest, GB a second."""
    rates: dict[str, list[float]] = {name: [] for name in DIGESTS}
    size = path.stat().st_size
    for _ in range(REPEATS):
        for name, digest in DIGESTS.items():
            with path.open("rb") as file:
                begun = time.monotonic()
                digest(path, file)
                rates[name].append(size / 1e9 / (time.monotonic() - begun))
    medians = {name: statistics.median(found) for name, found in rates.items()}
    figures = {f"{name}_gb_a_second": rate for name, rate in medians.items()}
    return {"gb": size / 1e9, "cores": os.cpu_count(), **figures, "times_faster": medians["blake3"] / medians["sha256"]}


if __name__ == "__main__":
    sys.exit(main())
