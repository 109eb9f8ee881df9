"""Rollouts against models whose answer is known, and against a plain loop."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from ltx_core.training.batch import NoisyStream, TrainBatch
from ltx_core.training.config import TrainSettings
from ltx_core.training.context_cache import ContextCache
from ltx_core.training.methods.method import Step
from ltx_core.training.methods.rollout import CHANCE, CLEAN, ROLLED_OUT, SOURCE, Rollout, any_rolls, chosen
from ltx_core.training.methods.rollout import roll_out as roll_out_by
from ltx_core.training.objective import Objective
from ltx_core.training.order import SampleOccurrence
from ltx_core.training.samples import ClipInfo

Clip = Callable[..., ClipInfo]
Velocities = tuple[Tensor, Tensor | None]
ALWAYS: dict[str, Any] = {"probability": 1.0, "max_sigma_offset": 0.3, "num_model_calls": 3}


@dataclass(frozen=True)
class Known(Objective):
    """A model that knows the data: from wherever it is, it points away from it. `error` is added to what it says."""

    error: Callable[[NoisyStream], Tensor | float] = lambda stream: 0.0
    clean: dict[str, Tensor] = field(default_factory=dict)
    asked: list[TrainBatch] = field(default_factory=list)

    def predict(self, batch: TrainBatch) -> Velocities:
        self.asked.append(batch)
        found: list[Tensor | None] = []
        for name, stream in (("video", batch.video), ("audio", batch.audio)):
            if stream is None:
                found.append(None)
                continue
            data = torch.stack([self.clean[f"{clip}/{name}"] for clip in batch.clip_ids])
            level = stream.timesteps if stream.timesteps.ndim == 2 else stream.timesteps[:, None]
            away = (stream.noisy - data) / level.clamp(min=1e-9)[:, :, None].expand_as(data)
            found.append(away + self.error(stream))
        assert found[0] is not None
        return found[0], found[1]


def objective_of(
    source: Any, error: Callable[[NoisyStream], Tensor | float] = lambda stream: 0.0, **changes: Any
) -> Known:
    settings = TrainSettings(**({"rollout": ALWAYS} | changes))

    class Transformer(torch.nn.Module):
        transformer_blocks: tuple[()] = ()

        class config:  # noqa: N801  # as diffusers has it
            audio_in_channels = 8

    methods = () if settings.rollout is None else (Rollout(settings),)
    found = Known(Transformer(), source, ContextCache(source, None, None), settings, "cpu", methods, error=error)
    batch = found.train_batch([SampleOccurrence(sample, 0) for sample in source.samples])
    for name, stream in (("video", batch.video), ("audio", batch.audio)):
        if stream is not None:
            times = stream.timesteps if stream.timesteps.ndim == 2 else stream.timesteps[:, None]
            data = stream.noisy - times[:, :, None] * stream.target
            found.clean.update({f"{clip}/{name}": x for clip, x in zip(batch.clip_ids, data, strict=True)})
    return found


def batch_of(objective: Objective, number: int = 0) -> TrainBatch:
    return objective.train_batch([SampleOccurrence(sample, number) for sample in objective.source.samples])


def roll_out(objective: Objective, batch: TrainBatch, rate: float, *, in_any_case: bool = False) -> TrainBatch:
    assert objective.settings.rollout is not None
    return roll_out_by(objective.settings.rollout, objective, batch, rate, in_any_case=in_any_case)


def offset(batch: TrainBatch, modality: str = "video") -> Tensor:
    """How far samples were brought, [B]; NaN for those that were not."""
    return batch.measures[f"rollout/{modality}/offset"]


def streams(batch: TrainBatch) -> list[NoisyStream]:
    assert batch.audio is not None
    return [batch.video, batch.audio]


@pytest.fixture
def source(clip: Clip, source_of: Any) -> Any:
    return source_of([clip("a"), clip("b"), clip("silent")])


def test_an_exact_model_lands_on_the_straight_path(source: Any) -> None:
    """So the target is noise minus data there."""
    objective = objective_of(source)
    batch = batch_of(objective)
    rolled = roll_out(objective, batch, 1.0)
    assert (offset(rolled) > 0).all()
    for before, after in zip(streams(batch), streams(rolled), strict=True):
        torch.testing.assert_close(after.noisy, before.noisy, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(after.target, before.target, rtol=1e-3, atol=1e-3)
    assert rolled.measures["rollout/video/drift"].max() < 1e-5
    levels = torch.stack([asked.video.sigma for asked in objective.asked])
    assert len(levels) == 3
    assert (levels.diff(dim=0) < 0).all()  # from more noise to less
    assert (levels[-1] > batch.video.sigma).all()


def by_loop(x: float, source: float, sigma: float, velocity: Callable[[float, float], float], num_calls: int) -> float:
    """Euler from `source` to `sigma`, one number at a time."""
    step = (source - sigma) / num_calls
    level = source
    for _ in range(num_calls):
        x, level = x - step * velocity(x, level), level - step
    return x


@pytest.mark.parametrize("num_calls", [1, 4])
def test_a_wrong_model_goes_where_a_plain_loop_goes(num_calls: int, source: Any) -> None:
    """Each stream from its own level to its own; the target points from there to the data."""
    objective = objective_of(
        source, lambda s: s.noisy * 0.5 + s.sigma[:, None, None], rollout=ALWAYS | {"num_model_calls": num_calls}
    )
    batch = batch_of(objective)
    rolled = roll_out(objective, batch, 1.0)
    sources = [batch.extras[SOURCE.format(name)] for name in ("video", "audio")]
    for name, before, after, source_sigma in zip(
        ("video", "audio"), streams(batch), streams(rolled), sources, strict=True
    ):
        for i, clip_id in enumerate(batch.clip_ids):
            clean, sigma, start = objective.clean[f"{clip_id}/{name}"], before.sigma[i].item(), source_sigma[i].item()
            for token, channel in ((0, 0), (1, 3)):
                x0 = clean[token, channel].item()
                noise = x0 + before.target[i, token, channel].item()
                wanted = by_loop(
                    (1 - start) * x0 + start * noise,
                    start,
                    sigma,
                    lambda x, level, x0=x0: (x - x0) / level + 0.5 * x + level,  # type: ignore[misc]  # bound now
                    num_calls,
                )
                assert after.noisy[i, token, channel].item() == pytest.approx(wanted, abs=1e-4)
                target = after.target[i, token, channel].item()
                assert wanted - sigma * target == pytest.approx(x0, abs=1e-3)


def test_what_is_given_stays_as_it_is_and_is_told_to_be_clean(clip: Clip, source_of: Any) -> None:
    source = source_of([clip("a"), clip("b")])
    objective = objective_of(source, lambda s: 1.0, first_frame_probability=1.0, audio_conditioning_probability=1.0)
    batch = batch_of(objective)
    rolled = roll_out(objective, batch, 1.0)
    for before, after in zip(streams(batch), streams(rolled), strict=True):
        given = before.clean
        assert given.any()
        assert after.noisy[given].equal(before.noisy[given])
        assert not after.noisy[~given].equal(before.noisy[~given]) or not (~given).any()
        assert after.weight.equal(before.weight)
    for asked in objective.asked:
        assert asked.video.timesteps[batch.video.clean].eq(0).all()
        assert asked.video.timesteps[~batch.video.clean].gt(0).all()
        assert asked.audio is not None
        assert asked.audio.sigma.eq(0).all()


def test_only_chosen_samples_go_through_the_model(clip: Clip, source_of: Any) -> None:
    source = source_of([clip(name) for name in "abcdefgh"])
    objective = objective_of(source, lambda s: 1.0, rollout=ALWAYS)
    batch = batch_of(objective)
    mark = chosen(batch, 0.5)
    assert 0 < mark.sum() < 8
    rolled = roll_out(objective, batch, 0.5)
    assert {len(asked.clip_ids) for asked in objective.asked} == {int(mark.sum())}
    moved = (rolled.video.noisy != batch.video.noisy).flatten(1).any(dim=1)
    assert moved.equal(mark)
    assert (offset(rolled) > 0).equal(mark)
    assert rolled.video.target[~mark].equal(batch.video.target[~mark])


def test_a_ramp_at_0_rolls_nothing_out(source: Any) -> None:
    objective = objective_of(source, lambda s: 1.0, rollout=ALWAYS | {"ramp_steps": 4})
    (method,) = objective.methods
    first, last = (method.strength(step, {}) for step in (0, 4))
    batch = batch_of(objective)
    occurrences = [[SampleOccurrence(sample, 0)] for sample in source.samples]
    early = method.before_forward(batch, Step(first, occurrences), objective)
    assert (early.video, early.audio, early.extras, early.measures) == (batch.video, batch.audio, {}, {})
    assert not objective.asked
    assert (offset(method.before_forward(batch, Step(last, occurrences), objective)) > 0).all()
    assert [any_rolls(occurrences, rate, objective.settings.seed) for rate in (first, last)] == [False, True]


def test_forwards_in_any_case_change_nothing(source: Any) -> None:
    objective = objective_of(source, lambda s: 1.0, rollout=ALWAYS | {"reflexflow": True})
    batch = batch_of(objective)
    rolled = roll_out(objective, batch, 0.0, in_any_case=True)
    assert len(objective.asked) == 4  # three steps and ReflexFlow's
    plain = roll_out(objective, batch, 0.0)
    for one, other in zip(streams(rolled), streams(plain), strict=True):
        assert one.noisy.equal(other.noisy)
        assert one.target.equal(other.target)
    assert not rolled.extras[ROLLED_OUT].any()
    assert rolled.extras.keys() == plain.extras.keys()
    assert offset(rolled).isnan().all()


def test_reflexflow_gets_the_prediction_on_the_straight_path(source: Any) -> None:
    objective = objective_of(source, lambda s: s.noisy, rollout=ALWAYS | {"reflexflow": True})
    batch = batch_of(objective)
    rolled = roll_out(objective, batch, 0.6)
    mark = chosen(batch, 0.6)
    assert 0 < mark.sum() < len(mark)
    for name, velocity in zip(("video", "audio"), objective.predict(batch), strict=True):
        clean = rolled.extras[CLEAN.format(name)]
        assert velocity is not None
        torch.testing.assert_close(clean[mark], velocity[mark])
        assert clean[~mark].abs().max() == 0
    assert rolled.extras[ROLLED_OUT].bool().equal(mark)


def test_draws_are_of_seed_occurrence_and_clip(source: Any) -> None:
    objective = objective_of(source)
    found = batch_of(objective).extras
    again, other = batch_of(objective_of(source)).extras, batch_of(objective, number=1).extras
    alone = objective.train_batch([SampleOccurrence(source.samples[1], 0)]).extras
    assert found[CHANCE].equal(again[CHANCE])
    assert not found[CHANCE].equal(other[CHANCE])
    assert found.keys() == alone.keys()
    assert all(tensor[1] == alone[name][0] for name, tensor in found.items())
    assert not found[CHANCE].equal(batch_of(objective_of(source, seed=7)).extras[CHANCE])


def test_one_noise_level_has_one_way(source: Any) -> None:
    """And two have two."""
    offsets = []
    for independent in (False, True):
        batch = batch_of(
            objective_of(source, independent_sigmas=independent, rollout=ALWAYS | {"max_sigma_offset": 1e-3})
        )
        assert batch.audio is not None
        pairs = [(batch.extras[SOURCE.format(name)], x) for name, x in (("video", batch.video), ("audio", batch.audio))]
        offsets.append([source_sigma - stream.sigma for source_sigma, stream in pairs])
    assert offsets[0][0].equal(offsets[0][1])
    assert (offsets[1][0] - offsets[1][1]).abs().max() > 1e-4


@pytest.mark.parametrize(("strategy", "mean"), [("uniform", 1 / 2), ("biased_early", 1 / 3), ("biased_late", 2 / 3)])
def test_offsets_are_drawn_as_the_strategy_says(strategy: str, mean: float, clip: Clip, source_of: Any) -> None:
    source = source_of([clip("a")])
    objective = objective_of(source, rollout={"strategy": strategy, "max_sigma_offset": 0.01})
    occurrences = [SampleOccurrence(source.samples[0], number) for number in range(300)]
    batch = objective.train_batch(occurrences)
    free = (batch.video.sigma > 0.01) & (batch.video.sigma < 0.99)
    offsets = (batch.extras[SOURCE.format("video")] - batch.video.sigma)[free]
    assert (offsets.mean() / 0.01).item() == pytest.approx(mean, abs=0.06)
    assert offsets.max() <= 0.0101
    assert batch.extras[CHANCE].mean().item() == pytest.approx(0.5, abs=0.06)


def test_without_sound_the_picture_goes_alone(source: Any) -> None:
    objective = objective_of(source, lambda s: 1.0, modalities="video")
    rolled = roll_out(objective, batch_of(objective), 1.0)
    assert rolled.measures["rollout/video/drift"].min() > 0
    assert rolled.measures.keys() == {"rollout/video/offset", "rollout/video/drift"}
    assert rolled.audio is None


def test_off_is_the_same_batch(source: Any) -> None:
    batch = batch_of(objective_of(source, rollout=None))
    assert not batch.extras
    for one, other in zip(streams(batch), streams(batch_of(objective_of(source))), strict=True):
        assert one.noisy.equal(other.noisy)  # rollouts' draws move no others
