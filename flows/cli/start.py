"""`ltx2-lora tiny`, `miniature`, `configure`: something to start from; `docs`: what is generated from declarations."""

import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
import yaml
from rich.console import Console

from flows.cli.arguments import one_of, path_argument, path_option
from flows.config import DEFAULT_CONFIG, guide_warnings, load_config
from flows.configure import GOALS, annotated, write_new
from flows.generated import generated_files
from flows.tiny_config import write_config, write_trained_config
from ltx_core.checkpoint.flavours import FLAVOURS
from ltx_core.errors import ConfigError
from ltx_core.io.atomic import write_bytes

if TYPE_CHECKING:
    from ltx_core.tiny.model import Miniature

QUESTIONS = {
    "footage": ("folder with the footage", None),
    "gpu_gib": ("GPU memory in GiB", "24"),
    "goal": (f"goal: {', '.join(f'{name} ({goal.meaning})' for name, goal in GOALS.items())}", "subject"),
}
"""By option: what is asked, and what an empty answer means."""


def miniature(
    folder: Annotated[Path, path_argument("DIR", "Folder to write to; it is created if it does not exist.")],
    generation: Annotated[
        Literal["2.0", "2.3", "2.5"], one_of(("2.0", "2.3", "2.5"), "--generation", "Generation of LTX-2.")
    ] = "2.0",
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="Seed of the random weights.")] = 0,
) -> None:
    """Write a toy LTX-2 of the real architecture, a corpus of media files, and a configuration."""
    from ltx_core.tiny.model import write_miniature

    made = write_miniature(folder, generation=generation, seed=seed)
    _say(made, write_config(folder, made))


def tiny(
    folder: Annotated[Path, path_argument("DIR", "Folder to write to; it is created if it does not exist.")],
) -> None:
    """Write a tiny LTX-2 with trained weights, footage of two things that it does not know, and a configuration."""
    from ltx_core.tiny.trained import demo_prompts, write_trained

    made = write_trained(folder)
    config = write_trained_config(folder, made, demo_prompts())
    _say(made, config)


def _say(made: "Miniature", config: Path) -> None:
    console = Console()
    console.print(
        f"model    {made.checkpoint}\nGemma    {made.text_encoder}\nfootage  {made.footage}\nconfig   {config}"
    )
    console.print(f"next: ltx2-lora run {config}", style="bold")


def docs() -> None:
    """Write every generated file; a test compares them."""
    for name, text in generated_files().items():
        write_bytes(Path.cwd() / name, text.encode())
        Console().print(f"wrote {name}")


def configure(
    *,
    footage: Annotated[Path | None, path_option("--footage", "DIR", "Folder with the footage.")] = None,
    gpu_gib: Annotated[float | None, typer.Option("--gpu-gib", metavar="GIB", help="GPU memory in GiB.")] = None,
    goal: Annotated[str | None, one_of(GOALS, "--goal", "Purpose of the LoRA.")] = None,
    flavour: Annotated[str, one_of(FLAVOURS, "--flavour", "Model of LTX-2.")] = "dev",
    checkpoint: Annotated[
        str | None,
        typer.Option(
            "--checkpoint",
            metavar="MODEL",
            help="File, folder or repository of the model. Default: the flavour's.",
        ),
    ] = None,
    text_encoder: Annotated[
        str | None,
        typer.Option(
            "--text-encoder", metavar="GEMMA", help="Folder or repository of Gemma 3. Default: Google's repository."
        ),
    ] = None,
    guide: Annotated[
        Path | None, path_option("--guide", "CONFIG.json", "Convert this configuration of SimpleTuner instead.")
    ] = None,
    output: Annotated[Path, path_option("--output", "FILE", "File to write.")] = Path(DEFAULT_CONFIG),
) -> None:
    """Ask for footage, GPU memory and goal where they are not given, and write an annotated configuration."""
    console = Console(highlight=False, soft_wrap=True)
    if output.exists():
        write_new(output, "")
    if guide:
        text = _converted(guide)
    else:
        answers = _answered({"footage": footage, "gpu_gib": gpu_gib, "goal": goal}, console)
        text = annotated(
            _seen_from(answers["footage"], output),
            answers["gpu_gib"],
            answers["goal"],
            flavour=flavour,
            checkpoint=_location(checkpoint, output),
            text_encoder=_location(text_encoder, output),
        )
    write_new(output, text)
    console.print(f"wrote {output}")
    console.print(f"next: ltx2-lora plan {output}", style="bold")


def _answered(options: Mapping[str, Any], console: Console) -> dict[str, Any]:
    """An answer to each question: the options given, and what a person says to the rest.

    Raises:
        ConfigError: something is missing and nobody can be asked, or an answer has no meaning.
    """
    missing = [name for name, value in options.items() if value is None]
    if missing and not sys.stdin.isatty():
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in missing)
        raise ConfigError(f"nobody can be asked here; give {flags}")
    checked = {name: CHECKS[name](value) for name, value in options.items() if name not in missing}
    return checked | {name: _ask(name, console) for name in missing}


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
        raise ConfigError(f"the folder with the footage is {str(answer)!r}, which is {found}; name a folder of videos")
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
    warnings = guide_warnings(path)
    if not warnings:
        raise ConfigError(f"{path} has none of the guide's options; give its config.json")
    values = load_config(path, {}).model_dump(mode="json", exclude_defaults=True)
    lines = [f"# Made by `ltx2-lora configure --guide {path.name}`. What differs from that file:"]
    lines += [f"# - {warning}" for warning in warnings]
    return "\n".join(lines) + "\n" + yaml.safe_dump(values, sort_keys=False, width=120, allow_unicode=True)


CHECKS: dict[str, Callable[[Any], Any]] = {"footage": _folder, "gpu_gib": _gib, "goal": _goal}
"""Functions that convert answers; each raises `ConfigError` for one without a meaning."""
