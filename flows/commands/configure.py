"""`ltx2-lora configure`: ask for footage, GPU memory and goal, and write an annotated configuration."""

import os
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from flows.config import guide_notices, load_config
from flows.configure import Answers, annotated, write_new
from flows.goals import GOALS
from ltx_core.checkpoint.flavours import FLAVOURS
from ltx_core.errors import ConfigError

QUESTIONS = {
    "footage": ("folder of the footage", None),
    "gpu_gib": ("GPU memory in GiB", "24"),
    "goal": (f"goal: {', '.join(f'{name} ({goal.meaning})' for name, goal in GOALS.items())}", "subject"),
}
"""By option: what is asked, and what an empty answer means."""


def arguments(parser: ArgumentParser) -> None:
    """Add the command's own arguments."""
    parser.add_argument("--footage", type=Path, metavar="DIR", help="folder of the footage")
    parser.add_argument("--gpu-gib", type=float, metavar="GIB", help="GPU memory in GiB")
    parser.add_argument("--goal", choices=GOALS, help="what the LoRA is for")
    parser.add_argument("--flavour", choices=FLAVOURS, default="dev", help="which LTX-2 (default dev)")
    parser.add_argument("--checkpoint", help="the model's file, folder or repository (default the flavour's own)")
    parser.add_argument("--text-encoder", help="folder or repository of Gemma 3 (default Google's repository)")
    parser.add_argument(
        "--guide", type=Path, metavar="CONFIG.json", help="write this file of the guide as ours instead"
    )
    parser.add_argument(
        "--output", type=Path, default=Path("ltx2-lora.yaml"), metavar="FILE", help="default ltx2-lora.yaml"
    )


def run(args: Namespace) -> int:
    """Ask for what is missing and write the configuration."""
    console = Console(highlight=False, soft_wrap=True)
    if args.output.exists():
        write_new(args.output, "")
    text = _converted(args.guide) if args.guide else annotated(_answers(args, console))
    write_new(args.output, text)
    console.print(f"wrote {args.output}")
    console.print(f"next: ltx2-lora plan {args.output}", style="bold")
    return 0


def _answers(args: Namespace, console: Console) -> Answers:
    """The options given, and answers to what was not.

    Raises:
        ConfigError: something is missing and nobody can be asked, or an answer has no meaning.
    """
    missing = [name for name in QUESTIONS if getattr(args, name) is None]
    if missing and not sys.stdin.isatty():
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise ConfigError(f"nobody can be asked here; give {flags}")
    given = {name: CHECKS[name](getattr(args, name)) for name in QUESTIONS if name not in missing}
    given |= {name: _ask(name, console) for name in missing}
    return Answers(
        footage=_seen_from(given["footage"], args.output),
        gpu_gib=given["gpu_gib"],
        goal=given["goal"],
        flavour=args.flavour,
        checkpoint=_location(args.checkpoint, args.output),
        text_encoder=_location(args.text_encoder, args.output),
    )


def _ask(name: str, console: Console) -> Any:
    """The answer, asked for until it has a meaning."""
    question, default = QUESTIONS[name]
    shown = f"{question} [{default}]" if default else question
    while True:
        answer = console.input(f"{shown}: ", markup=False).strip() or default
        if not answer:
            continue
        try:
            return CHECKS[name](answer)
        except ConfigError as error:
            console.print(str(error), style="yellow", markup=False)


def _folder(answer: str | Path) -> Path:
    path = Path(answer).expanduser()
    if not path.is_dir():
        found = "a file" if path.exists() else "not there"
        raise ConfigError(f"the folder of the footage is {str(answer)!r}, which is {found}; name a folder of videos")
    return path


def _goal(answer: str) -> str:
    if answer not in GOALS:
        raise ConfigError(f"the goal is {answer!r}; there are {', '.join(GOALS)}")
    return answer


def _gib(answer: float | str) -> float:
    try:
        found = float(answer)
    except ValueError:
        found = 0.0
    if not 0 < found < 10_000:
        raise ConfigError(f"the GPU memory is {answer!r}; a number of GiB above 0 is wanted")
    return found


def _location(where: str | None, output: Path) -> str | None:
    """A path as seen from the configuration; a repository as it is."""
    return str(_seen_from(Path(where), output)) if where is not None and Path(where).exists() else where


def _seen_from(path: Path | str, output: Path) -> Path:
    expanded = Path(path).expanduser()
    return expanded if expanded.is_absolute() else Path(os.path.relpath(expanded, output.parent))


def _converted(path: Path) -> str:
    """A file of the guide in our terms; what differs is said in its head.

    Raises:
        ConfigError: it cannot be read, or is no file of the guide.
    """
    notices = guide_notices(path)
    if not notices:
        raise ConfigError(f"{path} has none of the guide's options; give its config.json")
    values = load_config(path, {}).model_dump(mode="json", exclude_defaults=True)
    lines = [f"# Made by `ltx2-lora configure --guide {path.name}`. What differs from that file:"]
    lines += [f"# - {notice}" for notice in notices]
    return "\n".join(lines) + "\n" + yaml.safe_dump(values, sort_keys=False, width=120, allow_unicode=True)


CHECKS: dict[str, Callable[[Any], Any]] = {"footage": _folder, "gpu_gib": _gib, "goal": _goal}
"""What an answer is turned into; each raises `ConfigError` for one without a meaning."""
