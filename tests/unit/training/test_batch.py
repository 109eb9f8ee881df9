"""What is drawn for a clip, and how clips become tensors."""

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from ltx_core.errors import DataError
from ltx_core.io.digest import text_digest
from ltx_core.training.batch import TrainBatch, collate
from ltx_core.training.config import TrainSettings
from ltx_core.training.draws import eval_draw, train_draw
from ltx_core.training.order import SampleOccurrence
from ltx_core.training.samples import ClipInfo
from ltx_core.training.state import config_digest

Clip = Callable[..., ClipInfo]
AUDIO_CHANNELS, NUM_AUDIO, TOKENS = 8, 9, 4


def batch_of(
    source: Any, settings: TrainSettings, *, occurrence: int = 0, channels: int | None = AUDIO_CHANNELS
) -> TrainBatch:
    occurrences = [SampleOccurrence(sample, occurrence) for sample in source.samples]
    return collate(
        source.samples, source, lambda i, t, a: train_draw(occurrences[i], settings, t, a), audio_channels=channels
    )


def test_shapes_and_targets(clip: Clip, source_of: Any) -> None:
    source = source_of([clip("a"), clip("b")])
    batch = batch_of(source, TrainSettings())
    assert batch.video.noisy.shape == (2, TOKENS, 4)
    assert batch.audio is not None
    assert batch.audio.noisy.shape == (2, NUM_AUDIO, AUDIO_CHANNELS)
    assert batch.num_tokens == 2 * (TOKENS + NUM_AUDIO)
    clean = source.load("a")["video"].flatten(1).T
    sigma = batch.video.sigma[0]
    assert torch.allclose(batch.video.noisy[0] - sigma * batch.video.target[0], clean, atol=1e-6)
    assert batch.video.timesteps.shape == (2,)
    assert float(batch.audio.sigma[0]) != float(sigma)


def test_a_clip_is_drawn_the_same_in_any_batch(clip: Clip, source_of: Any) -> None:
    settings = TrainSettings(first_frame_probability=0.5, caption_dropout=0.5)
    together = batch_of(source_of([clip("silent1"), clip("a"), clip("b")]), settings, occurrence=3)
    alone = batch_of(source_of([clip("b")]), settings, occurrence=3)
    assert together.audio is not None
    assert alone.audio is not None
    assert torch.equal(together.video.noisy[2], alone.video.noisy[0])
    assert torch.equal(together.audio.noisy[2], alone.audio.noisy[0])
    assert together.captions[2] == alone.captions[0]


def test_each_occurrence_is_drawn_anew(clip: Clip, source_of: Any) -> None:
    source = source_of([clip("a")])
    batches = [
        batch_of(source, TrainSettings(seed=seed), occurrence=occurrence)
        for seed, occurrence in [(0, 0), (0, 1), (1, 0)]
    ]
    assert len({batch.video.sigma.item() for batch in batches}) == 3
    assert len({batch.video.noisy.sum().item() for batch in batches}) == 3


def test_clips_without_sound_have_no_stream_of_it(clip: Clip, source_of: Any) -> None:
    """Nothing stands in for it: at sigma 0.05 zeros would have a twentieth of the deviation that sound has."""
    batch = batch_of(source_of([clip("mute"), clip("mute too")]), TrainSettings(audio_conditioning_probability=1.0))
    assert batch.audio is None
    assert batch.num_tokens == 2 * TOKENS
    with pytest.raises(DataError, match=r"mixes clips with audio and clips without \(mute\)"):
        batch_of(source_of([clip("a"), clip("mute")]), TrainSettings())
    assert (
        batch_of(source_of([clip("a"), clip("mute")]), TrainSettings(modalities="video"), channels=None).audio is None
    )


def test_stored_silence_conditions_but_carries_no_loss(clip: Clip, source_of: Any) -> None:
    batch = batch_of(source_of([clip("a", has_audio_loss=False), clip("b")]), TrainSettings())
    assert batch.audio is not None
    assert batch.audio.weight.sum(dim=1).tolist() == [0, NUM_AUDIO]
    clean = batch.audio.noisy[0] - batch.audio.sigma[0] * batch.audio.target[0]
    assert clean.abs().sum() > 1


def test_missing_sound_carries_no_loss(clip: Clip, source_of: Any) -> None:
    """Half of one clip's is missing: what was filled in for it is seen, and not learnt."""
    source = source_of([clip("a", absent_sound=(0, 1, 7)), clip("b"), clip("silent", absent_sound=(2,))])
    batch = batch_of(source, TrainSettings())
    assert batch.audio is not None
    assert batch.audio.weight[0].tolist() == [0, 0, 1, 1, 1, 1, 1, 0, 1]
    assert batch.audio.weight[1].tolist() == [1] * NUM_AUDIO
    assert not batch.audio.weight[2].any()
    given = batch_of(source, TrainSettings(audio_conditioning_probability=1.0))
    assert given.audio is not None
    assert not given.audio.weight.any()


def test_runs_on_whole_sound_are_named_as_before(clip: Clip) -> None:
    """And others by what their clips lack; where only the picture is trained that says nothing."""

    def digest(settings: TrainSettings, **lacks: Any) -> str:
        return config_digest(settings, [clip("a", caption="c", **lacks)], {"base": "b"})

    settings, video = TrainSettings(), TrainSettings(modalities="video")
    before = {
        "clip_id": "a",
        "bucket": "64x32@9",
        "split": "train",
        "repeats": 1,
        "frame_rate": 24.0,
        "has_audio_loss": True,
        "caption": "c",
    }
    listed = json.dumps([before], sort_keys=True), json.dumps({"base": "b"})
    assert digest(settings) == text_digest(settings.digest(), *listed)
    lacking: list[dict[str, Any]] = [{"has_sound": False}, {"absent_sound": (1,)}, {"absent_sound": (2,)}]
    assert len({digest(settings, **lacks) for lacks in [{}, *lacking]}) == 4
    assert {digest(video, **lacks) for lacks in lacking} == {digest(video)}


def test_video_alone_has_no_audio_stream(clip: Clip, source_of: Any) -> None:
    assert batch_of(source_of([clip("a")]), TrainSettings(modalities="video"), channels=None).audio is None


def test_shared_sigma(clip: Clip, source_of: Any) -> None:
    batch = batch_of(source_of([clip("a"), clip("b")]), TrainSettings(independent_sigmas=False))
    assert batch.audio is not None
    assert torch.equal(batch.audio.sigma, batch.video.sigma)


def test_first_frame_is_clean_at_time_zero_without_loss(clip: Clip, source_of: Any) -> None:
    source = source_of([clip("a")])
    batch = batch_of(source, TrainSettings(first_frame_probability=1.0))
    clean = source.load("a")["video"].flatten(1).T
    assert torch.equal(batch.video.noisy[0, :2], clean[:2])
    assert not torch.allclose(batch.video.noisy[0, 2:], clean[2:])
    assert batch.video.weight.tolist() == [[0, 0, 1, 1]]
    sigma = batch.video.sigma.item()
    assert torch.allclose(batch.video.timesteps, torch.tensor([[0, 0, sigma, sigma]]))


@pytest.mark.whole
def test_first_frame_and_caption_dropout_happen_about_as_often_as_asked(clip: Clip) -> None:
    settings = TrainSettings(first_frame_probability=0.25, caption_dropout=0.1)
    drawn = [train_draw(SampleOccurrence(clip("a"), i), settings, 4, 4) for i in range(2000)]
    assert sum(d.has("first_frame") for d in drawn) / 2000 == pytest.approx(0.25, abs=0.03)
    assert sum(d.caption == "" for d in drawn) / 2000 == pytest.approx(0.1, abs=0.02)


@pytest.mark.whole
def test_each_occurrence_draws_a_caption_and_drops_it_as_its_dataset_says(clip: Clip) -> None:
    settings = TrainSettings(caption_dropout=0.9)
    one = clip("a", caption="first", variants=("second", "third"), caption_dropout=0.25)
    drawn = [train_draw(SampleOccurrence(one, i), settings, 4, 4).caption for i in range(2000)]
    shares = {caption: drawn.count(caption) / 2000 for caption in set(drawn)}
    assert shares == pytest.approx({"": 0.25, "first": 0.25, "second": 0.25, "third": 0.25}, abs=0.03)
    assert drawn[7:9] == [train_draw(SampleOccurrence(one, i), settings, 4, 4).caption for i in (7, 8)]
    assert eval_draw(one, 0.5, settings).caption == "first"
    never = clip("a", caption="first", caption_dropout=0.0)
    assert {train_draw(SampleOccurrence(never, i), settings, 4, 4).caption for i in range(20)} == {"first"}


def test_single_frame_clip_keeps_its_loss(clip: Clip, source_of: Any) -> None:
    source = source_of([clip("a", bucket="64x32@1")])
    source.changed["a"] = {"video": torch.ones(4, 1, 1, 2), "audio": torch.ones(1, AUDIO_CHANNELS)}
    batch = batch_of(source, TrainSettings(first_frame_probability=1.0))
    assert batch.video.weight.tolist() == [[1, 1]]


def test_eval_draws_repeat_and_differ_by_sigma(clip: Clip) -> None:
    one, two, other = (eval_draw(clip("a"), sigma, TrainSettings()) for sigma in (0.5, 0.5, 0.25))
    seeds = [draw.video_noise.initial_seed() for draw in (one, two, other)]
    assert seeds[0] == seeds[1] != seeds[2]
    assert one.audio_noise.initial_seed() != one.video_noise.initial_seed()


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"video": torch.ones(4, 2, 1, 2), "audio": torch.ones(5, AUDIO_CHANNELS)}, r"b has audio latents \[5, 8\]"),
        ({"video": torch.ones(4, 3, 1, 2), "audio": torch.ones(9, AUDIO_CHANNELS)}, "mixes video latents"),
        ({"video": torch.full((4, 2, 1, 2), float("nan")), "audio": torch.ones(9, 8)}, "clip b has a latent with NaN"),
        ({"video": torch.ones(4, 2, 1, 2)}, "b is to be trained on audio and has none"),
    ],
)
def test_unfit_clips_are_named(tensors: dict[str, torch.Tensor], message: str, clip: Clip, source_of: Any) -> None:
    source = source_of([clip("a"), clip("b")])
    source.changed["b"] = tensors
    with pytest.raises(DataError, match=message):
        batch_of(source, TrainSettings())


def test_frame_rates_do_not_mix(clip: Clip, source_of: Any) -> None:
    source = source_of([clip("a"), replace(clip("b"), frame_rate=25.0)])
    with pytest.raises(DataError, match="mixes"):
        batch_of(source, TrainSettings())
