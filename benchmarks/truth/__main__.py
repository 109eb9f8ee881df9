"""Measure on the tiny trained LTX-2 whether the methods do what they claim.

    python -m benchmarks.truth --plan                              # units of work, and core minutes in all
    python -m benchmarks.truth --out FOLDER --jobs 30 --seconds 480
    python -m benchmarks.truth --out FOLDER --kept --seeds 4       # makes what the repository has no result of
    python -m benchmarks.truth --out FOLDER --keep                 # copy its results to benchmarks/results/truth
    python -m benchmarks.truth --write                             # docs/truth.md and paragraphs of other pages

A run that was ended goes on where it stopped, when it is called again with the same folder. It needs neither Prefect
nor MLflow. Exit codes: 0 all is done, 1 something failed, 3 there was not enough time.
"""

import argparse
import json
import os
import shutil
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.truth.experiments import EXPERIMENTS, experiment_named
from benchmarks.truth.units import Unit, core_minutes, units
from benchmarks.truth.worlds import RENDERED

LEFT_EXIT = 3
MEASURED_STEPS = 3
"""Trainings of fewer steps have no time of a step."""


def main(words: Sequence[str] | None = None) -> int:
    """Do what the options say."""
    args = _parser().parse_args(words)
    if args.unit is not None:
        return _do(args)
    if args.write:
        from benchmarks.truth.page import RESULTS, load, write

        for path in write(load(RESULTS)):
            _say(f"wrote {path}")
        return 0
    if args.keep:
        return _keep(args.out)
    chosen = [experiment_named(name) for name in args.only] if args.only else list(EXPERIMENTS)
    wanted = units(chosen, args.seeds)
    arms = sum(unit.kind == "arm" for unit in wanted)
    _say(f"{len(wanted)} units, {arms} of them arms at a seed: about {core_minutes(wanted):.0f} core minutes on a CPU")
    if args.plan:
        for unit in wanted:
            _say(f"{unit.seconds:6.0f} s  {unit.label}")
        return 0
    return _run(args, wanted)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=str(__doc__).splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("truth"), help="folder for everything that is made")
    parser.add_argument("--jobs", type=int, default=max(1, (os.cpu_count() or 1) - 1), help="processes at once")
    parser.add_argument("--seconds", type=float, help="end after this time; the next call goes on")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--gpus", type=int, default=1, help="with cuda: GPUs that processes are given in turn")
    parser.add_argument("--seeds", type=int, help="seeds of every experiment, in place of its own number")
    names = [experiment.name for experiment in EXPERIMENTS]
    parser.add_argument("--only", nargs="+", choices=names, metavar="NAME", help=f"experiments: {', '.join(names)}")
    parser.add_argument("--steps", type=int, help="of every training, in place of its own, to try an experiment")
    parser.add_argument("--captions", type=int, default=RENDERED, help="rendered of each kind, at most")
    parser.add_argument("--plan", action="store_true", help="list the units of work, and run nothing")
    parser.add_argument("--kept", action="store_true", help="results in benchmarks/results/truth are not made again")
    parser.add_argument("--keep", action="store_true", help="copy the results of --out to benchmarks/results/truth")
    parser.add_argument("--write", action="store_true", help="write the pages from benchmarks/results/truth")
    parser.add_argument("--unit", nargs=3, metavar=("KIND", "NAME", "SEED"), help=argparse.SUPPRESS)
    return parser


def _run(args: argparse.Namespace, wanted: Sequence[Unit]) -> int:
    from benchmarks.truth.page import RESULTS
    from benchmarks.truth.schedule import Schedule

    out = args.out.resolve()
    options = ["--captions", str(args.captions), *(["--steps", str(args.steps)] if args.steps else [])]
    if args.kept:
        _say(f"{_take_over(RESULTS, out / 'results')} results of benchmarks/results/truth need not be made again")
    schedule = Schedule(out, args.device, args.gpus, options, lambda unit: _marker(out, unit).exists(), _say)
    if schedule.run(wanted, args.jobs, args.seconds):
        return 0
    return 1 if schedule.failed else LEFT_EXIT


def _marker(out: Path, unit: Unit) -> Path:
    """The file that says that a unit is done."""
    if unit.kind == "arm":
        return out / "results" / f"{unit.name.replace(' ', '_')}-{unit.seed}.json"
    name = "encoder" if unit.kind == "encoder" else unit.name.replace(" ", "_")
    return out / "prepared" / f"{name}.json"


def _do(args: argparse.Namespace) -> int:
    """The work of one process."""
    from benchmarks.truth.work import Place, prepare_encoder, prepare_world, run_arm

    kind, name, seed = args.unit
    place = Place(args.out.resolve(), args.device, args.steps, args.captions)
    if kind == "world":
        prepare_world(place, name)
    elif kind == "encoder":
        prepare_encoder(place)
    else:
        run_arm(place, name, int(seed))
    return 0


def _keep(out: Path) -> int:
    from benchmarks.truth.page import RESULTS

    RESULTS.mkdir(parents=True, exist_ok=True)
    files = sorted((out / "results").glob("*.json"))
    for path in files:
        shutil.copyfile(path, RESULTS / path.name)
    _say(f"copied {len(files)} results to {RESULTS}")
    return 0


def _take_over(source: Path, target: Path) -> int:
    """Copy all results that are whole, and return how many. A training that was finished in one call and rendered in
    another has no time of a step; such results are made again."""
    target.mkdir(parents=True, exist_ok=True)
    files = [path for path in sorted(source.glob("*.json")) if _is_whole(json.loads(path.read_text()))]
    for path in files:
        shutil.copyfile(path, target / path.name)
    return len(files)


def _is_whole(result: Mapping[str, Any]) -> bool:
    return result["training"]["steps"] < MEASURED_STEPS or "seconds a step" in result["figures"]


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
