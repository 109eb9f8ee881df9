"""`ltx2-lora run` at the released sizes, from the command to its end: seconds, GPU and memory of each stage.

    python benchmarks/end_to_end.py --folder /dev/shm/run --out results.jsonl   # one H200; under ten minutes
    python benchmarks/end_to_end.py --folder /tmp/run --tiny                    # tries the script on a CPU

Random weights at full size (66 GB, so the folder lies in memory) and footage of 16 clips are written first. The run is
the command in a process of its own, with its Prefect and MLflow. `cold` is the first run; `warm` does all stages again,
with weights that are known and code that is compiled. GPU figures are read once a second: `gpu_busy` is the mean
utilisation, so short gaps are seen by a profiler alone. Host memory is what the run's processes hold for themselves.
"""

import argparse
import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.lines import say
from benchmarks.stand_ins import write_stand_ins

ROOT = Path(__file__).parents[1]
GIB = 2**30
RUNS: dict[str, Sequence[str]] = {"cold": (), "warm": ("--force",)}
"""The two runs, by what the command is given."""
STARTS = re.compile(r"(\w+): starts:")
QUERY = ("nvidia-smi", "--query-gpu=utilization.gpu,memory.used", "--format=csv,noheader,nounits")
MIB = 2**20


@dataclass(frozen=True)
class Sample:
    """What was seen at a moment."""

    at: float
    busy: float | None
    """Share of the GPU's time; None without one."""
    gpu_bytes: int
    host_bytes: int


@dataclass
class Watch:
    """Looks at a process and all that it started, once a second."""

    process: psutil.Process
    samples: list[Sample] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def look_on(self) -> None:
        """Until it is told to end; the loop of a thread."""
        while not self.ended.wait(1.0):
            busy, used = gpu()
            self.samples.append(Sample(time.monotonic(), busy, used, host_bytes(self.process)))


def main() -> int:
    """Write the stand-ins, run twice, and print the rows."""
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--folder", type=Path, required=True, help="for everything that is made")
    parser.add_argument("--out", type=Path, help="results are appended to it")
    parser.add_argument("--tiny", action="store_true")
    parser.add_argument("--only", choices=RUNS, help="`warm` wants the folder of `cold`")
    args = parser.parse_args()
    begun = time.monotonic()
    config = args.folder / "ltx2-lora.yaml"
    if not config.exists():
        config = write_stand_ins(args.folder, tiny=args.tiny)
    say("end_to_end", {"row": "stand-ins", "seconds": time.monotonic() - begun}, args.out)
    for name, words in RUNS.items():
        if args.only not in (None, name):
            continue
        code, rows = run(config, words)
        for row in rows:
            say("end_to_end", {"row": f"{name}: {row.pop('stage')}", **row}, args.out)
        if code:
            return code
    return 0


def run(config: Path, words: Sequence[str]) -> tuple[int, list[dict[str, Any]]]:
    """The command's exit code, and a row for each part of its time."""
    environment = {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"}
    begun = time.monotonic()
    process = subprocess.Popen(
        [sys.executable, "-m", "flows", "run", str(config), *words],
        cwd=config.parent,
        env=environment | {"PREFECT_HOME": str(config.parent / "prefect"), "COLUMNS": "200"},
        stderr=subprocess.PIPE,
        text=True,
    )
    watch = Watch(psutil.Process(process.pid))
    looking = threading.Thread(target=watch.look_on)
    looking.start()
    marks = [("start", begun)]
    assert process.stderr is not None
    for line in process.stderr:
        sys.stderr.write(line)
        if (said := STARTS.match(line)) is not None:
            marks.append((said[1], time.monotonic()))
    code = process.wait()
    marks.append(("", time.monotonic()))
    watch.ended.set()
    looking.join()
    return code, rows(marks, watch.samples)


def rows(marks: Sequence[tuple[str, float]], samples: Sequence[Sample]) -> list[dict[str, Any]]:
    """One for each part, which ends where the next begins, and one for all of it."""
    parts = [(name, begin, end) for (name, begin), (_, end) in pairwise(marks)]
    return [row(name, begin, end, samples) for name, begin, end in [*parts, ("all", marks[0][1], marks[-1][1])]]


def row(name: str, begin: float, end: float, samples: Sequence[Sample]) -> dict[str, Any]:
    """What was seen from `begin` to `end`, both on the clock of `time.monotonic`."""
    seen = [sample for sample in samples if begin <= sample.at < end]
    busy = [sample.busy for sample in seen if sample.busy is not None]
    return {
        "stage": name,
        "seconds": end - begin,
        "gpu_busy": sum(busy) / len(busy) if busy else "",
        "gpu_peak_gib": max((sample.gpu_bytes for sample in seen), default=0) / GIB,
        "host_peak_gib": max((sample.host_bytes for sample in seen), default=0) / GIB,
    }


def gpu() -> tuple[float | None, int]:
    """The first GPU's utilisation, from 0 to 1, and its memory in use; None and 0 where there is none."""
    try:
        said = subprocess.run(QUERY, capture_output=True, text=True, check=True).stdout
    except FileNotFoundError:
        return None, 0
    percent, mib = said.splitlines()[0].split(",")
    return float(percent) / 100, int(mib) * MIB


def host_bytes(parent: psutil.Process) -> int:
    """Of the process and all its descendants: anonymous and shared memory, not what is mapped from files."""
    total = 0
    for process in [parent, *parent.children(recursive=True)]:
        try:
            status = Path(f"/proc/{process.pid}/status").read_text()
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
        total += sum(1024 * int(kib) for kib in re.findall(r"Rss(?:Anon|Shmem):\s+(\d+) kB", status))
    return total


if __name__ == "__main__":
    sys.exit(main())
