"""`ltx2-lora train`: finds its configuration, and tells what differs before anything runs."""

import json
from pathlib import Path

import pytest

from flows.cli.app import main
from ltx_core.tiny.gemma import write_gemma
from ltx_core.tiny.model import write_checkpoint

pytestmark = pytest.mark.whole


def test_without_a_configuration_it_says_where_it_looked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["train"]) == 1
    assert "no ltx2-lora.yaml nor config/config.json" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["train", pytest.param("plan", marks=pytest.mark.extra)])
def test_what_differs_is_told_before_anything_runs(
    project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: str
) -> None:
    """There is no footage, so nothing runs."""
    path = project / "config" / "config.json"
    checkpoint, gemma = write_checkpoint(project / "m.safetensors", "2.0", 0), write_gemma(project / "gemma", 0)
    weights = {"pretrained_model_name_or_path": str(checkpoint), "pretrained_gemma_model_name_or_path": str(gemma)}
    path.write_text(json.dumps(json.loads(path.read_text()) | weights))
    monkeypatch.chdir(project)
    assert main([command] if command == "train" else [command, str(path)]) == 1
    told = capsys.readouterr()
    assert "footage" in told.err or "media" in told.err
    if command == "train":
        assert "warning: dataset my-video-dataset, repeats: 10 beside the first use" in " ".join(told.err.split())
        assert not (project / "output").joinpath("stages").exists()
