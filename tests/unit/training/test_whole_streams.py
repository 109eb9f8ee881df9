"""Video to audio, where the whole video of a sample is given and its audio alone is learnt; and audio without video.

`tests/golden/whole_stream_conditioning.json` has what the `FlexibleStrategy` of Lightricks/LTX-2 at commit 400fd31 made
of latents and noise that are plain ramps, with `video: {is_generated: false}` and without `video`: its
`prepare_training_inputs` and `compute_loss` were called outside this repository, with a sampler that gives one sigma
and `randn_like` replaced by the ramp; the values are rounded to six digits.
"""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ltx_core.errors import ConfigError
from ltx_core.flow_matching import sample_losses
from ltx_core.shapes import LatentShape
from ltx_core.training.batch import NoisyStream, TrainBatch, collate
from ltx_core.training.config import TrainSettings
from ltx_core.training.draws import carries_audio_loss, carries_video_loss, eval_draw, train_draw
from ltx_core.training.methods.method import BatchLosses
from ltx_core.training.methods.settings import BlockRoute
from ltx_core.training.methods.tread import num_skipping, tokens_kept
from ltx_core.training.modalities import as_heard
from ltx_core.training.objective import loss_weights, total_loss
from ltx_core.training.order import SampleOccurrence, epoch_plan
from ltx_core.training.plan_settings import batch_shape, bucket_of, largest_first
from ltx_core.training.samples import ClipInfo

Clip = Callable[..., ClipInfo]
CASES = {
    case["name"]: case
    for case in json.loads((Path(__file__).parents[2] / "golden" / "whole_stream_conditioning.json").read_text())
}
FOLEY = TrainSettings(video_conditioning_probability=1.0)


def ramp(start: float, step: float, *shape: int) -> Tensor:
    count = torch.Size(shape).numel()
    return (start + step * torch.arange(count, dtype=torch.float32)).reshape(shape)


def check_stream(stream: NoisyStream, case: dict[str, Any]) -> None:
    """See that it is the trainer's; of one that is given whole, there a target and a mask of losses are absent."""
    times = stream.timesteps if stream.timesteps.ndim == 2 else stream.timesteps[:, None].expand_as(stream.weight)
    parts = {"latent": stream.noisy, "timesteps": times, "sigma": stream.sigma, "positions": stream.positions}
    if case["targets"] is None:
        assert not stream.weight.any()
    else:
        parts |= {"targets": stream.target, "loss_mask": stream.weight}
    for name, found in parts.items():
        wanted = torch.tensor(case[name]).reshape(found.shape)
        torch.testing.assert_close(found, wanted, atol=2e-6, rtol=1e-5, msg=name)


def test_a_batch_is_that_of_lightricks_trainer(clip: Clip, source_of: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    case = CASES["video_to_audio"]
    grid, count = LatentShape(case["frames"], case["height"], case["width"]), case["num_audio"]
    monkeypatch.setattr(
        "ltx_core.training.batch.draw_noise", lambda shape, _: torch.linspace(-1, 1, shape[0] * shape[1]).reshape(shape)
    )
    sample = clip("a", frame_rate=case["frame_rate"])
    source = source_of([sample])
    source.changed["a"] = {"video": ramp(0, 0.01, 2, *grid), "audio": ramp(0.5, -0.03, 2, count).T}
    draw = eval_draw(sample, case["sigma"], FOLEY)
    batch = collate([sample], source, lambda *_: draw, audio_channels=2)
    assert batch.audio is not None
    check_stream(batch.video, case["video"])
    check_stream(batch.audio, case["audio"])
    prediction = torch.linspace(0.5, -0.5, 2 * count).reshape(1, count, 2)
    losses = BatchLosses(
        sample_losses(batch.video.noisy, batch.video.target, batch.video.weight),
        sample_losses(prediction, batch.audio.target, batch.audio.weight),
    )
    assert total_loss(losses, loss_weights(0, 1)).item() == pytest.approx(case["loss"], abs=2e-6)


def test_one_stream_is_always_generated_and_each_is_given_as_often_as_asked(clip: Clip) -> None:
    settings = TrainSettings(
        audio_conditioning_probability=0.3, video_conditioning_probability=0.5, first_frame_probability=0.5
    )
    occurrences = [SampleOccurrence(clip("a"), number) for number in range(2000)]
    drawn = [train_draw(occurrence, settings, 4, 9) for occurrence in occurrences]
    assert sum(d.has("audio") for d in drawn) / 2000 == pytest.approx(0.3, abs=0.03)
    assert sum(d.has("video") for d in drawn) / 2000 == pytest.approx(0.5, abs=0.03)
    assert not any(d.has("audio") and d.has("video") for d in drawn)
    assert {len(d.conditions) for d in drawn if d.has("video")} == {1}
    only_audio = TrainSettings(audio_conditioning_probability=0.3, first_frame_probability=0.5)
    before = [train_draw(occurrence, only_audio, 4, 9) for occurrence in occurrences]
    assert [d.has("audio") for d in before] == [d.has("audio") for d in drawn], "others do not move it"
    for occurrence, draw in zip(occurrences, drawn, strict=True):
        assert carries_video_loss(occurrence, settings) is not draw.has("video")
        assert carries_audio_loss(occurrence, settings) is not draw.has("audio")
    held = [eval_draw(clip(f"c{number}"), 0.5, settings) for number in range(1000)]
    assert sum(d.has("video") for d in held) / 1000 == pytest.approx(0.5, abs=0.05)


def test_the_video_is_learnt_where_the_audio_has_no_loss(clip: Clip, source_of: Any) -> None:
    """Or nothing would be learnt; such a clip shares a batch with others."""
    source = source_of([clip("silent"), clip("a")])
    occurrences = [SampleOccurrence(sample, 0) for sample in source.samples]
    batch = collate(source.samples, source, lambda i, t, a: train_draw(occurrences[i], FOLEY, t, a), audio_channels=8)
    assert [carries_video_loss(occurrence, FOLEY) for occurrence in occurrences] == [True, False]
    assert batch.video.weight.sum(dim=1).tolist() == [4, 0]
    assert batch.video.sigma[0] > 0
    assert batch.video.sigma[1] == 0
    assert batch.audio is not None
    assert batch.audio.weight.sum(dim=1).tolist() == [0, 9]


def test_a_route_sets_as_many_tokens_of_a_given_video_aside(clip: Clip, source_of: Any) -> None:
    """Those of its reference are kept, as always."""
    source = source_of([clip("a", reference=LatentShape(2, 1, 2))])
    source.changed["a"] = source.load("a") | {"reference": torch.zeros(4, 2, 1, 2)}
    occurrence = SampleOccurrence(source.samples[0], 0)
    batch = collate(source.samples, source, lambda _, t, a: train_draw(occurrence, FOLEY, t, a), audio_channels=8)
    (kept,) = tokens_kept([BlockRoute(0, 1, 0.5)], [occurrence], batch, FOLEY)
    assert kept.shape[1] == 8 - num_skipping(batch.shape, 0.5, FOLEY) == 6
    assert kept[0, -4:].tolist() == [4, 5, 6, 7]


def test_a_step_without_a_loss_of_a_stream_has_no_factor_for_it() -> None:
    assert loss_weights(0, 2, 3.0, {}) == {"audio_weight": 1.5}
    assert loss_weights(2, 0) == {"video_weight": 0.5}


def audio_alone(clip: Clip, source_of: Any, **changes: Any) -> Any:
    """A source of one clip of audio alone."""
    source = source_of([clip("a", bucket="0x0@9", **changes)])
    audio = source.load("a")["audio"]
    source.changed["a"] = {"video": torch.zeros(4, 2, 0, 0), "audio": audio}
    return source


def test_a_batch_of_audio_alone_is_that_of_lightricks_trainer(
    clip: Clip, source_of: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    case = CASES["audio_alone"]
    count = case["num_audio"]
    monkeypatch.setattr(
        "ltx_core.training.batch.draw_noise", lambda shape, _: torch.linspace(-1, 1, shape[0] * shape[1]).reshape(shape)
    )
    source = audio_alone(clip, source_of, frame_rate=case["frame_rate"])
    source.changed["a"]["audio"] = ramp(0.5, -0.03, 2, count).T
    draw = eval_draw(source.samples[0], case["sigma"], TrainSettings())
    batch = collate(source.samples, source, lambda *_: draw, audio_channels=2)
    assert case["video"] is None
    assert batch.video.noisy.shape == (1, 0, 4)
    assert batch.audio is not None
    check_stream(batch.audio, case["audio"])
    prediction = torch.linspace(0.5, -0.5, 2 * count).reshape(1, count, 2)
    loss = sample_losses(prediction, batch.audio.target, batch.audio.weight)
    empty = sample_losses(batch.video.noisy, batch.video.target, batch.video.weight)
    assert total_loss(BatchLosses(empty, loss), loss_weights(0, 1)).item() == pytest.approx(case["loss"], abs=2e-6)


def test_videos_that_are_not_trained_on_make_the_batch_of_audio_alone(clip: Clip, source_of: Any) -> None:
    """With `modalities: audio`; the noise level is the audio's own, even where both streams would share one."""
    settings = TrainSettings(modalities="audio", independent_sigmas=False)
    source = source_of([clip("a")])
    other = audio_alone(clip, source_of)

    def batch(source: Any, settings: TrainSettings, with_video: bool) -> TrainBatch:
        occurrence = SampleOccurrence(source.samples[0], 3)
        return collate(
            source.samples,
            source,
            lambda _, t, a: train_draw(occurrence, settings, t, a),
            audio_channels=8,
            with_video=with_video,
        )

    one, alike = batch(source, settings, False), batch(other, TrainSettings(), True)
    assert one.video.noisy.shape == alike.video.noisy.shape == (1, 0, 4)
    assert one.audio is not None
    assert alike.audio is not None
    assert all(
        torch.equal(getattr(one.audio, part), getattr(alike.audio, part)) for part in ("noisy", "weight", "sigma")
    )
    assert not carries_video_loss(SampleOccurrence(source.samples[0], 0), settings)


def test_clips_without_a_loss_are_in_no_batch(clip: Clip) -> None:
    samples = [clip("a"), clip("silent"), clip("b", bucket="0x0@9"), clip("silent too", bucket="0x0@9")]
    wanted = {"audio+video": ["a", "b", "silent"], "video": ["a", "silent"], "audio": ["a", "b"]}
    for modalities, names in wanted.items():
        plan = epoch_plan(TrainSettings(modalities=modalities, batch_size=4), samples)  # type: ignore[arg-type]  # by test
        assert sorted(o.sample.clip_id for batch in plan.epoch(0) for o in batch) == names
        assert all(len({o.sample.has_video for o in batch}) == 1 for batch in plan.epoch(0))


def test_a_run_without_any_video_is_one_of_the_audio(clip: Clip) -> None:
    samples = [clip("b", bucket="0x0@9"), clip("a", split="eval")]
    given = TrainSettings(targets="audio+video", cross_rank=4, audio_rank=8, video_conditioning_probability=0.5)
    settings, why = as_heard(given, samples)
    assert (settings.modalities, settings.targets, settings.audio_rank, settings.cross_rank) == ("audio",) * 2 + (
        8,
        None,
    )
    assert "no clip that is trained on has video, so only the audio is trained" in why
    assert as_heard(settings, samples) == (settings, "")
    with pytest.raises(ConfigError, match="modalities is 'video' and no clip has video"):
        as_heard(TrainSettings(modalities="video"), samples)
    with pytest.raises(ConfigError, match="has video: crepa is set but modalities 'audio' has no video"):
        as_heard(TrainSettings(crepa={}), samples)  # type: ignore[arg-type]  # as a user writes it
    with pytest.raises(ConfigError, match="targets is 'ff' and no clip has video"):
        as_heard(TrainSettings(targets="ff"), samples)


def test_the_memory_plan_counts_no_video_of_audio_alone() -> None:
    audio, video = bucket_of("0x0@121", 25, 4), bucket_of("64x64@9", 25, 4)
    assert batch_shape(TrainSettings(), audio).video_tokens == 1
    assert batch_shape(TrainSettings(), audio).audio_tokens == 121
    assert batch_shape(TrainSettings(modalities="audio"), video).video_tokens == 1
    assert largest_first(TrainSettings(), [audio, video]) == [video, audio]
