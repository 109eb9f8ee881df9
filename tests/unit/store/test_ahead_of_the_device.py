"""Results are taken one item behind what is launched, and stored on a thread of their own."""

import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from ltx_core.errors import StorageError
from ltx_core.io.digest import DigestMemo
from ltx_core.store.shards import ShardLimits, ShardWriter, read_index
from ltx_core.store.tensor_items import BackgroundWriter
from ltx_core.transfer import Arriving, one_behind, to_device, to_host


def sample(value: float) -> Callable[[], Mapping[str, Tensor]]:
    return lambda: {"values": torch.full((4,), value)}


class FullDisk(ShardWriter):
    def add(self, key: str, data: bytes, sha256: str, info: Mapping[str, Any]) -> None:
        raise StorageError(f"no room for {key}")


def test_the_next_item_is_launched_before_a_result_is_given() -> None:
    events = []

    def launch(item: int) -> Arriving:
        events.append(f"launch {item}")
        return to_host({"double": torch.tensor(2 * item)})

    for item, made in one_behind([1, 2, 3], launch):
        events.append(f"give {item}")
        assert made["double"].item() == 2 * item
    assert events == ["launch 1", "launch 2", "give 1", "launch 3", "give 2", "give 3"]
    assert list(one_behind([], launch)) == []


def test_tensors_stay_where_they_are_on_the_cpu() -> None:
    tensor = torch.arange(3)
    assert to_device(tensor, "cpu") is tensor
    assert to_host({"a": tensor}).wait()["a"] is tensor


def test_samples_are_stored_in_order_by_another_thread(tmp_path: Path) -> None:
    threads = set()

    def made(value: float) -> Callable[[], Mapping[str, Tensor]]:
        def tensors() -> Mapping[str, Tensor]:
            threads.add(threading.current_thread().name)
            return sample(value)()

        return tensors

    with ShardWriter(tmp_path, ShardLimits(max_items=3)) as writer, BackgroundWriter(writer) as store:
        for number in range(7):
            store.add(f"key{number}", made(number), {"number": number})
    assert threading.current_thread().name not in threads
    entries = read_index(tmp_path, DigestMemo(tmp_path / "memo")).entries
    assert [entry.info["number"] for entry in writer.committed.values()] == list(range(7))
    assert entries.keys() == writer.committed.keys()
    assert [len(list(tmp_path.glob(f"00000{shard}-*.tar"))) for shard in range(3)] == [1, 1, 1]


def break_off(writer: ShardWriter) -> None:
    with writer, BackgroundWriter(writer) as store:
        store.add("kept", sample(1), {})
        raise KeyError("the work")


def test_what_was_taken_is_stored_even_when_the_work_fails(tmp_path: Path) -> None:
    writer = ShardWriter(tmp_path, ShardLimits())
    with pytest.raises(KeyError, match="the work"):
        break_off(writer)
    assert writer.committed.keys() == {"kept"}


def test_a_full_disk_reaches_the_caller(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match="no room for first"),
        BackgroundWriter(FullDisk(tmp_path, ShardLimits())) as store,
    ):
        store.add("first", sample(1), {})


def test_a_full_disk_reaches_the_caller_on_leaving(tmp_path: Path) -> None:
    go = threading.Event()

    def late() -> Mapping[str, Tensor]:
        go.wait()
        return sample(1)()

    def leave() -> None:
        with BackgroundWriter(FullDisk(tmp_path, ShardLimits())) as store:
            store.add("late", late, {})
            threading.Timer(0.05, go.set).start()

    with pytest.raises(StorageError, match="no room for late"):
        leave()
