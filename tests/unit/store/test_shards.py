"""Shards: whole or absent, readable by any WebDataset reader, checked when read."""

import io
import os
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
import torch
import webdataset
from safetensors.torch import load

from datasets_spec.manifest import read_sealed
from ltx_core.errors import DataError
from ltx_core.io.digest import DigestMemo, file_digest
from ltx_core.io.table_file import write_table
from ltx_core.store.shards import ShardLimits, ShardWriter, read_index
from ltx_core.store.tensor_items import ShardReader, pack_item


def tensors(seed: int) -> dict[str, torch.Tensor]:
    g = torch.Generator().manual_seed(seed)
    return {
        "video": torch.randn(4, 2, 3, 3, generator=g).bfloat16(),
        "audio": torch.randn(5, 7, generator=g),
        "flags": torch.tensor([True, False]),
    }


def write(folder: Path, seeds: range, limits: ShardLimits | None = None) -> None:
    with ShardWriter(folder, limits or ShardLimits(max_items=3)) as writer:
        for seed in seeds:
            data, digest = pack_item(tensors(seed))
            writer.add(f"clip{seed}", data, digest, {"seed": seed})


def memo(tmp_path: Path) -> DigestMemo:
    return DigestMemo(tmp_path / "memo.parquet")


def test_samples_come_back_exactly_from_several_shards(tmp_path: Path) -> None:
    write(tmp_path / "pool", range(8))
    index = read_index(tmp_path / "pool", memo(tmp_path))
    assert len(index.entries) == 8
    assert len(list((tmp_path / "pool").glob("*.tar"))) == 3
    reader = ShardReader(tmp_path / "pool")
    for seed in (7, 0, 3):
        entry = index.entries[f"clip{seed}"]
        got = reader.read(entry.shard.name, entry.offset, entry.size, entry.sha256)
        assert entry.info == {"seed": seed}
        assert got.keys() == tensors(seed).keys()
        assert all(torch.equal(got[name], value) for name, value in tensors(seed).items())


def test_any_webdataset_reader_streams_them(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    (shard,) = tmp_path.glob("*.tar")
    samples = list(webdataset.WebDataset([str(shard)], shardshuffle=False))
    assert [s["__key__"] for s in samples] == ["clip0", "clip1", "clip2"]
    assert torch.equal(load(samples[1]["safetensors"])["video"], tensors(1)["video"])


def test_same_samples_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write(tmp_path / name, range(3))
    (a,), (b,) = (list((tmp_path / n).glob("*.tar")) for n in ("a", "b"))
    assert a.name == b.name
    assert a.read_bytes() == b.read_bytes()


def test_writer_goes_on_and_clears_what_a_killed_one_left(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    (tmp_path / ".partial-1.tar").write_bytes(b"torn")
    (tmp_path / "000007-orphan.tar").write_bytes(b"no index")
    write(tmp_path, range(3, 5))
    assert sorted(p.name[:6] for p in tmp_path.glob("*.tar")) == ["000000", "000001"]
    assert not list(tmp_path.glob(".partial*"))
    assert len(read_index(tmp_path, memo(tmp_path)).entries) == 5


KILLED_IN_AN_INDEX = """
import os, signal, sys
from pathlib import Path
from ltx_core.io import atomic
from tests.unit.store.test_shards import write

def die(path):
    if path.suffix == ".parquet":
        os.truncate(path, 40)
        os.kill(os.getpid(), signal.SIGKILL)

atomic.fsync_file = die
write(Path(sys.argv[1]), range(2))
"""


@pytest.mark.whole
def test_a_kill_while_an_index_is_written_blocks_nobody(tmp_path: Path) -> None:
    write(tmp_path, range(3))
    killed = subprocess.run([sys.executable, "-c", KILLED_IN_AN_INDEX, str(tmp_path)], check=False)
    assert killed.returncode == -signal.SIGKILL
    (left,) = tmp_path.glob(".partial-*.parquet")
    assert left.stat().st_size == 40
    index = read_index(tmp_path, memo(tmp_path))
    assert len(index.entries) == 3
    assert not index.damaged
    write(tmp_path, range(3, 5))
    assert len(read_index(tmp_path, memo(tmp_path)).entries) == 5
    assert not left.exists()


@pytest.mark.parametrize("damage", ["gone", "short", "flipped"])
def test_damaged_shard_is_named_and_not_used(tmp_path: Path, damage: str) -> None:
    write(tmp_path, range(6))
    shard = sorted(tmp_path.glob("*.tar"))[0]
    data = bytearray(shard.read_bytes())
    if damage == "gone":
        shard.unlink()
    else:
        data[700] ^= 255
        shard.write_bytes(data[:600] if damage == "short" else data)
    index = read_index(tmp_path, memo(tmp_path))
    assert list(index.damaged) == [shard]
    assert set(index.entries) == {"clip3", "clip4", "clip5"}


@pytest.mark.parametrize("columns", ["of something else", "the same, without metadata"])
def test_another_table_in_an_index_s_place_is_damage(tmp_path: Path, columns: str) -> None:
    write(tmp_path / "pool", range(6))
    first, second = sorted((tmp_path / "pool").glob("*.parquet"))
    table = read_sealed(first).replace_schema_metadata(None)
    write_table(first, table if columns.startswith("the same") else pa.table({"path": ["a"]}))
    index = read_index(tmp_path / "pool", memo(tmp_path))
    assert list(index.damaged) == [first.with_suffix(".tar")]
    assert {entry.shard for entry in index.entries.values()} == {second.with_suffix(".tar")}


def test_a_memo_that_is_another_table_is_made_again(tmp_path: Path) -> None:
    write_table(tmp_path / "memo.parquet", pa.table({"key": ["a"]}))
    assert memo(tmp_path).get(Path(__file__)) == file_digest(Path(__file__))


def test_reader_refuses_flipped_bytes(tmp_path: Path) -> None:
    write(tmp_path, range(1))
    entry = read_index(tmp_path, memo(tmp_path)).entries["clip0"]
    data = bytearray(entry.shard.read_bytes())
    data[entry.offset + entry.size - 1] ^= 1
    entry.shard.write_bytes(data)
    with pytest.raises(DataError, match=r"damaged.*Run again: only its items"):
        ShardReader(tmp_path).read(entry.shard.name, entry.offset, entry.size, entry.sha256)


def test_a_shard_that_is_cut_while_it_is_used_is_named(tmp_path: Path) -> None:
    """Were it mapped, its end would read as zeros, and what lies in later pages would end the process with SIGBUS."""
    write(tmp_path, range(1))
    entry = read_index(tmp_path, memo(tmp_path)).entries["clip0"]
    place, reader = (entry.shard.name, entry.offset, entry.size, entry.sha256), ShardReader(tmp_path)
    reader.read(*place)
    os.truncate(entry.shard, entry.offset + entry.size - 10)
    with pytest.raises(DataError, match=r"damaged.*Run again: only its items"):
        reader.read(*place)
    entry.shard.unlink()
    with pytest.raises(DataError, match=r"cannot be read \(No such file or directory\). Run again"):
        reader.read(*place)


def test_bytes_of_a_sample_are_plain_safetensors() -> None:
    data, _ = pack_item(tensors(1))
    assert torch.equal(load(io.BytesIO(data).getvalue())["audio"], tensors(1)["audio"])
