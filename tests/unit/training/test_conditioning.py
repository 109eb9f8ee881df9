"""What training gives clean: first frames, prefixes, places under a mask, sound."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from ltx_core.denoiser.tokens import first_frame_keyframes
from ltx_core.errors import DataError
from ltx_core.flow_matching import carries_loss, sample_losses
from ltx_core.shapes import LatentShape
from ltx_core.training.batch import TrainBatch, collate
from ltx_core.training.config import TrainSettings
from ltx_core.training.draws import Draw, carries_audio_loss, eval_draw, train_draw
from ltx_core.training.order import SampleOccurrence
from ltx_core.training.samples import ClipInfo

Clip = Callable[..., ClipInfo]
AUDIO_CHANNELS = 8


def batch_of(source: Any, settings: TrainSettings, occurrence: int = 0, **changes: Any) -> TrainBatch:
    def draw(i: int, video_tokens: int, audio_tokens: int) -> Draw:
        return replace(
            train_draw(SampleOccurrence(source.samples[i], occurrence), settings, video_tokens, audio_tokens), **changes
        )

    return collate(source.samples, source, draw, audio_channels=AUDIO_CHANNELS)


@pytest.fixture
def long_source(clip: Clip, source_of: Any) -> Any:
    """One clip of four latent frames of 1 x 2."""
    source = source_of([clip("a", bucket="64x32@25")])
    source.changed["a"] = {"video": torch.randn(4, 4, 1, 2), "audio": torch.randn(26, AUDIO_CHANNELS)}
    return source


def figures(batch: TrainBatch) -> list[float]:
    parts = []
    for stream in (batch.video, batch.audio):
        assert stream is not None
        parts += [stream.noisy, stream.target, stream.weight, stream.sigma, stream.timesteps]
    return [part.double().sum().item() for part in parts]


def test_off_is_what_it_was_before_there_were_kinds(clip: Clip, source_of: Any) -> None:
    """Sums of two batches, written down before prefix and given sound were added."""
    source = source_of([clip("a"), clip("b"), clip("silent")])
    plain = figures(batch_of(source, TrainSettings()))
    assert plain == pytest.approx(
        [8.0164, 4.0306, 12.0, 2.332, 2.332, -7.344, -13.7945, 18.0, 2.4029, 2.4029], abs=1e-4
    )
    first = figures(batch_of(source, TrainSettings(first_frame_probability=0.5, caption_dropout=0.5), occurrence=2))
    assert first == pytest.approx(
        [6.5526, -7.6584, 8.0, 2.0242, 5.3659, 29.0948, 24.4032, 18.0, 2.2606, 2.2606], abs=1e-4
    )


def test_other_kinds_do_not_move_the_draws(clip: Clip) -> None:
    """Sigmas, noise and captions of an occurrence are the same whatever is given."""
    one, other = (
        train_draw(SampleOccurrence(clip("a"), 3), settings, 4, 9)
        for settings in (TrainSettings(), TrainSettings(prefix_probability=1, audio_conditioning_probability=1))
    )
    assert (one.video_sigma, one.audio_sigma, one.caption) == (other.video_sigma, other.audio_sigma, other.caption)
    assert one.video_noise.initial_seed() == other.video_noise.initial_seed()
    assert one.conditions == ()
    assert [(c.kind, c.frames) for c in other.conditions] == [("prefix", 2), ("audio", 0)]


@pytest.mark.whole
def test_the_distribution_of_sigmas_is_what_is_asked_for_and_moves_no_other_draw(clip: Clip) -> None:
    def drawn(**settings: Any) -> list[Draw]:
        return [train_draw(SampleOccurrence(clip("a"), i), TrainSettings(**settings), 4, 9) for i in range(2000)]

    ways = {
        "shifted_logit_normal": drawn(),
        "uniform": drawn(sigma_sampling="uniform"),
        "logit_normal": drawn(sigma_sampling="logit_normal", sigma_mean=-2, sigma_std=0.5),
    }
    middles = {name: sorted(draw.video_sigma for draw in draws)[1000] for name, draws in ways.items()}
    assert middles["uniform"] == pytest.approx(0.5, abs=0.05)
    assert middles["logit_normal"] == pytest.approx(0.119, abs=0.01)  # the sigmoid of -2
    assert middles["shifted_logit_normal"] > 0.55
    others = [[(d.caption, d.video_noise.initial_seed(), d.conditions) for d in draws] for draws in ways.values()]
    assert others[0] == others[1] == others[2]


@pytest.mark.whole
def test_kinds_of_picture_exclude_each_other_and_have_their_shares(clip: Clip) -> None:
    settings = TrainSettings(
        first_frame_probability=0.25, prefix_probability=0.5, prefix_latent_frames=3, audio_conditioning_probability=0.3
    )
    drawn = [train_draw(SampleOccurrence(clip("a"), i), settings, 4, 4) for i in range(3000)]
    frames = [next((c.frames for c in d.conditions if c.kind != "audio"), 0) for d in drawn]
    shares = {count: number / 3000 for count, number in Counter(frames).items()}
    assert shares == pytest.approx({0: 0.25, 1: 0.25, 3: 0.5}, abs=0.03)
    assert sum(d.has("audio") for d in drawn) / 3000 == pytest.approx(0.3, abs=0.03)
    joined = [count for count, d in zip(frames, drawn, strict=True) if d.has("audio")]
    assert joined.count(3) / len(joined) == pytest.approx(0.5, abs=0.06)  # independent


@pytest.mark.parametrize(("asked", "given"), [(1, 1), (2, 2), (3, 3), (9, 3)])
def test_prefix_is_clean_at_time_zero_without_loss(asked: int, given: int, long_source: Any) -> None:
    settings = TrainSettings(prefix_probability=1, prefix_latent_frames=asked)
    batch = batch_of(long_source, settings).video
    clean = long_source.changed["a"]["video"].flatten(1).T
    sigma, count = batch.sigma.item(), 2 * given
    assert torch.equal(batch.noisy[0, :count], clean[:count])
    assert batch.timesteps[0].tolist() == pytest.approx([0.0] * count + [sigma] * (8 - count))
    assert batch.weight[0].tolist() == [0.0] * count + [1.0] * (8 - count)
    free = batch_of(long_source, TrainSettings()).video
    assert torch.equal(batch.noisy[0, count:], free.noisy[0, count:])
    assert torch.equal(batch.sigma, free.sigma)  # the other stream's gate follows the sample, not its clean tokens


def test_the_black_parts_of_a_mask_are_clean_at_time_zero_without_loss(long_source: Any) -> None:
    mask = torch.ones(4, 1, 2)
    mask[1, 0, 1], mask[3, 0, 0] = 0, 0.4
    long_source.samples[0] = replace(long_source.samples[0], has_mask=True)
    long_source.changed["a"]["mask"] = mask
    batch = batch_of(long_source, TrainSettings(inpaint_probability=1)).video
    clean = long_source.changed["a"]["video"].flatten(1).T
    known = torch.zeros(8, dtype=torch.bool)
    known[[3, 6]] = True
    assert torch.equal(batch.noisy[0, known], clean[known])
    assert torch.equal(batch.weight[0], (~known).float())
    assert torch.equal(batch.timesteps[0] == 0, known)


def test_audio_conditioning_is_clean_at_sigma_zero_without_loss(clip: Clip, source_of: Any) -> None:
    source = source_of([clip("a"), clip("b", has_audio_loss=False)])
    batch = batch_of(source, TrainSettings(audio_conditioning_probability=1))
    assert batch.audio is not None
    for index, name in enumerate(("a", "b")):
        assert torch.equal(batch.audio.noisy[index], source.load(name)["audio"])
    assert batch.audio.sigma.tolist() == [0, 0]
    assert torch.equal(batch.audio.timesteps, batch.audio.sigma)
    assert not batch.audio.weight.any()
    free = batch_of(source, TrainSettings())
    assert torch.equal(batch.video.noisy, free.video.noisy)
    assert torch.equal(batch.video.weight, free.video.weight)


def test_given_sound_is_not_counted_among_losses(clip: Clip) -> None:
    off, always = TrainSettings(), TrainSettings(audio_conditioning_probability=1)
    assert carries_audio_loss(SampleOccurrence(clip("a"), 0), off)
    assert not carries_audio_loss(SampleOccurrence(clip("a"), 0), always)
    assert not carries_audio_loss(SampleOccurrence(clip("silent"), 0), off)
    half = TrainSettings(audio_conditioning_probability=0.5)
    for number in range(20):
        occurrence = SampleOccurrence(clip("a"), number)
        assert carries_audio_loss(occurrence, half) != train_draw(occurrence, half, 4, 4).has("audio")


def test_eval_gives_nothing(clip: Clip) -> None:
    draw = eval_draw(clip("a"), 0.5, TrainSettings())
    assert draw.conditions == ()


@pytest.mark.parametrize("settings", [TrainSettings(), TrainSettings(prefix_probability=1)])
def test_first_frame_marker_is_set_whatever_is_given(settings: TrainSettings, long_source: Any) -> None:
    marks = batch_of(long_source, settings).video.keyframes
    assert marks is not None
    assert torch.equal(marks, first_frame_keyframes(LatentShape(4, 1, 2)))
    assert marks[0, :, 0].tolist() == [1, 1, 0, 0, 0, 0, 0, 0]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"first_frame_probability": 0.6, "prefix_probability": 0.6}, "one or the other"),
        ({"prefix_latent_frames": 3}, "gives no prefix"),
        ({"prefix_probability": 0.5, "prefix_latent_frames": 0}, "greater than or equal to 1"),
        ({"audio_conditioning_probability": 0.5, "modalities": "video"}, "which has no audio"),
        ({"audio_conditioning_probability": 1.5}, "less than or equal to 1"),
        ({"video_conditioning_probability": 0.5, "modalities": "video"}, "which has no audio"),
        ({"video_conditioning_probability": 0.6, "audio_conditioning_probability": 0.6}, "always generated"),
        ({"audio_learning_rate": 1e-5, "modalities": "video"}, "trains no such layer"),
        ({"first_frame_probability": 0.5, "modalities": "audio"}, "has no video"),
        ({"crepa": {}, "modalities": "audio"}, "has no video"),
        ({"targets": "ff", "modalities": "audio"}, "set targets to .audio. or"),
        ({"cross_rank": 4, "lycoris": {"algo": "lokr"}}, "one linear_dim, or one for each class"),
    ],
)
def test_settings_that_cannot_work_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        TrainSettings(**changes)


def test_a_clips_mask_is_the_weight_of_its_tokens(long_source: Any) -> None:
    """Nothing is told clean by it, and what a first frame gives counts nothing whatever the mask says."""
    mask = torch.tensor([1.0, 0.0, 0.25, 1.0, 0.0, 0.0, 1.0, 0.5]).view(4, 1, 2)
    plain = batch_of(long_source, TrainSettings()).video
    long_source.changed["a"]["mask"] = mask
    masked = batch_of(long_source, TrainSettings()).video
    assert masked.weight.tolist() == [mask.flatten().tolist()]
    assert torch.equal(masked.noisy, plain.noisy)
    assert torch.equal(masked.timesteps, plain.timesteps)
    given = batch_of(long_source, TrainSettings(first_frame_probability=1.0)).video
    assert given.weight.tolist() == [[0.0, 0.0, 0.25, 1.0, 0.0, 0.0, 1.0, 0.5]]
    assert given.clean.tolist() == [[True] * 2 + [False] * 6]
    by_token = (plain.target - plain.noisy).square().mean(dim=2)[0]
    loss = sample_losses(masked.noisy, masked.target, masked.weight)[0]
    torch.testing.assert_close(loss, (by_token * mask.flatten()).sum() / mask.sum())


def test_an_occurrence_is_not_given_all_that_its_mask_counts(clip: Clip, source_of: Any) -> None:
    """Or it would carry no loss, and be counted in the step's mean."""
    source = source_of([clip("a"), clip("b")])
    mask = torch.tensor([1.0, 0.5, 0.0, 0.0])
    source.changed["a"] = source.load("a") | {"mask": mask.view(2, 1, 2)}
    batch = batch_of(source, TrainSettings(first_frame_probability=1.0)).video
    assert carries_loss(batch.weight).all()
    assert batch.weight.tolist() == [mask.tolist(), [0.0, 0.0, 1.0, 1.0]]
    assert batch.clean.tolist() == [[False] * 4, [True, True, False, False]]
    free = batch_of(source, TrainSettings()).video
    assert torch.equal(batch.noisy[0], free.noisy[0])
    alone = source_of(source.samples[:1])
    alone.changed = source.changed
    assert torch.equal(batch_of(alone, TrainSettings(first_frame_probability=1.0)).video.noisy[0], batch.noisy[0])


def test_a_mask_of_another_shape_is_refused(long_source: Any) -> None:
    long_source.changed["a"]["mask"] = torch.ones(3, 1, 2)
    with pytest.raises(DataError, match=r"clip a has a mask \[3, 1, 2\]; \[4, 1, 2\] is wanted"):
        batch_of(long_source, TrainSettings())
