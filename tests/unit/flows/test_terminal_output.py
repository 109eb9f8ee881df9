"""What a terminal, or a file that takes a command's output, says of a stage that runs."""

import io
import time

import pytest
from rich.console import Console

from flows.listeners import StagePace, TerminalBars, TerminalLines, WeightsLines, spoken


class Clock:
    """Seconds that the test lets pass."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def steps(pace: StagePace, clock: Clock, numbers: range, seconds: float) -> None:
    for number in numbers:
        clock.now += seconds
        pace.advance(number, 100, "steps")


def test_losses_stay_beside_the_counts(clock: Clock) -> None:
    """Training says how far it is right after what it measured."""
    pace = StagePace("never run", clock)
    pace.measure({"loss": 0.5, "loss/video": 0.3, "eval/loss": 0.25})
    steps(pace, clock, range(41, 44), 2.0)
    assert pace.line == "43 of 100 steps, loss 0.5000, eval/loss 0.2500, 2.0 s each, 2 min left"
    assert pace.line.endswith(pace.detail)


def test_what_was_there_before_makes_no_pace(clock: Clock) -> None:
    """Going on from step 40 after a minute of loading is not 40 steps a minute."""
    pace = StagePace("interrupted", clock)
    clock.now = 60.0
    pace.advance(40, 100, "steps")
    assert pace.line == "40 of 100 steps"
    clock.now += 3.0
    pace.advance(41, 100, "steps")
    assert pace.line == "41 of 100 steps, 3.0 s each, 3 min left"


def test_the_pace_is_that_of_the_last_minute(clock: Clock) -> None:
    pace = StagePace("", clock)
    steps(pace, clock, range(20), 10.0)
    steps(pace, clock, range(20, 80), 2.0)
    assert pace.seconds_each == pytest.approx(2.0)


def test_items_that_take_longer_than_a_minute_have_a_pace(clock: Clock) -> None:
    pace = StagePace("", clock)
    steps(pace, clock, range(1, 4), 600.0)
    assert pace.detail == "600.0 s each, 16 h 10 min left"


def test_another_unit_begins_anew(clock: Clock) -> None:
    """Renders are sampled, then decoded."""
    pace = StagePace("", clock)
    steps(pace, clock, range(1, 11), 30.0)
    pace.advance(1, 4, "renders decoded")
    assert pace.line == "1 of 4 renders decoded"


def test_quick_items_are_counted_by_the_second_and_the_last_leaves_no_time(clock: Clock) -> None:
    pace = StagePace("", clock)
    steps(pace, clock, range(1, 101), 0.25)
    assert pace.line == "100 of 100 steps, 4.0 a second"


@pytest.mark.parametrize(
    ("seconds", "said"), [(0.4, "0 s"), (89, "89 s"), (90, "2 min"), (3600, "60 min"), (12_000, "3 h 20 min")]
)
def test_times_as_people_say_them(seconds: float, said: str) -> None:
    assert spoken(seconds) == said


def shown(bars_of: int = 120) -> tuple[io.StringIO, Console]:
    out = io.StringIO()
    return out, Console(file=out, width=bars_of, force_terminal=False)


def test_bars_show_loss_pace_and_time_left_though_each_step_advances() -> None:
    out, console = shown()
    with TerminalBars(console) as bars:
        bars.started("train_lora", "never run")
        for step in (1, 2, 3):
            bars.measured("train_lora", step, {"loss": 0.25})
            bars.advanced("train_lora", step, 50, "steps")
            time.sleep(0.01)
        bars.noted("train_lora", "a path [/tmp/x] is no [markup]")
    said = out.getvalue()
    assert "train_lora: a path [/tmp/x] is no [markup]" in said
    last = said.strip().splitlines()[-1]
    assert "3/50" in last
    assert "loss 0.2500" in last
    assert "a second" in last
    assert "left" in last


def test_lines_come_by_themselves_where_output_is_piped() -> None:
    out, console = shown()
    with TerminalLines(console, seconds=0.05) as lines:
        lines.started("probe", "never run")
        until(out, "nothing is finished yet")
        lines.advanced("probe", 3, 20, "files")
        until(out, "3 of 20 files")
        lines.noted("probe", "a [note] at once")
    said = out.getvalue().splitlines()
    assert said[0] == "probe: starts: never run"
    assert said[1] == "probe: at work for 0 s, nothing is finished yet"
    assert said[-1] == "probe: a [note] at once"


def until(out: io.StringIO, text: str) -> None:
    deadline = time.monotonic() + 60
    while text not in out.getvalue():
        assert time.monotonic() < deadline, out.getvalue()
        time.sleep(0.01)


def test_a_plan_says_once_for_each_file_that_it_reads_weights() -> None:
    console = Console(file=io.StringIO(), width=40)
    lines = WeightsLines(console)
    for name in ("a.safetensors", "b.safetensors"):
        for done in (64, 128, 2000):
            lines.advance(done, 2000, f"MiB of {name}")
    assert isinstance(console.file, io.StringIO)
    assert console.file.getvalue().splitlines() == [
        f"weights: reading the files once, since results are named by their content: 2000 MiB of {name}"
        for name in ("a.safetensors", "b.safetensors")
    ]
