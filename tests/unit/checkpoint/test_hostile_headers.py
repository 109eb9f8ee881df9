"""Headers of safetensors that lie: the format's rules decide, in the one reader that every file goes through."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import SafetensorError, safe_open

from ltx_core.adapters.lora_files import read_lora
from ltx_core.checkpoint.layouts import open_combined
from ltx_core.checkpoint.text_encoder import open_text_encoder
from ltx_core.errors import CheckpointError
from ltx_core.io.safetensors import read_header
from ltx_core.io.tensors import read_tensors
from ltx_core.sampling.decoding import load_latents
from ltx_core.store.tensor_items import ShardReader, item_digest

DATA = bytes(range(24))


def entry(dtype: Any = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": shape, "data_offsets": offsets}


def file(header: Any, data: bytes = DATA, *, length: int | None = None) -> bytes:
    raw = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(raw) if length is None else length).to_bytes(8, "little") + raw + data


def two(first: dict[str, Any], second: dict[str, Any], data: bytes = DATA[:16]) -> bytes:
    return file({"a": first, "b": second}, data)


A, B = entry(), entry(offsets=(8, 16))
HOSTILE: dict[str, bytes] = {
    "overlapping": two(A, entry(offsets=(4, 12)), DATA[:12]),
    "the same bytes twice": two(A, A, DATA[:8]),
    "one within another": two(entry(shape=(4,), offsets=(0, 16)), entry(shape=(1,), offsets=(4, 8))),
    "hole between": two(A, entry(offsets=(12, 20)), DATA[:20]),
    "hole before": file({"a": entry(offsets=(4, 12))}, DATA[:12]),
    "trailing bytes": file({"a": A}, DATA[:9]),
    "trailing bytes and no tensor": file({}, DATA[:1]),
    "short data": file({"a": A}, DATA[:7]),
    "no data": file({"a": A}, b""),
    "span too short for its shape": file({"a": entry(shape=(3,))}, DATA[:8]),
    "span too long for its shape": file({"a": entry(shape=(1,))}, DATA[:8]),
    "scalar of two": file({"a": entry(shape=())}, DATA[:8]),
    "empty shape with bytes": file({"a": entry(shape=(0, 5))}, DATA[:8]),
    "wrong dtype size": file({"a": entry("F64")}, DATA[:8]),
    "half a byte": file({"a": entry("F4", (3,), (0, 1))}, DATA[:1]),
    "negative begin": file({"a": entry(offsets=(-8, 0))}, DATA[:8]),
    "negative end": file({"a": entry(offsets=(0, -8))}, DATA[:8]),
    "begin after end": file({"a": entry(offsets=(8, 0))}, DATA[:8]),
    "float offsets": file({"a": entry(offsets=(0.0, 8.0))}, DATA[:8]),
    "float shape": file({"a": entry(shape=(2.0,))}, DATA[:8]),
    "boolean offset": file({"a": entry("U8", (1,), (False, True))}, DATA[:1]),
    "offsets as text": file({"a": entry(offsets=("0", "8"))}, DATA[:8]),
    "one offset": file({"a": entry(offsets=(0,))}, DATA[:8]),
    "three offsets": file({"a": entry(offsets=(0, 8, 8))}, DATA[:8]),
    "null offsets": file({"a": entry(offsets=None)}, DATA[:8]),
    "offsets beyond 64 bits": file({"a": entry(offsets=(0, 2**64))}, DATA[:8]),
    "offsets of a thousand digits": file({"a": entry(offsets=(0, 10**1000))}, DATA[:8]),
    "shape that overflows": file({"a": entry(shape=(2**40, 2**40, 0), offsets=(0, 0))}, b""),
    "shape product beyond 64 bits": file({"a": entry(shape=(2**32, 2**32), offsets=(0, 8))}, DATA[:8]),
    "negative shape": file({"a": entry(shape=(-1, -2))}, DATA[:8]),
    "shape no list": file({"a": entry(shape=2)}, DATA[:8]),
    "shape as an object": file({"a": entry(shape={"0": 2})}, DATA[:8]),
    "shape of lists": file({"a": entry(shape=[[2]])}, DATA[:8]),
    "unknown dtype": file({"a": entry("Q4_K")}, DATA[:8]),
    "dtype of no size": file({"a": entry("F0", (2,), (0, 0))}, b""),
    "dtype null": file({"a": entry(None)}, DATA[:8]),
    "dtype in small letters": file({"a": entry("f32")}, DATA[:8]),
    "no dtype": file({"a": {"shape": [2], "data_offsets": [0, 8]}}, DATA[:8]),
    "tensor no object": file({"a": [0, 8]}, DATA[:8]),
    "duplicate tensor": file(b'{"a":%b,"a":%b}' % ((json.dumps(A).encode(),) * 2), DATA[:8]),
    "duplicate offsets": file(b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[4,8],"data_offsets":[0,8]}}', DATA[:8]),
    "duplicate metadata": file(b'{"__metadata__":{"a":"1","a":"2"}}', b""),
    "metadata no object": file({"__metadata__": ["a"]}, b""),
    "metadata of numbers": file({"__metadata__": {"a": 1}}, b""),
    "metadata that is deep": file(b'{"__metadata__":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_001, b""),
    "deep lists": file(b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", b""),
    "cut JSON": file(b'{"a":{"dtype":"F32"', b""),
    "a list": file(b'["a"]', b""),
    "spaces first": file(b"  " + json.dumps({"a": A}).encode(), DATA[:8]),
    "not UTF-8": file(b'{"\xff\xfe":' + json.dumps(A).encode() + b"}", DATA[:8]),
    "UTF-16": file(json.dumps({"a": A}).encode("utf-16"), DATA[:8]),
    "something after the object": file(json.dumps({"a": A}).encode() + b"x", DATA[:8]),
    "NUL after the object": file(json.dumps({"a": A}).encode() + b"\0", DATA[:8]),
    "NaN for a size": file(b'{"a":{"dtype":"F32","shape":[NaN],"data_offsets":[0,8]}}', DATA[:8]),
    "header longer than the file": file({"a": A}, DATA[:8], length=10_000),
    "header of more than 100 MB": file({"a": A}, DATA[:8], length=100_000_001),
    "header of 2^63 bytes": file({"a": A}, DATA[:8], length=2**63),
    "header of no bytes": file({"a": A}, DATA[:8], length=0),
    "header of one byte": file({"a": A}, DATA[:8], length=1),
    "seven bytes": b"\x02\0\0\0\0\0\0",
    "nothing": b"",
}
SOUND: dict[str, tuple[bytes, set[str]]] = {
    "no tensor": (file({}, b""), set()),
    "two": (two(A, B), {"a", "b"}),
    "two, written in the other order": (file({"b": B, "a": A}, DATA[:16]), {"a", "b"}),
    "padded with spaces": (file(json.dumps({"a": A}).encode() + b"   ", DATA[:8]), {"a"}),
    "a scalar": (file({"a": entry("F64", (), (0, 8))}, DATA[:8]), {"a"}),
    "empty ones between": (
        file({"z": entry(shape=(0, 3), offsets=(8, 8)), "a": A, "b": B, "e": entry(shape=(0,), offsets=(16, 16))},
             DATA[:16]),
        {"a", "b", "z", "e"},
    ),
    "packed fours": (file({"a": entry("F4", (2,), (0, 1))}, DATA[:1]), {"a"}),
    "more than the format names": (file({"a": {**A, "stride": [1]}}, DATA[:8]), {"a"}),
    "a hundred dimensions": (file({"a": entry(shape=(1,) * 99 + (2,))}, DATA[:8]), {"a"}),
    "metadata": (file({"__metadata__": {"config": "{}"}, "a": A}, DATA[:8]), {"a"}),
}  # fmt: skip
STRICTER = {"duplicate tensor", "duplicate metadata", "spaces first"}
"""Forbidden by the format's text, and let pass by this release of its library."""


def as_sample(path: Path) -> None:
    """The same bytes as a sample in a shard, under a digest that is theirs."""
    data = path.read_bytes()
    (path.parent / "shard.tar").write_bytes(b"\0" * 512 + data)
    ShardReader(path.parent).read("shard.tar", 512, len(data), item_digest(data))


READERS: dict[str, Callable[[Path], Any]] = {
    "header": read_header,
    "base model": open_combined,
    "text encoder": open_text_encoder,
    "adapter": read_lora,
    "checkpoint": read_tensors,
    "sampled latents": load_latents,
    "sample in a shard": as_sample,
}


def test_there_are_enough() -> None:
    assert len(HOSTILE) >= 40


@pytest.mark.parametrize("name", HOSTILE)
def test_every_reader_refuses_it_in_one_line(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    path.write_bytes(HOSTILE[name])
    for kind, read in READERS.items():
        with pytest.raises(CheckpointError) as refused:
            read(path)
        message = str(refused.value)
        assert str(path.parent) in message, kind
        assert "\n" not in message
        assert len(message) < 600 + len(str(path)), kind


@pytest.mark.parametrize("name", sorted(HOSTILE.keys() - STRICTER))
def test_the_formats_own_library_refuses_it_too(name: str, tmp_path: Path) -> None:
    """So that these are the format's rules and not inventions."""
    path = tmp_path / "model.safetensors"
    path.write_bytes(HOSTILE[name])
    with pytest.raises((SafetensorError, OSError, ValueError, OverflowError, RuntimeError)):  # noqa: SIM117
        with safe_open(path, framework="pt") as file:
            [file.get_tensor(key) for key in file.keys()]  # noqa: SIM118 - the library's object is no dict


@pytest.mark.parametrize("name", SOUND)
def test_what_keeps_the_rules_is_read(name: str, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    content, names = SOUND[name]
    path.write_bytes(content)
    header = read_header(path)
    assert header.tensors.keys() == names
    with safe_open(path, framework="pt") as file:
        assert set(file.keys()) == names
    for stored in header.tensors.values():
        assert 8 <= stored.begin <= stored.end <= len(content)


def test_tensors_read_are_those_that_the_library_reads(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    torch.manual_seed(0)
    kinds = (torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.int8, torch.uint8)
    tensors = {f"{kind}".replace(".", "/"): (torch.randn(3, 5) * 9).to(kind) for kind in kinds}
    tensors |= {"scalar": torch.tensor(2.5), "none": torch.empty(0, 4), "yes": torch.tensor([True, False])}
    save_file(tensors, tmp_path / "x.safetensors", {"a": "ä"})
    found, metadata = read_tensors(tmp_path / "x.safetensors")
    wanted = load_file(tmp_path / "x.safetensors")
    assert metadata == {"a": "ä"}
    assert found.keys() == wanted.keys()
    assert all(found[n].dtype == t.dtype and torch.equal(found[n], t) for n, t in wanted.items())
