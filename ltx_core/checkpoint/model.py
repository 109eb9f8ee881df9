"""A checkpoint whose weights are not read yet, wherever they lie: one file, a file for each component, a folder."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ltx_core.checkpoint.architecture import (
    audio_vae_arguments,
    connector_arguments,
    transformer_arguments,
    vocoder_arguments,
)
from ltx_core.checkpoint.keys import diffusers_name
from ltx_core.checkpoint.quantised.group import grouped
from ltx_core.checkpoint.quantised.reader import Weight
from ltx_core.checkpoint.stored import StoredTensor
from ltx_core.checkpoint.video_architecture import video_vae_arguments

SECTIONS = {
    "transformer": "transformer",
    "connectors": "transformer",
    "text_projection": "transformer",
    "video_vae": "vae",
    "audio_vae": "audio_vae",
    "vocoder": "vocoder",
}
"""The section of the header's config that describes each component."""

ARGUMENTS = {
    "transformer": transformer_arguments,
    "connectors": connector_arguments,
    "video_vae": video_vae_arguments,
    "audio_vae": audio_vae_arguments,
    "vocoder": vocoder_arguments,
}


@dataclass(frozen=True)
class Checkpoint:
    """What the headers say of a model."""

    path: Path
    """The file or folder that the user gave."""
    generation: str
    """2.0, 2.3 or 2.5, by what the config says the model has; never by a file's name."""
    model_version: str
    config: dict[str, Any]
    """Lightricks' config: transformer, vae, audio_vae, vocoder. Of a diffusers folder only what its modules' own
    configs cannot say: how sound becomes the audio VAE's input, and the text features' norm."""
    stored: Mapping[str, Mapping[str, StoredTensor]]
    """Each component's tensors by the names of their layout."""
    text_encoder: Path | None = None
    """The text encoder that came with the model: a packed file, or a folder."""
    gemma_version: str | None = None
    """Which text encoder Lightricks trained it with, where the header says so (2.5)."""
    modules: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Constructor arguments of each component of a diffusers folder; empty for Lightricks' layout."""

    def tensors(self, component: str) -> Mapping[str, StoredTensor]:
        """The component's tensors by the names they are stored under, scales of quantised weights included."""
        return self.stored.get(component, {})

    def weights(self, component: str) -> dict[str, Weight]:
        """The component's weights by the names they have in its module.

        Raises:
            CheckpointError: some are quantised in a way that cannot be read.
        """
        tensors = self.tensors(component)
        if self.modules:
            return grouped(tensors)
        return grouped({diffusers_name(component, name): stored for name, stored in tensors.items()})

    def shapes(self, component: str) -> dict[str, tuple[int, ...]]:
        """The component's shapes, once read, by the names they have in its module."""
        return {name: weight.shape for name, weight in self.weights(component).items()}

    def arguments(self, component: str) -> Mapping[str, Any]:
        """What the component's module is built with.

        Raises:
            CheckpointError: the header's config lacks a value, or describes what diffusers' classes cannot be.
        """
        return self.modules[component] if self.modules else ARGUMENTS[component](self.config)

    def described_by(self, component: str) -> Any:
        """The part of the configuration that decides what the component computes; part of its identity."""
        if component in self.modules:
            return self.modules[component]
        return self.config.get(SECTIONS[component])
