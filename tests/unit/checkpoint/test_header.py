from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from ltx_core.errors import CheckpointError
from ltx_core.io.safetensors import read_header


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "weights.safetensors"
    save_file({"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.ones(2, np.uint8)}, path, {"note": "hello"})
    return path


def test_entries_say_where_the_bytes_are(file: Path) -> None:
    header = read_header(file)
    entry = header.tensors["a"]
    assert (entry.dtype, entry.shape) == ("F32", (2, 3))
    assert np.frombuffer(file.read_bytes()[entry.begin : entry.end], np.float32).tolist() == [0, 1, 2, 3, 4, 5]
    assert header.metadata == {"note": "hello"}


def test_a_torn_file_names_both_sizes(file: Path) -> None:
    size = file.stat().st_size
    file.write_bytes(file.read_bytes()[:-1])
    with pytest.raises(CheckpointError, match=f"{size - 1} bytes and its header promises {size}"):
        read_header(file)


@pytest.mark.parametrize("content", [b"", b"short", b"PK\x03\x04" + bytes(100), bytes(100), b"\xff" * 100])
def test_another_kind_of_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="does not start like a safetensors file"):
        read_header(path)


@pytest.mark.parametrize("raw", [b"not json at all", b'{"a": {"dtype": "F32"}}', b'["a"]'])
def test_a_broken_header_is_refused(tmp_path: Path, raw: bytes) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(len(raw).to_bytes(8, "little") + raw)
    with pytest.raises(CheckpointError, match="no readable safetensors header"):
        read_header(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"nowhere\.safetensors is no file"):
        read_header(tmp_path / "nowhere.safetensors")
