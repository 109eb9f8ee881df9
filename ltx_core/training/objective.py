"""From a batch to its losses: one forward, one squared error a sample and modality. Changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from ltx_core.denoiser.forward import denoise
from ltx_core.denoiser.inputs import Stream
from ltx_core.denoiser.routing import TokenRoute
from ltx_core.flow_matching.loss import sample_losses
from ltx_core.training.batch import NoisyStream, TrainBatch, collate
from ltx_core.training.captions import ContextCache
from ltx_core.training.config import TrainSettings
from ltx_core.training.draws import eval_draw, train_draw
from ltx_core.training.order import Visit
from ltx_core.training.samples import SampleInfo, SampleSource
from ltx_core.training.tokens_kept import tokens_kept
from ltx_core.training.tread import BlockRoute, block_routes

Contexts = tuple[torch.Tensor, torch.Tensor]
"""[B, S, D] of the picture's and of the sound's text."""


class BatchLosses(NamedTuple):
    """Losses by sample, [B]; 0 where a sample carries none. `audio` is None if only video is trained."""

    video: torch.Tensor
    audio: torch.Tensor | None

    def detach(self) -> "BatchLosses":
        """The values alone, without the graph and what it holds."""
        return BatchLosses(self.video.detach(), None if self.audio is None else self.audio.detach())


@dataclass(frozen=True)
class Objective:
    """What a forward needs: model, data, captions, settings."""

    transformer: Any
    source: SampleSource
    contexts: ContextCache
    settings: TrainSettings
    device: str

    @property
    def audio_channels(self) -> int | None:
        if self.settings.modalities == "video":
            return None
        return int(self.transformer.config.audio_in_channels)

    @property
    def routes(self) -> tuple[BlockRoute, ...]:
        """The blocks that leave tokens out in training, in order."""
        return block_routes(self.settings.tread_routes, len(self.transformer.transformer_blocks))

    def train_batch(self, visits: Sequence[Visit]) -> TrainBatch:
        """The batch of these visits; a function of settings and data."""
        batch = collate(
            [visit.sample for visit in visits],
            self.source,
            lambda i, video_tokens, audio_tokens: train_draw(visits[i], self.settings, video_tokens, audio_tokens),
            audio_channels=self.audio_channels,
        )
        return replace(batch, kept=tokens_kept(self.routes, visits, batch, self.settings))

    def eval_batch(self, sample: SampleInfo, sigma: float) -> TrainBatch:
        """One clip at one noise level, the same whenever asked for; no route is taken."""
        return collate(
            [sample],
            self.source,
            lambda *_: eval_draw(sample, sigma, self.settings.seed),
            audio_channels=self.audio_channels,
        )

    def predict(self, batch: TrainBatch) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Velocities [B, T, C] of each stream for a batch on the device."""
        return self._predict(batch.video, batch.audio, self.contexts(batch.captions, self.device), batch.kept)

    def losses(self, batch: TrainBatch) -> BatchLosses:
        """Losses of a batch, wherever it lies; the graph is kept for a backward."""
        batch = batch.to(self.device)
        return self.losses_of(batch.video, batch.audio, self.contexts(batch.captions, self.device), batch.kept)

    def losses_of(
        self, video: NoisyStream, audio: NoisyStream | None, contexts: Contexts, kept: Sequence[torch.Tensor] = ()
    ) -> BatchLosses:
        """Losses of streams that lie on the device. `kept` are the tokens of each route, as in `TrainBatch`."""
        velocity, audio_velocity = self._predict(video, audio, contexts, kept)
        audio_losses = None
        if audio is not None and audio_velocity is not None:
            audio_losses = sample_losses(audio_velocity, audio.target, audio.weight)
        return BatchLosses(sample_losses(velocity, video.target, video.weight), audio_losses)

    def _predict(
        self, video: NoisyStream, audio: NoisyStream | None, contexts: Contexts, kept: Sequence[torch.Tensor]
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        heard = _stream(audio, contexts[1]) if audio is not None else None
        routes = []
        if kept:
            routes = [TokenRoute(r.first, r.last, k) for r, k in zip(self.routes, kept, strict=True)]
        velocity, audio_velocity = denoise(self.transformer, _stream(video, contexts[0]), heard, routes=routes)
        assert velocity is not None  # the video stream always runs
        return velocity, audio_velocity


def _stream(noisy: NoisyStream, context: torch.Tensor) -> Stream:
    return Stream(
        tokens=noisy.noisy,
        timesteps=noisy.timesteps,
        sigma=noisy.sigma,
        context=context,
        positions=noisy.positions,
        keyframes=noisy.keyframes,
    )
