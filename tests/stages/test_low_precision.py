"""8 bits are compared with full precision at the first start with a checkpoint; a run keeps what it began with."""

import shutil
from pathlib import Path

import pytest

from flows.plan import Selection, plan
from ltx_core.engine.precision_choice import Comparison
from ltx_core.io.digest import file_digest
from ltx_core.io.json_file import read_json, write_json
from tasks import STAGES
from tasks.stages.parts.low_precision import FILE
from tests.stages.bench import Bench, Results

pytestmark = pytest.mark.whole
COMPARING = "comparing int8 with full precision"


def lora(results: Results) -> str:
    return file_digest(results["train_lora"].run.out / "lora.safetensors")


def comparisons(bench: Bench) -> int:
    return sum(COMPARING in note for note in bench.progress.told)


def pooled(bench: Bench) -> Path:
    (found,) = bench.place.compared.iterdir()
    return found


def changed(path: Path, **values: object) -> None:
    write_json(path, read_json(path) | values)


def test_once_for_a_checkpoint_and_told(bench: Bench) -> None:
    bench = bench.set(train_lora__base_precision="int8")
    first = bench.run("train_lora")
    assert comparisons(bench) == 1
    found = Comparison.model_validate(read_json(pooled(bench)))
    kept = first["train_lora"].run.out / FILE
    assert read_json(kept) == read_json(pooled(bench))
    assert 0 < len(found.products) <= found.kinds
    assert found.whole.native_loss > 0
    assert any(f"8 bits: {line}" in bench.progress.told for line in found.lines())
    other = bench.but().set(train_lora__seed=3)
    other.run("train_lora")
    assert comparisons(other) == 0, "runs of other settings share it"
    made = lora(first)
    assert lora(bench.but().run("train_lora", force="train_lora")) == made
    planned = plan(bench.set(train_lora__seed=4).config, Selection(STAGES, frozenset()))
    lines = [line for stage in planned for line in stage.memory]
    assert [line for line in lines if line.startswith("8 bits")] == [f"8 bits: {line}" for line in found.lines()]


@pytest.mark.extra
def test_what_is_chosen_is_what_trains(int8: Bench) -> None:
    """A choice that was changed in the pool trains another LoRA; a run that began keeps its own."""
    first = int8.run("train_lora")
    begun, folder = lora(first), first["train_lora"].run.out
    layer = f"transformer_blocks.0.{read_json(pooled(int8))['products'][0]}"
    changed(pooled(int8), products=[], native=[layer])
    again = int8.but()
    (folder / "manifest.parquet").unlink()
    shutil.rmtree(folder / "checkpoints" / "step-000002")
    assert lora(again.run("train_lora")) == begun, "the folder's own is used"
    assert lora(int8.but().run("train_lora", force="train_lora")) != begun, "begun anew, it is the pool's"
    assert read_json(folder / FILE)["native"] == [layer]


@pytest.mark.parametrize(
    "text", ["{", *(pytest.param(text, marks=pytest.mark.extra) for text in ('{"version": 0}', ""))]
)
def test_what_is_damaged_is_named_and_made_again(int8: Bench, text: str) -> None:
    good = pooled(int8).read_bytes()
    pooled(int8).write_text(text)
    int8.run("train_lora", force="train_lora")
    assert comparisons(int8) == 1
    assert any(str(pooled(int8)) in note and "damaged" in note for note in int8.progress.told)
    assert pooled(int8).read_bytes() == good


@pytest.mark.parametrize("how", ["weights", pytest.param("products", marks=pytest.mark.extra)])
def test_what_is_asked_for_is_compared_with_nothing(bench: Bench, how: str) -> None:
    bench = bench.set(train_lora__base_precision="int8", train_lora__low_precision=how)
    results = bench.run("train_lora")
    assert comparisons(bench) == 0
    assert not bench.place.compared.exists()
    assert not (results["train_lora"].run.out / FILE).exists()


def test_full_precision_has_nothing_to_compare(bench: Bench, results: Results) -> None:
    assert not (results["train_lora"].run.out / FILE).exists()
    assert not bench.place.compared.exists()
