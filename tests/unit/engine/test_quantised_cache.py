"""8-bit weights are made once, read at the next start, and made again where a file is damaged."""

import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import torch

from ltx_core.checkpoint.layouts import open_combined
from ltx_core.checkpoint.model import Model
from ltx_core.engine import assemble, quantised_cache
from ltx_core.engine.assemble import part_of
from ltx_core.engine.load import load_denoiser
from ltx_core.engine.low_precision import QuantisedLinear
from ltx_core.engine.options import EngineOptions, Precision
from ltx_core.engine.quantised_cache import QuantisedFolder, QuantisedParts, cache_key, checksums
from ltx_core.progress import Silent
from ltx_core.tiny.model import write_checkpoint

pytestmark = pytest.mark.numerics

Usage = namedtuple("Usage", ["total", "used", "free"])


class Notes(Silent):
    def __init__(self) -> None:
        self.told: list[str] = []

    def note(self, message: str) -> None:
        self.told.append(message)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Model:
    path = tmp_path_factory.mktemp("model") / "checkpoint.safetensors"
    write_checkpoint(path, "2.0", 0)
    return open_combined(path)


def load(
    checkpoint: Model, folder: QuantisedFolder | None, precision: Precision = "int8", streamed: int = 0
) -> dict[str, torch.Tensor]:
    options = EngineOptions(precision=precision, offloaded_blocks=streamed)
    transformer = load_denoiser(checkpoint, options, device="cpu", dtype=torch.bfloat16, cache=folder)
    assert any(isinstance(module, QuantisedLinear) for module in transformer.modules())
    assert not any(p.requires_grad for p in transformer.parameters())
    return dict(transformer.state_dict())


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return a.keys() == b.keys() and all(
        a[n].dtype == b[n].dtype and a[n].view(torch.uint8).equal(b[n].view(torch.uint8)) for n in a
    )


def files(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.glob("*.safetensors")}


@pytest.mark.parametrize("precision", ["int8", "fp8"])
def test_second_start_reads_the_files_alone(
    precision: Precision, checkpoint: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = load(checkpoint, None, precision)
    folder = QuantisedFolder(tmp_path)
    assert same(load(checkpoint, folder, precision), wanted)
    made = files(tmp_path)
    num_blocks = int(checkpoint.arguments("transformer")["num_layers"])
    assert set(made) == {"outside.safetensors"} | {f"block-{i:03d}.safetensors" for i in range(num_blocks)}

    def refuse(*_: object) -> None:
        raise AssertionError("the checkpoint's weights are not to be read")

    monkeypatch.setattr(quantised_cache.TensorReader, "weight", refuse)
    assert same(load(checkpoint, folder, precision), wanted)
    assert files(tmp_path) == made


def test_parts_that_are_in_memory_are_neither_read_nor_made_and_are_kept(
    checkpoint: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wanted = load(checkpoint, None)
    parts = parts_of(wanted)
    load(checkpoint, QuantisedFolder(tmp_path / "read"))

    def refuse(*_: object) -> None:
        raise AssertionError("nothing is quantised that is there")

    monkeypatch.setattr(assemble, "deepcopy", refuse)  # of a block, to see what is wanted of a file
    options = EngineOptions(precision="int8")
    transformer = load_denoiser(
        checkpoint,
        options,
        device="cpu",
        dtype=torch.bfloat16,
        cache=QuantisedFolder(tmp_path / "handed"),
        quantised=parts,
    )
    assert same(dict(transformer.state_dict()), wanted)
    assert parts == {}
    for name in files(tmp_path / "read"):
        assert (tmp_path / "handed" / name).read_bytes() == (tmp_path / "read" / name).read_bytes()


def parts_of(state: dict[str, torch.Tensor]) -> QuantisedParts:
    """The tensors of each block, by their names in it."""
    parts: dict[str, dict[str, torch.Tensor]] = {}
    for name, tensor in state.items():
        if name.startswith("transformer_blocks."):
            _, index, own = name.split(".", 2)
            parts.setdefault(part_of(int(index)), {})[own] = tensor
    return dict(parts)


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)


def tear(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def empty(path: Path) -> None:
    path.write_bytes(b"")


@pytest.mark.parametrize("damage", [flip, tear, empty])
def test_damaged_file_is_named_and_made_again(damage: object, checkpoint: Model, tmp_path: Path) -> None:
    assert callable(damage)
    wanted = load(checkpoint, QuantisedFolder(tmp_path))
    made, victim = files(tmp_path), tmp_path / "block-001.safetensors"
    damage(victim)
    notes = Notes()
    assert same(load(checkpoint, QuantisedFolder(tmp_path, progress=notes)), wanted)
    assert [note for note in notes.told if str(victim) in note and "damaged" in note]
    again = files(tmp_path)
    assert {name for name in made if again[name] != made[name]} == {victim.name}
    assert same(load(checkpoint, QuantisedFolder(tmp_path, progress=(quiet := Notes()))), wanted)
    assert [note for note in quiet.told if "0 made" in note] == quiet.told


def test_killed_while_writing(checkpoint: Model, tmp_path: Path) -> None:
    """What is there is read, what is not is made."""
    wanted = load(checkpoint, QuantisedFolder(tmp_path))
    (tmp_path / "block-001.safetensors").rename(tmp_path / ".partial-1-2-block-001.safetensors")
    assert same(load(checkpoint, QuantisedFolder(tmp_path)), wanted)
    assert (tmp_path / "block-001.safetensors").exists()
    assert not list(tmp_path.glob(".partial-*"))


def test_other_ranks_write_nothing(checkpoint: Model, tmp_path: Path) -> None:
    load(checkpoint, QuantisedFolder(tmp_path, writes=False))
    assert files(tmp_path) == {}


def test_disk_without_room_is_told_once(checkpoint: Model, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(2**40, 2**40, 2**30))
    notes = Notes()
    load(checkpoint, QuantisedFolder(tmp_path, progress=notes))
    assert len(notes.told) == 2
    assert "1.0 GiB left" in notes.told[0]
    assert "0 files read, 0 made" in notes.told[1]
    assert files(tmp_path) == {}


def test_streamed_blocks_are_read_from_it_too(checkpoint: Model, tmp_path: Path) -> None:
    load(checkpoint, QuantisedFolder(tmp_path))
    made = files(tmp_path)
    load(checkpoint, QuantisedFolder(tmp_path), streamed=1)
    assert files(tmp_path) == made


def test_key_tells_models_precisions_and_dtypes_apart() -> None:
    keys = [
        cache_key("a", "int8", torch.bfloat16, 1),
        cache_key("b", "int8", torch.bfloat16, 1),
        cache_key("a", "fp8", torch.bfloat16, 1),
        cache_key("a", "int8", torch.float32, 1),
        cache_key("a", "int8", torch.bfloat16, 2),
    ]
    assert len(set(keys)) == 5
    assert keys[0] == cache_key("a", "int8", torch.bfloat16, 1)


def test_checksums_see_bytes_and_their_order() -> None:
    tensor = torch.arange(-20, 23, dtype=torch.int8)  # 43 bytes: no whole number of words
    changed = tensor.clone()
    changed[-1] += 1
    swapped = torch.cat([tensor[8:16], tensor[:8], tensor[16:]])
    sums = checksums([tensor, tensor.clone(), changed, swapped, tensor.view(torch.float8_e4m3fn)])
    assert sums[0] == sums[1] == sums[4]
    assert len(set(sums)) == 3
