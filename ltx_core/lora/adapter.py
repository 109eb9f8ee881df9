"""A LoRA that is to be put on a transformer. No torch."""

import math
from dataclasses import dataclass
from pathlib import Path

from ltx_core.errors import ConfigError


@dataclass(frozen=True)
class Adapter:
    """A LoRA file and how much of it is added."""

    path: Path
    digest: str
    """Of the file's bytes, which is what names its renders."""
    strength: float = 1.0

    def __post_init__(self) -> None:
        if not math.isfinite(self.strength) or self.strength == 0:
            raise ConfigError(f"the strength of {self.path} is {self.strength}; a finite number other than 0 is wanted")
