"""Decoding ahead: in order, bounded, one bad item alone, and nothing left running."""

import threading
from collections.abc import Callable, Generator
from contextlib import closing

import pytest

from datasets_spec import QuarantineReason
from ltx_core.errors import Stopped, TransientError
from ltx_core.media.errors import MediaError
from ltx_core.media.workers import Leaving, Window, default_workers, run_ahead

WIDE = Window(workers=4, max_bytes=10**9)
Results = Generator[tuple[int, int | MediaError], None, None]


class Bench:
    """Work whose items are let go one by one."""

    def __init__(self, num_items: int) -> None:
        self.begun: list[int] = []
        self.left: list[int] = []
        self.go = [threading.Event() for _ in range(num_items)]
        self.lock = threading.Lock()

    def work(self, item: int, leaving: Leaving) -> int:
        with self.lock:
            self.begun.append(item)
        try:
            while not self.go[item].wait(0.01):
                leaving.check()
        except Stopped:
            with self.lock:
                self.left.append(item)
            raise
        return 10 * item

    def run(
        self, window: Window, size: Callable[[int], int] = lambda _: 1, check: Callable[[], None] = lambda: None
    ) -> Results:
        return run_ahead(range(len(self.go)), self.work, size=size, window=window, check=check, apart=MediaError)


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("decode ahead")]


def test_results_come_in_order_whichever_is_ready_first() -> None:
    bench = Bench(6)
    for number, event in enumerate(reversed(bench.go)):
        threading.Timer(0.01 * number, event.set).start()
    assert list(bench.run(Window(6, 10**9))) == [(item, 10 * item) for item in range(6)]
    assert threads() == []


@pytest.mark.parametrize(
    ("window", "begun"),
    [(Window(8, 3), 3), (Window(8, 2), 2), (Window(8, 0), 1), (Window(2, 10**9), 4)],
    ids=["3 bytes", "2 bytes", "no room", "4 items"],
)
def test_no_more_is_begun_than_the_window_holds(window: Window, begun: int) -> None:
    bench = Bench(8)
    for event in bench.go:
        event.set()
    with closing(bench.run(window)) as results:
        for taken in range(1, 9):
            next(results)
            assert len(bench.begun) <= min(taken - 1 + begun, 8)
    assert sorted(bench.begun) == list(range(8))


@pytest.mark.parametrize("window", [Window(4, 10**9), Window(8, 3)], ids=["items", "bytes"])
def test_as_much_is_begun_as_the_window_holds(window: Window) -> None:
    bench = Bench(8)
    for event in bench.go:
        event.set()
    with closing(bench.run(window)) as results:
        assert [next(results)[0], next(results)[0]] == [0, 1]
        for _ in range(1000):
            if len(bench.begun) >= 4:
                break
            threading.Event().wait(0.005)
    assert {0, 1, 2, 3} <= set(bench.begun)


def test_an_item_that_cannot_be_decoded_goes_alone() -> None:
    def work(item: int, _leaving: Leaving) -> int:
        if item == 2:
            raise MediaError(QuarantineReason.DECODE_ERROR, "torn")
        return item

    found = dict(run_ahead(range(5), work, size=lambda _: 1, window=WIDE, check=lambda: None, apart=MediaError))
    assert isinstance(found.pop(2), MediaError)
    assert found == {item: item for item in (0, 1, 3, 4)}


def test_other_errors_end_it() -> None:
    def work(item: int, _leaving: Leaving) -> int:
        raise TransientError(f"item {item}")

    with pytest.raises(TransientError, match="item 0"):
        list(run_ahead(range(5), work, size=lambda _: 1, window=WIDE, check=lambda: None, apart=MediaError))
    assert threads() == []


def test_leaving_ends_every_thread_at_once() -> None:
    bench = Bench(8)
    bench.go[0].set()
    with closing(bench.run(WIDE)) as results:
        next(results)
    assert threads() == []
    assert bench.left
    assert set(bench.left) == set(bench.begun) - {0}


def test_a_stop_is_seen_while_waiting() -> None:
    bench = Bench(3)
    stop = threading.Timer(0.05, lambda: asked.append(True))
    asked: list[bool] = []

    def check() -> None:
        if asked:
            raise Stopped("asked to")

    stop.start()
    with pytest.raises(Stopped, match="asked to"), closing(bench.run(WIDE, check=check)) as results:
        next(results)  # no item is ever ready
    assert threads() == []


def test_there_is_a_worker_for_each_core_up_to_a_limit() -> None:
    assert 1 <= default_workers() <= 16
