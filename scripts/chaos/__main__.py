"""Disturb at random, so many times each, and print the table; exit code 1 if anything was wrong."""

import argparse
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from scripts.chaos.disturb import Footage, collect_once, corrupt_once, fill_once, kill_once, replace_once
from scripts.chaos.ground import Ground, existing_ground, make_ground
from scripts.chaos.page import Case, Tally, table
from scripts.chaos.services import disturb_services

CASES = "cases.jsonl"
"""In the folder: a line for each case, from which `scripts.chaos.page` makes the page of the docs."""
COMPARED = ("probe", "split", "embed_text", "encode_latents", "train_lora", "render_validation")


def main() -> int:
    """Make the ground unless the folder holds one, then disturb."""
    args = _arguments()
    args.folder.mkdir(parents=True, exist_ok=True)
    ground = existing_ground(args.folder) or make_ground(args.folder.resolve())
    _say(f"seed {args.seed}; undisturbed: " + ", ".join(f"{n} {s:.1f} s" for n, s in ground.seconds.items()))
    tallies = []
    for kind, times, disturb in _kinds(args, ground):
        seeds = [f"{args.seed}/{kind}/{number}" for number in range(times)]
        if seeds := seeds + [seed for seed in args.repeat if seed.split("/")[1] == kind]:
            tallies.append(_tally(args.folder, kind, seeds, disturb))
    for line in table(tallies):
        _say(line)
    return 1 if any(tally.wrong for tally in tallies) else 0


def _kinds(args: argparse.Namespace, ground: Ground) -> list[tuple[str, int, Callable[[random.Random], Case]]]:
    stages = tuple(args.stages)
    footage = Footage(ground) if args.replacements or any("footage" in seed for seed in args.repeat) else None
    return [
        ("killed", args.kills, lambda chance: kill_once(ground, chance, stages)),
        ("service killed under a run", args.services, lambda chance: disturb_services(ground, chance, stages)),
        ("footage replaced during a run", args.replacements, lambda chance: replace_once(footage, chance)),
        ("disk full during a run", args.disks, lambda chance: fill_once(ground, chance, stages)),
        ("10 files damaged", args.corruptions, lambda chance: corrupt_once(ground, chance)),
        ("gc --yes during a run", args.collections, lambda chance: collect_once(ground, chance, stages)),
    ]


def _tally(folder: Path, kind: str, seeds: list[str], disturb: Callable[[random.Random], Case]) -> Tally:
    """A case for each seed."""
    tally, commit = Tally(kind), _commit()
    for seed in seeds:
        case = disturb(random.Random(seed))
        tally.cases.append(case)
        with (folder / CASES).open("a") as file:
            file.write(json.dumps({"kind": kind, "seed": seed, "commit": commit, **asdict(case)}) + "\n")
        verdict = f"WRONG: {case.problem}" if case.problem else case.message or "the undisturbed bytes"
        _say(f"{time.strftime('%H:%M:%S')} {seed}: {case.what}; first stage {case.first_stage:.1f} s; {verdict}")
    return tally


def _commit() -> str:
    """What is disturbed."""
    words = ["git", "describe", "--always", "--dirty"]
    return subprocess.run(words, cwd=Path(__file__).parent, capture_output=True, text=True, check=True).stdout.strip()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m scripts.chaos", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument(
        "--repeat", nargs="+", default=[], metavar="SEED", help="cases by their seeds, as the page has them"
    )
    parser.add_argument("--stages", nargs="+", choices=COMPARED, default=list(COMPARED))
    for kind in ("kills", "services", "replacements", "disks", "corruptions", "collections"):
        parser.add_argument(f"--{kind}", type=int, default=0, metavar="N")
    return parser.parse_args()


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
