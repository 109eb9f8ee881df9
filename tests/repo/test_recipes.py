"""The configurations of docs/recipes are taken as they stand."""

import re
from pathlib import Path

import pytest
import yaml

from flows.config import load_config
from tests.repo.source import ROOT

PAGES = sorted((ROOT / "docs/recipes").glob("*.md"))


def test_there_are_pages() -> None:
    assert len(PAGES) >= 4


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_recipes_configuration_is_one(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (block,) = re.findall(r"```yaml\n(.*?)```", page.read_text(), re.S)
    (tmp_path / "footage").mkdir()
    (tmp_path / "ltx2-lora.yaml").write_text(block)
    monkeypatch.chdir(tmp_path)
    config = load_config(tmp_path / "ltx2-lora.yaml", {})
    assert config.datasets[0].instance_data_dir == tmp_path / "footage"
    given = yaml.safe_load(block)["train_lora"]
    taken = config.train_lora.model_dump(mode="json")
    assert {name: taken[name] for name in given} == given
