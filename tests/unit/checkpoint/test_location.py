from pathlib import Path

import pytest

from ltx_core.hub.repository import absolute_location, is_repository


@pytest.mark.parametrize("location", ["Lightricks/LTX-2", "google/gemma-3-12b-it-qat-q4_0-unquantized"])
def test_what_is_not_here_and_looks_like_a_repository_stays_one(location: str, tmp_path: Path) -> None:
    assert absolute_location(location, tmp_path) == location
    assert is_repository(location)


def test_what_is_here_is_a_path_whatever_it_looks_like(tmp_path: Path) -> None:
    (tmp_path / "Lightricks" / "LTX-2").mkdir(parents=True)
    assert absolute_location("Lightricks/LTX-2", tmp_path) == str(tmp_path / "Lightricks" / "LTX-2")


def test_a_misspelt_path_below_a_folder_that_is_here_is_no_repository(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    assert absolute_location("models/gema", tmp_path) == str(tmp_path / "models" / "gema")


@pytest.mark.parametrize("location", ["model/ltx.safetensors", "./a/b", "../a", "ltx", "a/b/c", "/a/b"])
def test_what_can_only_be_a_path_is_one(location: str, tmp_path: Path) -> None:
    assert not is_repository(location)
    assert absolute_location(location, tmp_path) == str((tmp_path / location).resolve())


def test_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert absolute_location("~/gemma", Path("/elsewhere")) == str(tmp_path / "gemma")
