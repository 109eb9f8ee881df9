"""The plan: what would run and why, as rows and as a table."""

from pathlib import Path

import pytest
from rich.console import Console

from flows.commands.plan import plan_table
from flows.config import RunConfig, load_config
from flows.plan import PlannedStage, downloads, latest_manifest, plan, required_manifest
from flows.selection import select
from ltx_core.errors import CheckpointError, ConfigError, DataError
from ltx_core.miniature.gemma import write_gemma
from ltx_core.miniature.model import write_checkpoint
from tasks import STAGES
from tests.unit.flows.conftest import Write


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Real weights, the toy ones."""
    folder = tmp_path_factory.mktemp("weights")
    checkpoint, gemma = write_checkpoint(folder / "ltx.safetensors", "2.0", 0), write_gemma(folder / "gemma", 0)
    return {"checkpoint": str(checkpoint), "text_encoder": str(gemma)}


@pytest.fixture
def config(write: Write, tmp_path: Path, weights: dict[str, str]) -> RunConfig:
    """Weights, and a file that looks like media as far as a plan looks."""
    (tmp_path / "footage").mkdir()
    (tmp_path / "footage" / "a.mp4").write_bytes(b"not looked into")
    return load_config(write(model=weights), {})


def test_nothing_ran_yet(config: RunConfig) -> None:
    first, second, *_, last = plan(config, select(None, None, force=False))
    assert (first.stage.name, first.will_run, first.why) == ("probe", True, "never run")
    assert first.key is not None
    assert (second.key, second.will_run, second.why) == (None, True, "after probe")
    assert last.why == "after train_lora, render_validation"
    assert not config.workspace.joinpath("stages").exists()


def test_a_plan_covers_what_is_selected(config: RunConfig) -> None:
    planned = list(plan(config, select("split", None, force=False)))
    assert [(one.stage.name, one.why) for one in planned] == [("split", "after probe")]


def test_missing_weights_are_told_before_anything_is_planned(write: Write) -> None:
    with pytest.raises(CheckpointError, match=r"model\.checkpoint"):
        list(plan(load_config(write(), {}), select(None, None, force=False)))


def test_what_is_likely_not_meant_is_told(config: RunConfig, write: Write, weights: dict[str, str]) -> None:
    selection = select(None, None, force=False)
    assert not any(stage.notices for stage in plan(config, selection))
    odd = load_config(write(model=weights, render_validation={"video_cfg": 9}), {})
    told = {stage.stage.name: stage.notices for stage in plan(odd, selection) if stage.notices}
    assert list(told) == ["render_validation"]
    assert "video_cfg is 9; outside 2 to 6" in told["render_validation"][0]


def test_adapters_are_looked_at_before_anything_is_planned(write: Write, weights: dict[str, str]) -> None:
    section = {"adapters": ["absent.safetensors"]}
    with pytest.raises(CheckpointError, match=r"absent\.safetensors does not exist"):
        list(plan(load_config(write(model=weights, render_validation=section), {}), select(None, None, force=False)))


def test_adapters_of_the_hub_are_asked_for_before_anything_is_planned(write: Write, weights: dict[str, str]) -> None:
    """Tests have HF_HUB_OFFLINE set; what the hub itself answers, the tests of `locate` see."""
    config = load_config(write(model=weights, render_validation={"adapters": ["owner/name:a.safetensors"]}), {})
    with pytest.raises(CheckpointError, match=r"a\.safetensors of owner/name .*HF_HUB_OFFLINE forbids"):
        downloads(config, select(None, None, force=False))
    assert downloads(config, select("probe", None, force=False)) == ()


def test_missing_footage_is_told(write: Write, weights: dict[str, str]) -> None:
    with pytest.raises(DataError, match="dataset 'clips'"):
        list(plan(load_config(write(model=weights), {}), select(None, None, force=False)))


def test_a_stage_that_never_finished_cannot_be_built_upon(config: RunConfig) -> None:
    assert latest_manifest(STAGES[0], config.place()) is None
    with pytest.raises(ConfigError, match="stage probe has no result"):
        required_manifest(STAGES[0], config.place())


def test_the_table_says_what_would_happen() -> None:
    rows = [PlannedStage(STAGES[0], "0123456789abcdef", False, "unchanged"), PlannedStage(STAGES[1], None, True, "why")]
    console = Console(width=100)
    with console.capture() as captured:
        console.print(plan_table(rows))
    lines = [line.split() for line in captured.get().splitlines() if "│" in line]
    assert [line[1::2][0] for line in lines] == ["probe", "split"]
    assert "be reused" in captured.get()
    assert "0123456789abcdef" in captured.get()
