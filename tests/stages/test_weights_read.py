"""Weights are read once for their digest, and whoever waits for that is told."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
import yaml

from flows import run
from flows.cli.app import main
from flows.plan import select
from flows.run_tracking import Tracked
from ltx_core.io import digest
from tests.stages.bench import Bench
from tests.stages.test_child import Listener

pytestmark = pytest.mark.whole


class Heard(Listener):
    """A listener that knows what was said of weights."""

    def __init__(self) -> None:
        super().__init__()
        self.weights: list[tuple[str, int]] = []

    def started(self, stage: str, why: str) -> None:
        if stage == "weights":
            self.weights.append((why, 0))

    def advanced(self, stage: str, done: int, total: int, unit: str) -> None:
        if stage == "weights":
            self.weights.append((unit, done))


def test_a_run_and_a_plan_tell_that_they_read_weights(
    bench: Bench, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    """What is known of a finished workspace's files is forgotten, so that its plan and its run read them."""
    monkeypatch.setattr(digest, "SHOWN_BYTES", 2**16)
    config, known = tmp_path / "ltx2-lora.yaml", bench.workspace / "pool" / "media.parquet"
    config.write_text(yaml.safe_dump(bench.values))
    known.unlink()
    assert main(["plan", str(config)]) == 0
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("weights: reading the files once")]
    assert told
    assert all(line.endswith("MiB of checkpoint.safetensors") for line in told if "checkpoint" in line)
    known.unlink()
    heard, tracked = Heard(), SimpleNamespace(begin=_ignored, finish=_ignored, advanced=_ignored)
    results = run._run(bench.config, select(None, None, force=False), heard, cast(Tracked, tracked), run._plainly)
    assert not any(result.built for result in results)
    assert "reading the files once, since results are named by their content" in {said for said, _ in heard.weights}
    assert any(said.startswith("MiB of ") for said, _ in heard.weights)
    heard.weights.clear()
    run._run(bench.config, select(None, None, force=False), heard, cast(Tracked, tracked), run._plainly)
    assert not heard.weights, "once"


def _ignored(*_: object) -> None:
    """Nothing is tracked."""
