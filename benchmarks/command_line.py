"""How long `ltx2-lora --help` and a `plan` for a card take, beside a bare Python that imports yaml and pydantic.

    python benchmarks/command_line.py --out results.jsonl    # half a minute; needs no GPU

Each command is run `--runs` times, and the smallest times are taken: of the clock, which a
busy machine makes longer, and of the processor. Ratios are of the processor's. The plan is of the toy checkpoint that
tests have, whose header has as many kinds of tensors as a released one, on a card of 24 GiB.
"""

import argparse
import json
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.lines import say

ROOT = Path(__file__).parents[1]
GOLDEN = ROOT / "tests" / "golden" / "2.3"
BARE = ["-c", "import yaml, pydantic"]


class Took(NamedTuple):
    """Seconds of one process."""

    clock: float
    processor: float


def plan_arguments(folder: Path) -> list[str]:
    """Of a plan that covers all stages, with a configuration written to `folder`."""
    (folder / "clip.mp4").write_bytes(b"a plan does not look into it")
    config = {
        "datasets": [{"id": "clips", "instance_data_dir": str(folder)}],
        "model": {"checkpoint": str(GOLDEN / "checkpoint.safetensors"), "text_encoder": str(GOLDEN / "text_encoder")},
        "memory": {"gpu_gib": 24},
        "prompts": {"validation": ["A dog runs."]},
        "workspace": str(folder / "workspace"),
    }
    (folder / "run.json").write_text(json.dumps(config))
    return ["-m", "flows", "plan", str(folder / "run.json")]


def timed(arguments: list[str]) -> Took:
    """Run Python with these arguments and throw its output away.

    Raises:
        RuntimeError: it failed.
    """
    begun = time.monotonic()
    output = [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    pid = os.posix_spawn(sys.executable, [sys.executable, *arguments], environment, file_actions=output)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise RuntimeError(f"python {' '.join(arguments)} ended with {os.waitstatus_to_exitcode(status)}")
    return Took(time.monotonic() - begun, usage.ru_utime + usage.ru_stime)


def measured(runs: int) -> dict[str, Any]:
    """Smallest seconds of each command, and how many bare Pythons it is."""
    with tempfile.TemporaryDirectory() as folder:
        commands = {"bare": BARE, "help": ["-m", "flows", "--help"], "plan": plan_arguments(Path(folder))}
        took = {name: [timed(arguments) for _ in range(runs)] for name, arguments in commands.items()}
    clock = {name: min(one.clock for one in all_of_it) for name, all_of_it in took.items()}
    processor = {name: min(one.processor for one in all_of_it) for name, all_of_it in took.items()}
    found: dict[str, Any] = {"runs": runs}
    found |= {f"{name}_clock_s": round(seconds, 3) for name, seconds in clock.items()}
    found |= {f"{name}_processor_s": round(seconds, 3) for name, seconds in processor.items()}
    return found | {f"{name}_ratio": round(processor[name] / processor["bare"], 2) for name in ("help", "plan")}


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--out", type=Path, help="append the line here")
    args = parser.parse_args()
    say("command_line", {"cores": os.cpu_count(), **measured(args.runs)}, args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
