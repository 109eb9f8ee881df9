"""The tensors of one batch, wherever they lie; `collate` makes them on the CPU in float32."""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Self

import torch
from torch import Tensor

from ltx_core.shapes import LatentShape
from ltx_core.training.rollout_draws import RolloutDraws


@dataclass(frozen=True)
class NoisyStream:
    """One modality of a batch, noised. Letters as in ltx_core/shapes.py."""

    noisy: Tensor
    """[B, T, C]"""
    target: Tensor
    """[B, T, C] velocity."""
    weight: Tensor
    """[B, T], 1 where a token carries loss."""
    sigma: Tensor
    """[B]"""
    timesteps: Tensor
    """[B], or [B, T] where some tokens are clean."""
    positions: Tensor
    """As the denoiser's `Stream` wants them."""
    keyframes: Tensor | None = None
    """[B, T, 1] single-frame marks; video only."""
    dropout_key: Tensor | None = None
    """[B] int64; video only, and only where the LoRA has dropout."""
    rolled_out: Tensor | None = None
    """[B], 1 for samples that the model brought to where they are; only with ReflexFlow, whose loss they have."""
    clean_velocity: Tensor | None = None
    """[B, T, C] what the model says of those samples on the straight path; only with ReflexFlow."""

    @property
    def given(self) -> Tensor:
        """Tokens that the model is told are clean: bool [B, T]. Of a stream that is given whole, sigma is 0."""
        times = self.timesteps if self.timesteps.ndim == 2 else self.timesteps[:, None].expand(self.noisy.shape[:2])
        return times == 0

    def to(self, device: torch.device | str) -> Self:
        """The same on `device`; from pinned memory the copy runs beside what follows."""
        return self._each(lambda tensor: _to(tensor, device))

    def pinned(self) -> Self:
        """The same in host memory that a GPU can fetch from by itself."""
        return self._each(lambda tensor: tensor.pin_memory())

    def rows(self, index: Tensor) -> Self:
        """The samples at `index`, [N]."""
        return self._each(lambda tensor: tensor.index_select(0, index))

    def _each(self, change: Callable[[Tensor], Tensor]) -> Self:
        found = {field.name: getattr(self, field.name) for field in fields(self)}
        return replace(self, **{name: change(tensor) for name, tensor in found.items() if tensor is not None})


@dataclass(frozen=True)
class TrainBatch:
    """Clips of one shape, ready for a forward."""

    clip_ids: tuple[str, ...]
    captions: tuple[str, ...]
    """As drawn: dropped ones are empty."""
    video: NoisyStream
    audio: NoisyStream | None
    """None if only video is trained, and of clips without sound."""
    shape: LatentShape
    """Of the video latents."""
    kept: tuple[Tensor, ...] = ()
    """[B, K] for each route: the video tokens that its blocks compute. Empty: no route is taken."""
    features: Tensor | None = None
    """[B, F, P, D]: a vision encoder's features of latent frame F at the place of token P; None without CREPA."""
    rollout: RolloutDraws | None = None
    """None: no sample is rolled out, ever."""

    @property
    def num_tokens(self) -> int:
        audio = self.audio.noisy.shape[:2].numel() if self.audio is not None else 0
        return self.video.noisy.shape[:2].numel() + audio

    def to(self, device: torch.device | str) -> "TrainBatch":
        """The same on `device`."""
        audio = self.audio.to(device) if self.audio is not None else None
        kept = tuple(_to(tensor, device) for tensor in self.kept)
        features = None if self.features is None else _to(self.features, device)
        return replace(self, video=self.video.to(device), audio=audio, kept=kept, features=features)

    def rows(self, index: Tensor) -> "TrainBatch":
        """The samples at `index`, [N], which lies on the CPU, as the batch does; for a forward, so without the features
        and the draws that a loss or the host wants."""
        numbers = index.tolist()
        clip_ids, captions = (tuple(texts[i] for i in numbers) for texts in (self.clip_ids, self.captions))
        audio = self.audio.rows(index) if self.audio is not None else None
        kept = tuple(tensor.index_select(0, index) for tensor in self.kept)
        return replace(
            self,
            clip_ids=clip_ids,
            captions=captions,
            video=self.video.rows(index),
            audio=audio,
            kept=kept,
            features=None,
            rollout=None,
        )

    def pinned(self) -> "TrainBatch":
        """The same in host memory that a GPU can fetch from by itself."""
        audio = self.audio.pinned() if self.audio is not None else None
        kept = tuple(tensor.pin_memory() for tensor in self.kept)
        features = None if self.features is None else self.features.pin_memory()
        return replace(self, video=self.video.pinned(), audio=audio, kept=kept, features=features)


def _to(tensor: Tensor, device: torch.device | str) -> Tensor:
    """On `device`; from pinned memory the copy runs beside what follows."""
    return tensor.to(device, non_blocking=tensor.is_pinned())
