"""Prompts as they are meant, put into the configuration before anything looks at it, so that they decide the keys."""

from pathlib import Path

from flows.documents import read_document
from ltx_core.errors import ConfigError
from ltx_core.sampling.guidance import NEGATIVE_PROMPT as RELEASED_NEGATIVE_PROMPT
from tasks.runtime.shared import NEGATIVE_PROMPT, PromptConfig
from tasks.stages.render.config import SamplingConfig


def with_library(prompts: PromptConfig) -> PromptConfig:
    """The prompts with those of the file after them, each once, and no file.

    Raises:
        ConfigError: the file is not there, or is no JSON object of prompts by name.
    """
    if prompts.library is None:
        return prompts
    found = [prompt for prompt in _read(prompts.library) if prompt not in prompts.validation]
    return prompts.model_copy(update={"validation": (*prompts.validation, *dict.fromkeys(found)), "library": None})


def with_negative(prompts: PromptConfig, sampling: SamplingConfig) -> PromptConfig:
    """The prompts with the negative one that goes with official guidance, where that is asked for and none is given."""
    if sampling.guidance != "official" or prompts.negative != NEGATIVE_PROMPT:
        return prompts
    return prompts.model_copy(update={"negative": RELEASED_NEGATIVE_PROMPT})


def _read(path: Path) -> list[str]:
    entries = read_document(path, "prompts.library")
    if not isinstance(entries, dict) or not all(isinstance(text, str) and text.strip() for text in entries.values()):
        raise ConfigError(f'prompts.library {path} is wanted to hold prompts by name, as in {{"dog": "A dog runs."}}')
    return list(entries.values())
