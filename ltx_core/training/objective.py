"""From a batch to its losses: one forward, one squared error a sample and modality, and what training methods make of
them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ltx_core.adapters.lora_layout import BLOCKS
from ltx_core.denoiser.forward import denoise
from ltx_core.denoiser.tokens import Stream
from ltx_core.flow_matching import sample_losses
from ltx_core.shapes import LatentShape
from ltx_core.training.batch import NoisyStream, TrainBatch, collate
from ltx_core.training.condition_settings import ConditionSettings
from ltx_core.training.config import TrainSettings
from ltx_core.training.context_cache import ContextCache
from ltx_core.training.draws import carries_video_loss, eval_draw, train_draw
from ltx_core.training.methods.method import BatchLosses, Forward, TrainingMethod
from ltx_core.training.modalities import as_heard
from ltx_core.training.order import EpochPlan, SampleOccurrence, learnable
from ltx_core.training.samples import ClipInfo, SampleSource

Contexts = tuple[Tensor, Tensor]
"""[B, S, D] of the video's and of the audio's text."""
COMPARED: dict[str, Any] = {
    "batch_size": 1,
    "caption_dropout": 0.0,
    **dict.fromkeys(ConditionSettings.probabilities(), 0.0),
}
"""Settings of the batch that 8 bits are compared with full precision on, which leave out what makes a step random."""


@dataclass(frozen=True)
class Objective:
    """Everything that a forward needs: model, data, captions, settings, methods."""

    transformer: Any
    source: SampleSource
    contexts: ContextCache
    settings: TrainSettings
    device: str
    methods: tuple[TrainingMethod, ...] = ()
    sharded: bool = False
    """Blocks come together only when all ranks run them, so each makes as many forwards as the others."""

    @property
    def audio_channels(self) -> int | None:
        if self.settings.modalities == "video":
            return None
        return int(self.transformer.config.audio_in_channels)

    def hears(self, occurrences: Sequence[SampleOccurrence]) -> bool:
        """True if the batch of these occurrences runs an audio stream."""
        return self.settings.modalities != "video" and any(occurrence.sample.has_sound for occurrence in occurrences)

    def sees(self, occurrences: Sequence[SampleOccurrence]) -> bool:
        """True if the batch of these occurrences runs a stream of video."""
        return self.settings.modalities != "audio" and all(occurrence.sample.has_video for occurrence in occurrences)

    def train_batch(self, occurrences: Sequence[SampleOccurrence]) -> TrainBatch:
        """The batch of these occurrences; a function of settings and data."""

        def extras(batch: TrainBatch, loaded: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
            brought = [method.tensors(batch, occurrences, loaded) for method in self.methods]
            return {name: tensor for tensors in brought for name, tensor in tensors.items()}

        return collate(
            [occurrence.sample for occurrence in occurrences],
            self.source,
            lambda i, video_tokens, audio_tokens: train_draw(occurrences[i], self.settings, video_tokens, audio_tokens),
            audio_channels=self.audio_channels,
            with_video=self.settings.modalities != "audio",
            extras_for=extras,
        )

    def eval_batch(self, clip: ClipInfo, sigma: float) -> TrainBatch:
        """One clip at one noise level, the same whenever asked for; no method has a part in it."""
        return collate(
            [clip],
            self.source,
            lambda *_: eval_draw(clip, sigma, self.settings),
            audio_channels=self.audio_channels,
            with_video=self.settings.modalities != "audio",
        )

    def runs_as_in_training(self, clips: Iterable[ClipInfo]) -> bool:
        """True if the transformer, its adapter on, takes one of these clips in the form of a batch of training, so that
        what training compiles serves it too: batches of one, buckets that are trained on, no method that changes the
        blocks, and nothing trained before them, which decides whether their inputs want gradients."""
        known = {_form(clip) for clip in self.source.samples if clip.split == "train"}
        changed = any(method.changes_blocks for method in self.methods)
        trained = (name for name, parameter in self.transformer.named_parameters() if parameter.requires_grad)
        inside = all(name.startswith(BLOCKS) for name in trained)
        return self.settings.batch_size == 1 and not changed and inside and all(_form(clip) in known for clip in clips)

    def predict(self, batch: TrainBatch) -> tuple[Tensor, Tensor | None]:
        """Velocities [B, T, C] of each stream for a batch on the device."""
        forward = Forward(self.transformer, batch.video, batch.audio, self.steering(batch.extras))
        self._run(forward, self.contexts(batch.captions, self.device))
        return forward.velocities["video"], forward.velocities.get("audio")

    def steering(self, extras: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The tensors among `extras` that change what the model computes, whether it is trained on or not."""
        prefixes = tuple(f"{method.name}." for method in self.methods if method.steers)
        return {name: tensor for name, tensor in extras.items() if name.startswith(prefixes)}

    def losses(self, batch: TrainBatch) -> BatchLosses:
        """Losses of a batch, wherever it lies; the graph is kept for a backward."""
        batch = batch.to(self.device)
        return self.losses_of(batch.video, batch.audio, self.contexts(batch.captions, self.device), batch.extras)

    def losses_of(
        self, video: NoisyStream, audio: NoisyStream | None, contexts: Contexts, extras: Mapping[str, Tensor] = {}
    ) -> BatchLosses:
        """Losses of streams that lie on the device, and `extras` as in `TrainBatch`."""
        forward = Forward(self.transformer, video, audio, extras)
        self._run(forward, contexts)
        plain = {
            modality: sample_losses(forward.velocities[modality], stream.target, stream.weight)
            for modality, stream in forward.streams()
        }
        losses = BatchLosses(plain["video"], plain.get("audio"))
        for method in self.methods:
            losses = method.losses(forward, losses)
        return losses

    def _run(self, forward: Forward, contexts: Contexts) -> None:
        """Run the transformer as the methods set it up."""
        for method in self.methods:
            method.set_up(forward)
        given = {"video": forward.video, "audio": forward.audio}
        streams = [
            None if stream is None or not stream.noisy.shape[1] else _stream(stream, context)
            for stream, context in zip(given.values(), contexts, strict=True)
        ]
        found = denoise(self.transformer, *streams, routes=forward.routes, hooks=forward.hooks)
        forward.velocities = {"video": torch.zeros_like(forward.video.noisy)}  # of audio alone it has no token
        forward.velocities |= {
            name: velocity for name, velocity in zip(given, found, strict=True) if velocity is not None
        }


def _form(clip: ClipInfo) -> tuple[str, float, bool, LatentShape | None, int, int]:
    beside = clip.reference, clip.audio_reference, len(clip.keyframes)
    return clip.bucket, clip.frame_rate, clip.has_sound, *beside


def _stream(noisy: NoisyStream, context: Tensor) -> Stream:
    return Stream(
        tokens=noisy.noisy,
        timesteps=noisy.timesteps,
        sigma=noisy.sigma,
        context=context,
        positions=noisy.positions,
        keyframes=noisy.keyframes,
    )


VIDEO_WEIGHT, AUDIO_WEIGHT, METHOD_WEIGHT = "video_weight", "audio_weight", "{}_weight"


def loss_weights(
    num_video: int, num_audio: int, audio_weight: float = 1.0, term_weights: Mapping[str, float] = {}
) -> dict[str, float]:
    """Factors of a batch's losses, so that a step's batches add up to means over all of its clips.

    `num_video` and `num_audio` count the clips of the whole step that carry a loss; `term_weights` are those of the
    terms that methods add to the video's. A step of which half lacks audio gives the other half's loss, not half of it,
    however it is cut into batches; one without any loss of a stream has no factor for it, and adapters that only this
    loss would reach get no gradient, where a gradient of zero would let them decay.
    """
    weights = {VIDEO_WEIGHT: 1 / num_video} if num_video else {}
    if num_audio:
        weights[AUDIO_WEIGHT] = audio_weight / num_audio
    return weights | {METHOD_WEIGHT.format(name): weight / num_video for name, weight in term_weights.items()}


def total_loss(losses: BatchLosses, weights: Mapping[str, Any]) -> Tensor:
    """A batch's part of the step's loss. `weights` are as `loss_weights` gives them: numbers, or tensors that a graph
    reads."""
    streams = {VIDEO_WEIGHT: losses.video, AUDIO_WEIGHT: losses.audio}
    parts = {name: loss for name, loss in streams.items() if loss is not None and name in weights}
    parts |= {METHOD_WEIGHT.format(name): term for name, term in losses.terms.items()}
    first, *others = [loss.sum() * weights[name] for name, loss in parts.items()]
    return sum(others, start=first)


@dataclass(frozen=True)
class ComparisonClip:
    """The clip that 8 bits are compared with full precision on, and its loss by a transformer, without methods."""

    clip_id: str
    loss: Callable[[Any], torch.Tensor]
    """Of the adapter-free transformer that it is given; the graph is kept for a backward."""


def comparison_clip(settings: TrainSettings, source: SampleSource, connectors: Any, *, device: str) -> ComparisonClip:
    """The first sample of a run whose clip has audio to learn, if any has, at the noise level that the run draws."""
    plain = as_heard(settings, source.samples)[0].model_copy(update=COMPARED)
    clips = [clip for clip in learnable(source.samples, plain) if clip.split == "train"]
    heard = [clip for clip in clips if clip.has_audio_loss]
    plan = EpochPlan(tuple(heard or clips), 1, settings.seed)
    occurrences = plan.batch(0)
    num_video = int(carries_video_loss(occurrences[0], plain))
    contexts = ContextCache(source, connectors, None)

    def loss(transformer: Any) -> torch.Tensor:
        objective = Objective(transformer, source, contexts, plain, device)
        losses = objective.losses(objective.train_batch(occurrences))
        return total_loss(losses, loss_weights(num_video, int(bool(heard)), plain.audio_loss_weight))

    return ComparisonClip(occurrences[0].sample.clip_id, loss)
