"""Published models by short names: which repository on the hub, which files. Nothing is decided by these names but
what to download; what a file is, its header says."""

from dataclasses import dataclass
from typing import Literal

from ltx_core.errors import ConfigError


@dataclass(frozen=True)
class Flavour:
    """One published model."""

    generation: str
    repository: str
    """Lightricks' own; another may hold the same files."""
    files: tuple[str, ...]
    stored: Literal["unquantised", "fp8", "fp4"] = "unquantised"
    """Storage of the transformer's weights in them."""


def _pack(kind: str) -> tuple[str, ...]:
    """LTX-2.5's files, with the convolutional video VAE, which is lighter than the one with a diffusion decoder; that
    one is taken from a folder that has it in its place."""
    return (
        f"diffusion_models/ltx-2.5-22b-{kind}-transformer-bf16.safetensors",
        "text_encoders/gemma4-12b-with-proj-ltx-2.5-bf16.safetensors",
        "vae/ltx-2.5-video-vae-conv-bf16.safetensors",
        "vae/ltx-2.5-audio-vae-bf16.safetensors",
    )


FLAVOURS = {
    "dev": Flavour("2.0", "Lightricks/LTX-2", ("ltx-2-19b-dev.safetensors",)),
    "dev-fp8": Flavour("2.0", "Lightricks/LTX-2", ("ltx-2-19b-dev-fp8.safetensors",), "fp8"),
    "dev-fp4": Flavour("2.0", "Lightricks/LTX-2", ("ltx-2-19b-dev-fp4.safetensors",), "fp4"),
    "2.3-dev": Flavour("2.3", "Lightricks/LTX-2.3", ("ltx-2.3-22b-dev.safetensors",)),
    "2.3-dev-fp8": Flavour("2.3", "Lightricks/LTX-2.3-fp8", ("ltx-2.3-22b-dev-fp8.safetensors",), "fp8"),
    "2.3-distilled": Flavour("2.3", "Lightricks/LTX-2.3", ("ltx-2.3-22b-distilled-1.1.safetensors",)),
    "2.5-dev": Flavour("2.5", "Lightricks/LTX-2.5", _pack("dev")),
    "2.5-distilled": Flavour("2.5", "Lightricks/LTX-2.5", _pack("distilled")),
}
ALIASES = {"2": "dev", "2.0": "dev", "2.3": "2.3-dev", "2.5": "2.5-dev"}


def published(name: str) -> Flavour:
    """The model of that name.

    Raises:
        ConfigError: there is none; lists them.
    """
    name = ALIASES.get(name, name)
    if name not in FLAVOURS:
        raise ConfigError(f"model flavour {name!r} is unknown; there are {', '.join(FLAVOURS)}")
    return FLAVOURS[name]


def default_flavour(repository: str) -> str:
    """The flavour that a repository stands for when none is named: its first, or LTX-2's."""
    return next((name for name, found in FLAVOURS.items() if found.repository == repository), "dev")
