"""A model whose weights are not read yet, wherever they lie, and its identities by content. No torch.

`ltx_core/checkpoint/source.py` finds and opens one; `ltx_core/checkpoint/layouts.py` knows how files lie.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from ltx_core.checkpoint.architecture import (
    audio_vae_arguments,
    connector_arguments,
    transformer_arguments,
    video_vae_arguments,
    vocoder_arguments,
)
from ltx_core.checkpoint.diffusion_vae import is_diffusion_vae, unfused
from ltx_core.checkpoint.keys import COMPONENTS, diffusers_name
from ltx_core.checkpoint.stored import StoredTensor, Weight, grouped, tensors_digest
from ltx_core.checkpoint.text_encoder import StoredTextEncoder, open_text_encoder
from ltx_core.io.digest import WEIGHTS, DigestMemo, text_digest

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


@dataclass(frozen=True, eq=False)
class Model:
    """A model, as its headers describe it; one object is equal to itself alone."""

    path: Path
    """The file or folder that the user gave."""
    generation: str
    """2.0, 2.3 or 2.5, by what the config says the model has; never by a file's name."""
    model_version: str
    config: dict[str, Any]
    """Lightricks' config: transformer, vae, audio_vae, vocoder. Of a diffusers folder only what its modules' own
    configs cannot say: how audio becomes the audio VAE's input, and the text features' norm."""
    stored: Mapping[str, Mapping[str, StoredTensor]]
    """Each component's tensors by the names of their layout, scales of quantised weights included."""
    text_encoder: Path | None = None
    """The text encoder that goes with the model: a packed file, or a folder."""
    gemma_version: str | None = None
    """The text encoder that Lightricks trained it with, where the header says so (2.5)."""
    modules: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Constructor arguments of each component of a diffusers folder; empty for Lightricks' layout."""

    def __post_init__(self) -> None:
        """Raises CheckpointError if weights are quantised in a way that cannot be read."""
        for component in self.stored:
            self.weights(component)

    @cached_property
    def encoder(self) -> StoredTextEncoder:
        """The text encoder, opened once.

        Raises:
            CheckpointError: files of it are missing or damaged, or it is another kind of model.
        """
        assert self.text_encoder is not None, f"nobody has named the text encoder of {self.path}"
        return open_text_encoder(self.text_encoder)

    def weights(self, component: str) -> dict[str, Weight]:
        """The component's weights by the names they have in its module."""
        tensors = self.stored.get(component, {})
        if self.modules:
            return grouped(tensors)
        diffuses = component == "video_vae" and is_diffusion_vae(self.config)
        table = "diffusion_vae" if diffuses else component
        found = grouped({diffusers_name(table, name): stored for name, stored in tensors.items()})
        return unfused(found) if diffuses else found

    def shapes(self, component: str) -> dict[str, tuple[int, ...]]:
        """The component's shapes, once read, by the names they have in its module."""
        return {name: weight.shape for name, weight in self.weights(component).items()}

    def arguments(self, component: str) -> Mapping[str, Any]:
        """The arguments of the component's module.

        Raises:
            CheckpointError: the header's config lacks a value, or describes what diffusers' classes cannot be.
        """
        return self.modules[component] if self.modules else ARGUMENTS[component](self.config)

    def identities(self, memo: DigestMemo) -> dict[str, str]:
        """A digest for each component: its tensors (name, dtype, shape, bytes as stored) and the config it is built by.

        Two models that share a component give it the same digest, whatever else their files hold, in whatever order, in
        one file or in a pack. Quantised weights are other bytes and so another component. Unchanged files are read
        once, as long as `memo` is saved.

        Raises:
            ChangedError: a file was replaced since it was opened.
            CheckpointError: a file was cut since.
        """
        return {name: self._identity(name, memo) for name in COMPONENTS if self.stored.get(name)}

    def _identity(self, component: str, memo: DigestMemo) -> str:
        tensors = sorted(self.stored[component].items())
        by_file = {path: [one for one in tensors if one[1].path == path] for path in {s.path for _, s in tensors}}
        digests = [
            memo.get(path, f"{WEIGHTS}:{component}", partial(tensors_digest, path, held, memo.progress))
            for path, held in sorted(by_file.items())
        ]
        described = self.modules.get(component, self.config.get(SECTIONS[component]))
        return text_digest(json.dumps(described, sort_keys=True), *digests)
