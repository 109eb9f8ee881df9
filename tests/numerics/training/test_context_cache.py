"""Contexts are computed once, and take no more memory than they may."""

from collections.abc import Callable
from typing import Any

import pytest
import torch

from ltx_core.training.context_cache import ContextCache
from ltx_core.training.run import TrainJob

pytestmark = pytest.mark.numerics


def test_contexts_stay_within_their_bytes_and_come_back_alike(
    job_of: Callable[..., TrainJob], source_of: Any, tmp_path: Any
) -> None:
    job, source = job_of(tmp_path), source_of()
    cache = ContextCache(source, job.load_connectors(), job.context_length)
    first = cache(["caption a"], "cpu")
    one = cache.held_bytes
    assert one == sum(context.numel() * context.element_size() for context in first)
    small = ContextCache(source, job.load_connectors(), job.context_length, capacity_bytes=2 * one)
    source.asked.clear()
    for caption in ("caption a", "b", "caption a", "long caption", "caption a", "b"):
        found = small([caption], "cpu")
        assert small.held_bytes <= 2 * one
        if caption == "caption a":
            assert all(torch.equal(left, right) for left, right in zip(found, first, strict=True))
    assert source.asked == ["caption a", "b", "long caption", "b"]  # b was used longest ago when the third came


def test_one_caption_larger_than_all_there_is_still_works(
    job_of: Callable[..., TrainJob], source_of: Any, tmp_path: Any
) -> None:
    job = job_of(tmp_path)
    cache = ContextCache(source_of(), job.load_connectors(), job.context_length, capacity_bytes=1)
    video, audio = cache(["a", "b"], "cpu")
    assert len(video) == len(audio) == 2
