"""What killed writers leave is nobody's input: partial files of every kind, beside every file that there is."""

import shutil
from pathlib import Path

import pytest

from ltx_core.adapters.locate import locate_adapter
from ltx_core.checkpoint.source import open_model
from tasks.runtime.collect import find_garbage
from tests.stages.bench import EVERY_STAGE, Bench, Results, computed, write_clip

pytestmark = pytest.mark.whole


def leave_partials(folder: Path) -> int:
    """Beside each file of a folder what its writer leaves when it is killed: half of it under a hidden name."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    for path in files:
        half = path.read_bytes()[: path.stat().st_size // 2]
        path.with_name(f".partial-1-2-{path.name}").write_bytes(half)
        path.with_name(f".{path.name}.1.partial").write_bytes(half)
    for path in [path for path in folder.rglob("*") if path.is_dir() and not path.name.startswith(".")]:
        shutil.copytree(path, path.with_name(f".partial-1-2-{path.name}"))
    return len(files)


def test_leftovers_change_nothing(bench: Bench, results: Results) -> None:
    assert leave_partials(bench.workspace) > 50
    again = bench.run(EVERY_STAGE[-1])
    assert not any(result.built for result in again.values())
    forced = bench.run("encode_latents", force="encode_latents")["encode_latents"]
    assert forced.manifest.digest == results["encode_latents"].manifest.digest
    longer = bench.set(train_lora__steps=3).run("train_lora")["train_lora"]
    assert longer.built


def test_leftovers_are_not_taken_for_pooled_items(own: Bench, tmp_path: Path) -> None:
    assert leave_partials(own.workspace) > 20
    write_clip(own.footage, "added.mp4", "sinking_sun")
    assert computed(own.run()) == {"probe": 1, "split": 1, "embed_text": 1, "encode_latents": 1}
    list(find_garbage(own.place, keep_runs=10))


def test_leftovers_of_copying_weights_are_no_weights(model: Path, results: Results, tmp_path: Path) -> None:
    """macOS leaves `._x.safetensors` beside x.safetensors, downloaders hidden partial files."""
    adapter, pack = tmp_path / "adapter", tmp_path / "pack"
    for folder, file in (
        (adapter, results["train_lora"].run.out / "lora.safetensors"),
        (pack, model / "checkpoint.safetensors"),
    ):
        folder.mkdir()
        shutil.copy(file, folder / file.name)
        (folder / f"._{file.name}").write_bytes(b"Mac OS X")
        (folder / f".partial-{file.name}").write_bytes(file.read_bytes()[:100])
    assert locate_adapter(adapter).name == "lora.safetensors"
    assert open_model(pack).generation == "2.0"
