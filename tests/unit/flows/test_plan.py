"""The plan: what would run and why, as rows and as a table."""

import json
from pathlib import Path

import pytest
from rich.console import Console

from flows.cli.run import plan_table
from flows.config import RunConfig, load_config
from flows.plan import PlannedStage, downloads, latest_manifest, plan, required_manifest, select
from ltx_core.errors import CheckpointError, ConfigError, DataError, LtxError
from ltx_core.tiny.gemma import write_gemma
from ltx_core.tiny.model import write_checkpoint
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
    assert not any(stage.warnings for stage in plan(config, selection))
    odd = load_config(write(model=weights, render_validation={"video_cfg": 9}), {})
    told = {stage.stage.name: stage.warnings for stage in plan(odd, selection) if stage.warnings}
    assert list(told) == ["render_validation"]
    assert "video_cfg is 9; outside 2 to 6" in told["render_validation"][0]


@pytest.mark.usefixtures("config")
def test_adapters_are_looked_at_before_anything_is_planned(write: Write, weights: dict[str, str]) -> None:
    section = {"adapters": ["absent.safetensors"]}
    with pytest.raises(CheckpointError, match=r"absent\.safetensors does not exist"):
        list(plan(load_config(write(model=weights, render_validation=section), {}), select(None, None, force=False)))


@pytest.mark.usefixtures("config")
def test_adapters_of_the_hub_are_asked_for_before_anything_is_planned(write: Write, weights: dict[str, str]) -> None:
    """Tests have HF_HUB_OFFLINE set; what the hub itself answers, the tests of `locate` see."""
    config = load_config(write(model=weights, render_validation={"adapters": ["owner/name:a.safetensors"]}), {})
    with pytest.raises(CheckpointError, match=r"a\.safetensors of owner/name .*HF_HUB_OFFLINE forbids"):
        downloads(config, select(None, None, force=False))
    assert downloads(config, select("probe", None, force=False)) == ()


def test_missing_footage_is_told(write: Write, weights: dict[str, str]) -> None:
    with pytest.raises(DataError, match="dataset 'clips'"):
        list(plan(load_config(write(model=weights), {}), select(None, None, force=False)))


def test_what_lies_here_is_told_before_the_hub_is_asked(write: Write, tmp_path: Path, weights: dict[str, str]) -> None:
    """Tests have HF_HUB_OFFLINE set, so that a question to the hub is an error that names it."""
    remote, all_stages = {"checkpoint": "owner/name", "text_encoder": "owner/gemma"}, select(None, None, force=False)
    with pytest.raises(DataError, match=r"dataset 'clips': .*footage is not there"):
        downloads(load_config(write(model=remote), {}), all_stages)
    (tmp_path / "footage").mkdir()
    with pytest.raises(DataError, match="no media files under"):
        downloads(load_config(write(model=remote), {}), all_stages)
    (tmp_path / "footage" / "a.mp4").write_bytes(b"not looked into")
    for section, told in (
        ({"prompts": {"images": [{"image": "absent.png", "prompt": "A dog."}]}}, r"absent\.png"),
        ({"render_validation": {"adapters": ["absent.safetensors"]}}, r"absent\.safetensors does not exist"),
        ({"render_validation": {"clip_model": "./absent"}}, "is no CLIP model"),
        ({"train_lora": {"crepa": {}}, "embed_frames": {"encoder": "./absent"}}, r"embed_frames\.encoder .*absent"),
        ({"model": {**weights, "text_encoder": "./absent"}}, r"model\.text_encoder .*absent is not there"),
    ):
        with pytest.raises(LtxError, match=told):
            downloads(load_config(write(**{"model": remote, **section}), {}), all_stages)
    for section in ({}, {"model": {**weights, "text_encoder": "owner/gemma"}}):
        with pytest.raises(CheckpointError, match=r"HF_HUB_OFFLINE forbids|is not downloaded yet"):
            downloads(load_config(write(**{"model": remote, **section}), {}), all_stages)


@pytest.mark.usefixtures("config")
def test_a_model_that_lies_here_is_whole_before_a_text_encoder_is_downloaded(
    write: Write, tmp_path: Path, weights: dict[str, str]
) -> None:
    """Only its header is looked at: a hole stands for all that is not it."""
    whole, torn = Path(weights["checkpoint"]), tmp_path / "less.safetensors"
    length = int.from_bytes(whole.read_bytes()[:8], "little")
    content = json.loads(whole.read_bytes()[8 : 8 + length])
    last = max((name for name in content if name != "__metadata__"), key=lambda n: content[n]["data_offsets"][1])
    begin, _ = content.pop(last)["data_offsets"]
    raw = json.dumps(content).encode()
    torn.write_bytes(len(raw).to_bytes(8, "little") + raw + bytes(begin))
    model = {"checkpoint": str(torn), "text_encoder": "owner/gemma"}
    with pytest.raises(CheckpointError, match=r"less\.safetensors lacks \S+ \(names in the module\)"):
        downloads(load_config(write(model=model), {}), select(None, None, force=False))


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
    assert [line[5] for line in lines] == ["reuse", "run"]
    assert "0123456789abcdef" in captured.get()
