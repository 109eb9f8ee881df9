"""A file of prompts, read into the configuration before anything looks at it, so that its contents decide the keys."""

from pathlib import Path

from flows.documents import read_document
from ltx_core.errors import ConfigError
from tasks.shared import PromptConfig


def with_library(prompts: PromptConfig) -> PromptConfig:
    """The prompts with those of the file after them, each once, and no file.

    Raises:
        ConfigError: the file is not there, or is no JSON object of prompts by name.
    """
    if prompts.library is None:
        return prompts
    found = [prompt for prompt in _read(prompts.library) if prompt not in prompts.validation]
    return prompts.model_copy(update={"validation": (*prompts.validation, *dict.fromkeys(found)), "library": None})


def _read(path: Path) -> list[str]:
    entries = read_document(path, "prompts.library")
    if not isinstance(entries, dict) or not all(isinstance(text, str) and text.strip() for text in entries.values()):
        raise ConfigError(f'prompts.library {path} is wanted to hold prompts by name, as in {{"dog": "A dog runs."}}')
    return list(entries.values())
