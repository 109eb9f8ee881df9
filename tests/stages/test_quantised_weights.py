"""Training on 8-bit weights, in the stage: quantised once, read at the next start, collected when nobody reads them."""

from pathlib import Path

import pytest

from ltx_core.io.digest import file_digest
from tasks.runtime.collect import find_garbage
from tests.stages.bench import Bench, Results

pytestmark = pytest.mark.whole


def lora(results: Results) -> str:
    return file_digest(results["train_lora"].run.out / "lora.safetensors")


def told(bench: Bench) -> list[str]:
    return [note for note in bench.progress.told if "8-bit weights" in note]


def weights(bench: Bench) -> list[Path]:
    return sorted(bench.place.quantised.glob("*/*.safetensors"))


@pytest.mark.extra
def test_second_start_reads_what_the_first_made(bench: Bench) -> None:
    bench = bench.set(train_lora__base_precision="int8")
    first = lora(bench.run("train_lora"))  # now: training anew takes the file's place
    (made,) = told(bench)
    num = len(weights(bench))
    assert num > 1
    assert f"0 files read, {num} made" in made
    again = bench.but()
    second = again.run("train_lora", force="train_lora")
    assert f"{num} files read, 0 made" in told(again)[0]
    assert lora(second) == first
    other = bench.but().set(train_lora__seed=3)
    assert lora(other.run("train_lora")) != first
    assert f"{num} files read, 0 made" in told(other)[0], "runs of other settings share them"
    fp8 = bench.but().set(train_lora__base_precision="fp8")
    assert lora(fp8.run("train_lora")) != first
    assert f"0 files read, {num} made" in told(fp8)[0]


def test_renders_share_them_and_are_others(int8: Bench, results: Results) -> None:
    plain = {row.sha256 for row in results["render_validation"].manifest}
    native = int8.set(train_lora__base_precision="native", render_validation__render_base=False)
    streamed = native.set(render_validation__streamed_blocks="all")
    moved = streamed.run("render_validation", force="render_validation")
    assert not native.run("render_validation")["render_validation"].built, "where weights wait changes nothing"
    found = {row.sha256 for row in moved["render_validation"].manifest}
    assert found < plain
    both = native.set(render_validation__base_precision="int8")
    rows = list(both.run("render_validation")["render_validation"].manifest)
    assert plain.isdisjoint(row.sha256 for row in rows)
    assert ", 0 made" in told(both)[0], "training has made them"


def test_damaged_weights_are_named_and_made_again(int8: Bench) -> None:
    first, victim = lora(int8.run("train_lora")), weights(int8)[0]
    data = bytearray(victim.read_bytes())
    data[-1] ^= 64
    victim.write_bytes(data)
    again = int8.but()
    assert lora(again.run("train_lora", force="train_lora")) == first
    damaged, count = told(again)
    assert str(victim) in damaged
    assert ", 1 made" in count


def test_weights_that_no_kept_run_reads_are_garbage(int8: Bench, results: Results) -> None:
    native = results["train_lora"].run.decided.key
    quantised = int8.run("train_lora")["train_lora"].run.decided.key
    place = int8.place

    def listed() -> set[Path]:
        return {item.path.parent for item in find_garbage(place, 0) if item.path.is_relative_to(place.quantised)}

    place.set_latest("train_lora", quantised)
    assert listed() == set()
    place.set_latest("train_lora", native)
    assert listed() == {place.quantised}


def test_full_precision_keeps_nothing(bench: Bench, results: Results) -> None:
    assert results["train_lora"].run.out.is_dir()
    assert weights(bench) == []
