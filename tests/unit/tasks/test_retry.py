"""What may pass by itself is tried again, and nothing else."""

import pytest

from ltx_core.errors import ConfigError, DataError, LtxError, OutOfMemory, Stopped, TransientError
from tasks.runtime.launch import RETRY_DELAYS_SECONDS, with_retries


@pytest.mark.parametrize("kind", [DataError, ConfigError, OutOfMemory, Stopped, KeyError, KeyboardInterrupt])
def test_other_errors_are_raised_at_once(kind: type[BaseException]) -> None:
    slept: list[float] = []

    def attempt() -> None:
        raise kind("as the test wants")

    with pytest.raises(kind, match="as the test wants"):
        with_retries(attempt, lambda _: None, slept.append)
    assert slept == []


def test_the_third_attempt_is_the_last_and_each_wait_is_told_before() -> None:
    told: list[str | float] = []

    def attempt() -> None:
        raise TransientError(f"{len(told)} said")

    with pytest.raises(TransientError, match="4 said"):
        with_retries(attempt, told.append, told.append)
    assert told == ["0 said; trying again in 5 s", 5.0, "2 said; trying again in 30 s", 30.0]
    assert RETRY_DELAYS_SECONDS == (5.0, 30.0)


def test_what_a_later_attempt_gives_counts() -> None:
    left: list[LtxError] = [TransientError("once"), TransientError("twice")]

    def attempt() -> str:
        if left:
            raise left.pop()
        return "done"

    assert with_retries(attempt, lambda _: None, lambda _: None) == "done"
