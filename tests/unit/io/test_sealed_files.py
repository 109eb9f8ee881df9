"""Files of the workspace carry their digest: no changed bit is ever read as something else."""

import json
import logging
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from datasets_spec import DamagedError, Manifest, Quarantined, QuarantineReason, manifest_table
from ltx_core.io.digest import DigestMemo
from ltx_core.io.json_file import parse_json, parse_object, read_json, write_json
from ltx_core.io.table_file import read_table, write_table
from ltx_core.store.json_items import ItemStore
from tests.stages.bench import Notes

VALUES: list[dict[str, Any]] = [
    {},
    {"step": 2, "losses": [0.1, 1e-300, float("inf")], "none": None, "text": "Käse \U0001f9c0 \\ud800"},
    {"value": (1, 2)},
    {"2": 1, "10": {"b": True, "a": False}},
]


@pytest.mark.parametrize("value", VALUES)
def test_json_comes_back_as_it_was(value: dict[str, Any], tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", value, indent=2)
    assert read_json(tmp_path / "a.json") == json.loads(json.dumps(value))


ONE, EVERY = 1, 8
bits = pytest.mark.parametrize("bits", [ONE, pytest.param(EVERY, marks=pytest.mark.extra)], ids=["one", "every"])
"""So many of each byte."""


@bits
def test_no_changed_bit_of_a_json_file_is_read_as_another_value(bits: int, tmp_path: Path) -> None:
    path, value = tmp_path / "state.json", VALUES[1]
    write_json(path, value)
    _no_wrong_read(path, lambda: read_json(path), value, bits)


def test_another_file_in_its_place_is_noticed(tmp_path: Path) -> None:
    write_json(tmp_path / "a.json", {"value": 1})
    (tmp_path / "a.json").rename(tmp_path / "b.json")
    with pytest.raises(DamagedError, match=r"b\.json is damaged: its values are not those .*verify CONFIG --repair"):
        read_json(tmp_path / "b.json")


def test_a_changed_step_is_not_believed(tmp_path: Path) -> None:
    write_json(tmp_path / "state.json", {"step": 2})
    content = json.loads((tmp_path / "state.json").read_text())
    (tmp_path / "state.json").write_text(json.dumps(content | {"step": 3}))
    with pytest.raises(DamagedError):
        read_json(tmp_path / "state.json")


@pytest.mark.parametrize(
    "content", [b"", b"\0" * 90, b"[1]", b'{"a": 1}', b"\xff\xfe", b"[" * 100_000, b'{"a":1,"a":2}']
)
def test_what_is_no_file_of_ours_is_named(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(DamagedError, match=r"a\.json is damaged: it"):
        read_json(tmp_path / "a.json")


@pytest.mark.parametrize("text", ['{"a": 1, "a": 2}', "[" * 200_000, "{" * 3, b"\xff", "9" * 5000])
def test_json_of_others_is_parsed_strictly(text: str | bytes) -> None:
    with pytest.raises(ValueError, match=r"twice|deep|Expecting|decode|digits"):
        parse_json(text)


def test_another_value_than_an_object_is_refused() -> None:
    with pytest.raises(ValueError, match="holds list, and an object is wanted"):
        parse_object("[]")


@bits
def test_no_changed_bit_of_a_table_is_read_as_other_rows(bits: int, tmp_path: Path) -> None:
    path = tmp_path / "t.parquet"
    table = pa.table({"key": ["a", "ltx2.file_sha256"], "size": [1, 2]}).replace_schema_metadata({"kind": "index"})
    write_table(path, table)
    _no_wrong_read(path, lambda: read_table(path, table.column_names), table, bits)


def test_any_parquet_reader_reads_it(tmp_path: Path) -> None:
    table = pa.table({"number": [1, 2, 3]})
    write_table(tmp_path / "t.parquet", table)
    assert pq.read_table(tmp_path / "t.parquet").to_pydict() == table.to_pydict()


@bits
def test_a_manifest_is_looked_at_each_time_it_is_read(bits: int, tmp_path: Path) -> None:
    rows = [
        Quarantined(item=str(i), source="s", reason=QuarantineReason.BLACK, detail="black", path="p") for i in range(9)
    ]
    manifest = Manifest(tmp_path / "manifest.parquet", Quarantined)
    write_table(manifest.path, manifest_table(Quarantined, rows))
    _no_wrong_read(manifest.path, lambda: list(Manifest(manifest.path, Quarantined)), rows, bits, every=5)
    assert list(manifest) == rows
    manifest.path.write_bytes(manifest.path.read_bytes()[:-1])
    for read in (list, len):
        with pytest.raises(DamagedError, match=r"manifest\.parquet is damaged"):
            read(manifest)
    with pytest.raises(DamagedError):
        Manifest(manifest.path, Quarantined).digest  # noqa: B018 - reading it is what is looked at


def test_a_damaged_item_is_made_again_and_said(tmp_path: Path) -> None:
    notes = Notes()
    store = ItemStore(tmp_path, notes)
    store.put("abcd", [1, 2])
    (file,) = tmp_path.rglob("*.json")
    file.write_bytes(file.read_bytes().replace(b"2", b"3", 1))
    assert store.get("abcd") is None
    assert [note for note in notes.told if "abcd.json is damaged" in note and note.endswith("it is made again")]
    store.put("abcd", [1, 2])
    assert store.get("abcd") == [1, 2]


def test_a_damaged_memo_is_made_again_and_said_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ltx_core.io.digest.GRANULARITY_NS", -1)  # else a file this young is not remembered
    file, store = tmp_path / "file", tmp_path / "memo.parquet"
    file.write_bytes(b"content")
    memo = DigestMemo(store)
    digest = memo.get(file)
    memo.save()
    store.write_bytes(store.read_bytes()[:-9])
    with caplog.at_level(logging.WARNING):
        again = DigestMemo(store)
        DigestMemo(store)
    assert [record.message for record in caplog.records if "memo.parquet is damaged" in record.message] == [
        record.message for record in caplog.records
    ]
    assert len(caplog.records) == 1
    assert again.get(file) == digest


def _no_wrong_read(path: Path, read: Any, wanted: Any, bits: int, *, every: int = 1) -> None:
    """Flip so many bits in turn (of every so many bytes), then cut at random places: the same, or a DamagedError."""
    data = path.read_bytes()
    flipped = [(place, 1 << (place + bit) % 8) for place in range(0, len(data), every) for bit in range(bits)]
    cut = [random.Random(0).randrange(len(data)) for _ in range(40)]
    refused = 0
    for changed in (*(_flipped(data, *one) for one in flipped), *(data[:length] for length in cut)):
        path.write_bytes(changed)
        try:
            found = read()
        except DamagedError:
            refused += 1
        else:
            assert found == json.loads(json.dumps(wanted)) if isinstance(wanted, dict) else found == wanted
    path.write_bytes(data)
    assert refused > 0.9 * len(flipped)


def _flipped(data: bytes, place: int, mask: int) -> bytes:
    return data[:place] + bytes([data[place] ^ mask]) + data[place + 1 :]
