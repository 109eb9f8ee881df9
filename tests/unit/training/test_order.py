"""Epochs, buckets and batches."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ltx_core.errors import DataError
from ltx_core.training.order import EpochPlan, Position, SampleOccurrence
from ltx_core.training.samples import ClipInfo
from ltx_core.training.step import step_batches

Clips = Callable[..., ClipInfo]


def sample(number: int, bucket: str, repeats: int, frame_rate: float = 24.0) -> ClipInfo:
    return ClipInfo(f"clip{number}", bucket, "train", repeats, frame_rate, True, "")


@given(
    buckets=st.lists(
        st.tuples(st.sampled_from("abc"), st.integers(1, 3), st.sampled_from([24.0, 25.0])), min_size=1, max_size=12
    ),
    batch_size=st.integers(1, 5),
    epoch=st.integers(0, 3),
)
def test_an_epoch_is_every_clip_by_its_repeats_in_pure_batches(
    buckets: list[tuple[str, int, float]], batch_size: int, epoch: int
) -> None:
    samples = tuple(sample(i, *entry) for i, entry in enumerate(buckets))
    batches = EpochPlan(samples, batch_size, seed=1).epoch(epoch)
    seen = Counter(occurrence.sample for batch in batches for occurrence in batch)
    assert seen == {s: s.repeats for s in samples}
    assert all(len({(v.sample.bucket, v.sample.frame_rate) for v in batch}) == 1 for batch in batches)
    short = Counter(batch[0].sample.bucket for batch in batches if len(batch) < batch_size)
    assert all(count <= 2 for count in short.values())  # at most one short batch for each bucket and rate
    numbers = {(v.sample.clip_id, v.number) for batch in batches for v in batch}
    assert len(numbers) == sum(s.repeats for s in samples)
    assert all(epoch * v.sample.repeats <= v.number < (epoch + 1) * v.sample.repeats for b in batches for v in b)


def test_several_buckets_keep_the_batch_size() -> None:
    samples = tuple(sample(i, "ab"[i % 2], 1) for i in range(16))
    assert {len(batch) for batch in EpochPlan(samples, 4, seed=0).epoch(0)} == {4}


def test_clips_without_sound_have_batches_of_their_own() -> None:
    """Where all have sound, or only the picture is trained, the order is what it was before there was a difference."""
    sounding = tuple(sample(i, "a", 2) for i in range(7))
    mixed = tuple(replace(s, has_sound=i % 3 > 0) for i, s in enumerate(sounding))
    batches = EpochPlan(mixed, 2, seed=1).epoch(0)
    assert all(len({occurrence.sample.has_sound for occurrence in batch}) == 1 for batch in batches)
    assert Counter(occurrence.sample for batch in batches for occurrence in batch) == dict.fromkeys(mixed, 2)

    def ids(plan: EpochPlan) -> list[list[str]]:
        return [[occurrence.sample.clip_id for occurrence in batch] for batch in plan.epoch(0)]

    before = ["43", "00", "56", "61", "52", "41", "23"]  # as the version before printed it
    assert ids(EpochPlan(sounding, 2, seed=1)) == [[f"clip{n}" for n in batch] for batch in before]
    assert ids(EpochPlan(mixed, 2, seed=1, by_audio=False)) == ids(EpochPlan(sounding, 2, seed=1))


def test_order_is_a_function_of_seed_and_epoch() -> None:
    samples = tuple(sample(i, "ab"[i % 2], 1) for i in range(12))
    plan = EpochPlan(samples, 2, seed=0)
    assert plan.epoch(0) == EpochPlan(tuple(reversed(samples)), 2, seed=0).epoch(0)

    def ids(batches: tuple[tuple[SampleOccurrence, ...], ...]) -> list[list[str]]:
        return [[occurrence.sample.clip_id for occurrence in batch] for batch in batches]

    orders = [ids(plan.epoch(0)), ids(plan.epoch(1)), ids(EpochPlan(samples, 2, seed=1).epoch(0))]
    assert all(left != right for i, left in enumerate(orders) for right in orders[i + 1 :])


def test_batches_run_on_over_epochs() -> None:
    plan = EpochPlan(tuple(sample(i, "a", 1) for i in range(5)), 2, seed=0)
    assert plan.batches_per_epoch == 3
    assert plan.position(7) == Position(2, 1)
    assert plan.batch(7) == plan.epoch(2)[1]


def test_steps_share_no_batch_and_leave_none_out() -> None:
    plan = EpochPlan(tuple(sample(i, "a", 1) for i in range(5)), 2, seed=0)
    taken = [batch for step in range(4) for batch in step_batches(plan, step, 3)]
    assert taken == [plan.batch(number) for number in range(12)]


def test_no_clip_is_an_error() -> None:
    with pytest.raises(DataError, match="no clip"):
        EpochPlan((), 2, seed=0)
