"""The guard of `tests/conftest.py` sees what a test may leave behind."""

import os
from pathlib import Path

import pytest
import torch

from tests.process_state import differences, process_state


def test_nothing_changed_is_no_difference() -> None:
    assert differences(process_state(), process_state()) == []


def test_a_kernel_that_was_turned_off_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    before = process_state()
    monkeypatch.setattr(torch.backends.cuda, "flash_sdp_enabled", lambda: False)
    (found,) = differences(before, process_state())
    assert found == "attention kernels: (True, True, True, True) -> (False, True, True, True)"


def test_environment_and_folder_are_told_by_name(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("LTX2_TESTS", "1")
    before = process_state()
    monkeypatch.setenv("LTX2_TESTS", "2")
    monkeypatch.chdir(tmp_path)
    found = differences(before, process_state())
    assert found == [
        f"working directory: {before['working directory']} -> {tmp_path}",
        "environment: LTX2_TESTS: '1' -> '2'",
    ]


def test_what_pytest_and_the_compiler_set_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    before = process_state()
    for name in ("PYTEST_CURRENT_TEST", "TORCHINDUCTOR_CACHE_DIR", "_TORCHINDUCTOR_PYOBJECT_TENSOR_DATA_PTR"):
        monkeypatch.setenv(name, "another")
    assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == "another"
    assert differences(before, process_state()) == []
