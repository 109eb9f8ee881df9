"""From a batch to its losses: one forward, one squared error a sample and modality. Changes nothing."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import torch

from ltx_core.denoiser.forward import denoise
from ltx_core.denoiser.inputs import Stream
from ltx_core.denoiser.routing import TokenRoute
from ltx_core.denoiser.tap import Tap
from ltx_core.flow_matching.loss import sample_losses
from ltx_core.flow_matching.reflexflow import ReflexLosses, reflex_losses
from ltx_core.lora.dropout import dropout_key, set_dropout_key
from ltx_core.training.batch import NoisyStream, TrainBatch
from ltx_core.training.captions import ContextCache
from ltx_core.training.collate import collate
from ltx_core.training.config import TrainSettings
from ltx_core.training.crepa import Alignment, Crepa, batch_alignment
from ltx_core.training.draws import eval_draw, train_draw
from ltx_core.training.order import Visit
from ltx_core.training.rollout_draws import rollout_draws
from ltx_core.training.samples import SampleInfo, SampleSource
from ltx_core.training.tokens_kept import tokens_kept
from ltx_core.training.tread import BlockRoute, block_routes

Contexts = tuple[torch.Tensor, torch.Tensor]
"""[B, S, D] of the picture's and of the sound's text."""


class BatchLosses(NamedTuple):
    """Losses by sample, [B]; 0 where a sample carries none. `audio` is None of a batch without a stream of sound."""

    video: torch.Tensor
    audio: torch.Tensor | None
    crepa: Alignment | None = None
    """Of the picture's hidden states with the features of its frames, where that is asked for."""
    video_parts: ReflexLosses | None = None
    audio_parts: ReflexLosses | None = None
    """What ReflexFlow's losses are made of, detached; they mean nothing for samples that were not rolled out."""

    def detach(self) -> "BatchLosses":
        """The values alone, without the graph and what it holds."""
        audio = None if self.audio is None else self.audio.detach()
        crepa = self.crepa and Alignment(*(x.detach() for x in self.crepa))
        return self._replace(video=self.video.detach(), audio=audio, crepa=crepa)


@dataclass(frozen=True)
class Objective:
    """What a forward needs: model, data, captions, settings."""

    transformer: Any
    source: SampleSource
    contexts: ContextCache
    settings: TrainSettings
    device: str
    crepa: Crepa | None = None
    sharded: bool = False
    """Blocks come together only when all ranks run them, so each makes as many forwards as the others."""

    @property
    def audio_channels(self) -> int | None:
        if self.settings.modalities == "video":
            return None
        return int(self.transformer.config.audio_in_channels)

    def hears(self, visits: Sequence[Visit]) -> bool:
        """Whether the batch of these visits runs a stream of sound."""
        return self.settings.modalities != "video" and any(visit.sample.has_sound for visit in visits)

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
            with_features=self.crepa is not None,
        )
        audio_sigma = batch.audio.sigma if batch.audio is not None else None
        return replace(
            batch,
            video=replace(batch.video, dropout_key=_dropout_key(visits, self.settings)),
            kept=tokens_kept(self.routes, visits, batch, self.settings),
            rollout=rollout_draws(visits, batch.video.sigma, audio_sigma, self.settings),
        )

    def eval_batch(self, sample: SampleInfo, sigma: float) -> TrainBatch:
        """One clip at one noise level, the same whenever asked for; no route is taken."""
        return collate(
            [sample],
            self.source,
            lambda *_: eval_draw(sample, sigma, self.settings),
            audio_channels=self.audio_channels,
        )

    def predict(self, batch: TrainBatch) -> tuple[torch.Tensor, torch.Tensor | None]:
        """Velocities [B, T, C] of each stream for a batch on the device."""
        return self._predict(batch.video, batch.audio, self.contexts(batch.captions, self.device), batch.kept)

    def losses(self, batch: TrainBatch) -> BatchLosses:
        """Losses of a batch, wherever it lies; the graph is kept for a backward."""
        batch = batch.to(self.device)
        contexts = self.contexts(batch.captions, self.device)
        return self.losses_of(batch.video, batch.audio, contexts, batch.kept, batch.features)

    def losses_of(
        self,
        video: NoisyStream,
        audio: NoisyStream | None,
        contexts: Contexts,
        kept: Sequence[torch.Tensor] = (),
        features: torch.Tensor | None = None,
    ) -> BatchLosses:
        """Losses of streams that lie on the device. `kept` are the tokens of each route and `features` those of the
        frames, as in `TrainBatch`; without features nothing is aligned."""
        if video.dropout_key is not None:
            set_dropout_key(self.transformer, video.dropout_key)
        tap = None if self.crepa is None or features is None else Tap(self.crepa.settings.block_index)
        velocity, audio_velocity = self._predict(video, audio, contexts, kept, tap)
        losses, parts = self._of_stream(velocity, video)
        audio_losses, audio_parts = None, None
        if audio is not None and audio_velocity is not None:
            audio_losses, audio_parts = self._of_stream(audio_velocity, audio)
        aligned = None
        if self.crepa is not None and features is not None and tap is not None and tap.video is not None:
            aligned = batch_alignment(self.crepa, tap.video, features, video.weight, self._kept_at(tap.block, kept))
        return BatchLosses(losses, audio_losses, aligned, parts, audio_parts)

    def _of_stream(self, velocity: torch.Tensor, stream: NoisyStream) -> tuple[torch.Tensor, ReflexLosses | None]:
        """Losses [B] of one stream; samples that were rolled out have ReflexFlow's where it is on."""
        plain = sample_losses(velocity, stream.target, stream.weight)
        rollout = self.settings.rollout
        if rollout is None or stream.clean_velocity is None or stream.rolled_out is None:
            return plain, None
        parts = reflex_losses(
            velocity, stream.target, stream.weight, stream.clean_velocity, alpha=rollout.reflexflow_alpha
        )
        both = rollout.reflexflow_beta1 * parts.anti_drift + rollout.reflexflow_beta2 * parts.compensated
        return torch.where(stream.rolled_out > 0, both, plain), parts.detach()

    def _kept_at(self, block: int, kept: Sequence[torch.Tensor]) -> torch.Tensor | None:
        """The tokens that a block computes, if it lies in a route that is taken."""
        return next((k for r, k in zip(self.routes, kept, strict=bool(kept)) if r.first <= block <= r.last), None)

    def _predict(
        self,
        video: NoisyStream,
        audio: NoisyStream | None,
        contexts: Contexts,
        kept: Sequence[torch.Tensor],
        tap: Tap | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        heard = _stream(audio, contexts[1]) if audio is not None else None
        routes = []
        if kept:
            routes = [TokenRoute(r.first, r.last, k) for r, k in zip(self.routes, kept, strict=True)]
        velocity, audio_velocity = denoise(self.transformer, _stream(video, contexts[0]), heard, routes=routes, tap=tap)
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


def _dropout_key(visits: Sequence[Visit], settings: TrainSettings) -> torch.Tensor | None:
    """What names the masks of these visits, [B] int64; None where nothing is dropped."""
    if not settings.dropout:
        return None
    return torch.tensor([dropout_key("dropout", settings.seed, v.number, v.sample.clip_id) for v in visits])
