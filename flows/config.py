"""The configuration of a run: the shared sections, and a section for each stage, loaded from a user's file.

`flows.documents` reads the text of that file and of every other YAML or JSON file that a user writes.
"""

import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, Field, SecretStr, ValidationError, model_validator

from datasets_spec.options import OLD_NAMES_END, ConfigModel, NamedTwice, present_path, with_present_names
from flows.documents import check_values, exists, explain, read_document
from flows.simpletuner.read import is_guide, translate
from ltx_core.errors import ConfigError
from ltx_core.hub.repository import absolute_location
from ltx_core.sampling.guidance import NEGATIVE_PROMPT as RELEASED_NEGATIVE_PROMPT
from ltx_core.training.config import TrainSettings
from tasks.runtime.shared import NEGATIVE_PROMPT, PromptConfig, Shared
from tasks.runtime.workspace import Workspace
from tasks.stages.caption import CaptionConfig
from tasks.stages.embed_frames import EmbedFramesConfig
from tasks.stages.embed_text import EmbedTextConfig
from tasks.stages.parts.encode_missing import EncodeLatentsConfig
from tasks.stages.probe import ProbeConfig
from tasks.stages.publish import PublishConfig
from tasks.stages.register import RegisterConfig
from tasks.stages.render.config import RenderValidationConfig, SamplingConfig
from tasks.stages.split import SplitConfig
from tasks.tracking.address import WHOLE, hide_secrets

DEFAULT_CONFIG = "ltx2-lora.yaml"
"""A configuration that is not named lies here, in the folder that a command is given in."""


def override(values: dict[str, Any], dotted: str, value: Any) -> None:
    """Set `values["a"]["b"]` for "a.b"; a number in the path is a list index, as in `datasets.0.repeats`.

    Raises:
        ConfigError: there is no such place.
    """
    *way, last = dotted.split(".")
    here: Any = values
    for name in way:
        here = here[_place(here, name, dotted)] if isinstance(here, list) else _section(here, name, dotted)
    if isinstance(here, list):
        here[_place(here, last, dotted)] = value
    elif isinstance(here, dict):
        here[last] = value
    else:
        raise ConfigError(_outside(dotted, last))


def _place(here: list[Any], name: str, dotted: str) -> int:
    if not (name.isdigit() and int(name) < len(here)):
        raise ConfigError(f"override {dotted!r}: {name!r} is not one of the places 0 to {len(here) - 1} of that list")
    return int(name)


def _section(here: Any, name: str, dotted: str) -> Any:
    if not isinstance(here, dict):
        raise ConfigError(_outside(dotted, name))
    return here.setdefault(name, {})


def _outside(dotted: str, name: str) -> str:
    return f"override {dotted!r}: {name!r} is not inside a section; use names as in the configuration file"


MOST_SHOWN = 120
"""Characters of a path in a message."""

with warnings.catch_warnings():
    # pydantic's metaclass has a method `register`, which a section of that name hides from instances; nothing needs it.
    warnings.filterwarnings("ignore", message='Field name "register"', category=UserWarning)

    class RunConfig(Shared):
        """Everything that decides what a run makes."""

        workspace: Path = Field(default=Path("workspace"), description="Folder for results, caches and tracking data.")
        probe: ProbeConfig = Field(default=ProbeConfig(), description="Finding and reading media.")
        split: SplitConfig = Field(default=SplitConfig(), description="Cutting clips.")
        caption: CaptionConfig = Field(
            default=CaptionConfig(), description="Captions by a model; only with `datasets[].captions.missing: model`."
        )
        embed_text: EmbedTextConfig = Field(default=EmbedTextConfig(), description="Text features.")
        encode_latents: EncodeLatentsConfig = Field(default=EncodeLatentsConfig(), description="VAE latents.")
        embed_frames: EmbedFramesConfig = Field(
            default=EmbedFramesConfig(), description="Features of frames; only with `train_lora.crepa`."
        )
        train_lora: TrainSettings = Field(default=TrainSettings(), description="Training.")
        render_validation: RenderValidationConfig = Field(default=RenderValidationConfig(), description="Renders.")
        register: RegisterConfig = Field(default=RegisterConfig(), description="Model registry.")
        publish: PublishConfig = Field(default=PublishConfig(), description="Upload to the hub.")

        @model_validator(mode="after")
        def _frames_are_wanted(self) -> Self:
            if self.train_lora.crepa is None and (named := self.embed_frames.named()):
                raise ValueError(
                    f"embed_frames.{named[0]} is set but train_lora.crepa is not, so that no frame is embedded; set "
                    f"train_lora.crepa ({{}} for its defaults), or leave it out"
                )
            return self

        @model_validator(mode="after")
        def _captions_are_wanted(self) -> Self:
            asking = [dataset.id for dataset in self.datasets if dataset.captions.missing == "model"]
            if asking and self.caption.model is None:
                raise ValueError(
                    f"dataset {asking[0]!r} has captions.missing 'model' and caption.model is not set; set it to a "
                    f"model of images and text: a folder, or a repository on the hub"
                )
            if not asking and (named := self.caption.named()):
                raise ValueError(
                    f"caption.{named[0]} is set and no dataset has captions.missing: model, so that no caption is "
                    f"written; set that, or leave it out"
                )
            return self

        def shared(self) -> Shared:
            """The sections that more than one stage reads."""
            return Shared(**{name: getattr(self, name) for name in Shared.model_fields})

        def stage_config(self, name: str) -> BaseModel:
            """The section of one stage."""
            section: BaseModel = getattr(self, name)
            return section

        def place(self) -> Workspace:
            """The workspace."""
            return Workspace(self.workspace)


P = TypeVar("P", Path, str)
ADDRESS = re.compile(r"(^|/)[A-Za-z][A-Za-z0-9+.-]+:/")
"""A path that was made of an address."""


Source = Path | str | RunConfig | Mapping[str, Any]
"""A configuration: the path of its file, the configuration itself, or its values by name."""


def load_config(source: Source, overrides: Mapping[str, Any]) -> RunConfig:
    """Read a configuration, apply dotted overrides, and make its paths absolute.

    Options may have the names of the last release, of which `config_warnings` warns. Paths in a file are relative to
    that file's folder; in a form or mapping, to the current folder. A file of the guide (SimpleTuner's `config.json`
    and its datasets) is read as it is; its paths are relative to its project's folder.

    Raises:
        ConfigError: no such file, not YAML or JSON, an unknown or impossible option; says which and what is near.
    """
    document = _document(source, overrides)
    values, where = document.values, document.where
    try:
        config = RunConfig.model_validate(values)
    except ValidationError as error:
        raise ConfigError(explain(error, RunConfig, where)) from error
    absolute: RunConfig = _absolute(config, document.base)
    absolute.place().check()
    prompts = with_negative(with_library(absolute.prompts), absolute.render_validation)
    return absolute.model_copy(update={"prompts": prompts})


def config_warnings(source: Source, overrides: Mapping[str, Any]) -> tuple[str, ...]:
    """Return what differs from a file of the guide, and which options have earlier names.

    Raises:
        ConfigError: as for `load_config`.
    """
    return tuple(_document(source, overrides).warnings)


def guide_warnings(path: Path) -> tuple[str, ...]:
    """Return what is done differently than a file of the guide says; nothing for a configuration of ours.

    Raises:
        ConfigError: as for `load_config`.
    """
    values = _read(path)
    return translate(values, path).warnings if is_guide(values, RunConfig.model_fields) else ()


@dataclass(frozen=True)
class _Document:
    """A configuration with its overrides, before it is checked against the options that there are."""

    values: dict[str, Any]
    """By present names."""
    base: Path
    """The folder that its paths are relative to."""
    where: str
    """Where it comes from, for messages."""
    warnings: list[str]


def _document(source: Source, overrides: Mapping[str, Any]) -> _Document:
    warned: list[str] = []
    if isinstance(source, (str, Path)):
        path = Path(source)
        values, base, where = _read(path), path.resolve().parent, str(source)
        if is_guide(values, RunConfig.model_fields):
            translation = translate(values, path)
            values, base = translation.values, translation.root
            warned += translation.warnings
    else:
        values = (
            source.model_dump(mode="json", context=dict(WHOLE))
            if isinstance(source, RunConfig)
            else deepcopy(dict(source))
        )
        base, where = Path.cwd(), "config"
    check_values(values, where)
    values = _present(values, where, warned)
    for dotted, value in overrides.items():
        name = ".".join(present_path(dotted.split("."), RunConfig))
        if name != dotted:
            warned.append(_renamed(dotted, name))
        override(values, name, _whole(value))
    check_values(values, where)
    return _Document(_present(values, where, warned), base, where, warned)


def _present(values: dict[str, Any], where: str, warned: list[str]) -> dict[str, Any]:
    """The values by the present names of their options; earlier names are warned of.

    Raises:
        ConfigError: an option is set by both.
    """
    try:
        found: dict[str, Any] = with_present_names(
            values, RunConfig, lambda old, name: warned.append(_renamed(old, name))
        )
    except NamedTwice as error:
        raise ConfigError(f"{where}: {error}; keep the latter") from error
    return found


def _renamed(old: str, name: str) -> str:
    return f"option '{old}' is now called '{name}'; the earlier name is understood until release {OLD_NAMES_END}"


def _whole(value: Any) -> Any:
    """An override in which nothing is hidden any more."""
    if isinstance(value, Mapping):
        return {name: _whole(inner) for name, inner in value.items()}
    return value.get_secret_value() if isinstance(value, SecretStr) else value


def _read(path: Path) -> dict[str, Any]:
    if not exists(path):
        raise ConfigError(
            f"there is no configuration file {path}. `ltx2-lora miniature demo` writes an example to start from "
            f"(demo/ltx2-lora.yaml); docs/config.md lists every option."
        )
    values = read_document(path, "configuration")
    if not isinstance(values, dict):
        found = "is empty" if values is None else f"holds {type(values).__name__}"
        raise ConfigError(f"configuration {path} {found}, wanted a mapping of sections such as `datasets:`")
    return values


def _absolute(model: Any, base: Path) -> Any:
    """A copy of a configuration in which every path is absolute."""
    if isinstance(model, Path):
        return _resolved(_refuse_address(model), base)
    if isinstance(model, tuple):
        return tuple(_absolute(item, base) for item in model)
    if isinstance(model, BaseModel):
        fields = {name: _absolute(getattr(model, name), base) for name in type(model).model_fields}
        locations = model.LOCATIONS if isinstance(model, ConfigModel) else ()
        fields |= {name: _located(fields[name], base) for name in locations if fields[name] is not None}
        return model.model_copy(update=fields)
    return model


def _resolved(path: Path, base: Path) -> Path:
    with _possible(path):
        found = (base / path.expanduser()).resolve()
        found.exists()
        return found


def _located(location: str, base: Path) -> str:
    _refuse_address(location)
    with _possible(location):
        return absolute_location(location, base)


@contextmanager
def _possible(path: Path | str) -> Iterator[None]:
    """Say of a path that no file could have which one it is: a name too long, a link to itself, an unknown user.

    Raises:
        ConfigError: it is such a path.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError) as error:
        shown = str(path) if len(str(path)) < MOST_SHOWN else f"{str(path)[:MOST_SHOWN]}..."
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"the path {shown!r} cannot be: {reason}; correct it in the configuration") from error


def _refuse_address(path: P) -> P:
    """The path, unless it is an address, whose account or signature would be shown wherever the path is.

    Raises:
        ConfigError: it is.
    """
    if ADDRESS.search(str(path)) is None:
        return path
    raise ConfigError(
        f"{hide_secrets(str(path))} is an address, and a path or a repository on the hub is wanted; download it first"
    )


def with_library(prompts: PromptConfig) -> PromptConfig:
    """The prompts with those of the file after them, each once, and no file.

    Raises:
        ConfigError: the file is not there, or is no JSON object of prompts by name.
    """
    if prompts.library is None:
        return prompts
    found = [prompt for prompt in _prompts_in(prompts.library) if prompt not in prompts.validation]
    return prompts.model_copy(update={"validation": (*prompts.validation, *dict.fromkeys(found)), "library": None})


def with_negative(prompts: PromptConfig, sampling: SamplingConfig) -> PromptConfig:
    """The prompts with the negative one that goes with official guidance, where that is asked for and none is given."""
    if sampling.guidance != "official" or prompts.negative != NEGATIVE_PROMPT:
        return prompts
    return prompts.model_copy(update={"negative": RELEASED_NEGATIVE_PROMPT})


def _prompts_in(path: Path) -> list[str]:
    entries = read_document(path, "prompts.library")
    if not isinstance(entries, dict) or not all(isinstance(text, str) and text.strip() for text in entries.values()):
        raise ConfigError(f'prompts.library {path} is wanted to hold prompts by name, as in {{"dog": "A dog runs."}}')
    return list(entries.values())
