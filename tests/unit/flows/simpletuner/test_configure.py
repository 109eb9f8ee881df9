"""`ltx2-lora configure`: a configuration that loads, from flags or from answers, never over another file."""

import io
from pathlib import Path

import pytest
import yaml

from flows.cli.app import main
from flows.config import load_config
from flows.configure import FITS, GOALS, annotated

FLAGS = ["--footage", "footage", "--gpu-gib", "24", "--goal", "style"]


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("footage", "my footage"):
        (tmp_path / name).mkdir()


class Terminal(io.StringIO):
    """Answers that a person types."""

    def isatty(self) -> bool:
        return True


def test_every_question_has_a_flag(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["configure", *FLAGS, "--output", "deep/run.yaml"]) == 0
    config = load_config(tmp_path / "deep" / "run.yaml", {})
    assert config.datasets[0].instance_data_dir == tmp_path / "footage"
    assert (config.memory.gpu_gib, config.train_lora.rank) == (24, GOALS["style"].rank)
    assert "ltx2-lora plan deep/run.yaml" in capsys.readouterr().out


def test_what_no_flag_says_is_asked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("my footage\n\nmotion\n"))
    assert main(["configure"]) == 0
    config = load_config(tmp_path / "ltx2-lora.yaml", {})
    assert config.datasets[0].instance_data_dir == tmp_path / "my footage"
    assert config.datasets[0].video.num_frames == GOALS["motion"].num_frames
    assert config.memory.gpu_gib == 24, "an empty answer"


def test_a_wrong_answer_is_told_at_once_and_asked_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("away\nfootage\nmuch\n16\ndance\ntry\n"))
    assert main(["configure"]) == 0
    out = capsys.readouterr().out
    for told in ("'away', which is not there", "'much'; a number of GiB", "the goal is 'dance'"):
        assert out.count(told) == 1
    assert load_config(tmp_path / "ltx2-lora.yaml", {}).memory.gpu_gib == 16


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (FLAGS[2:], "nobody can be asked here; give --footage"),
        (["--footage", "footage"], "give --gpu-gib, --goal"),
        (["--footage", "away", *FLAGS[2:]], "the folder with the footage is 'away', which is not there"),
        (["--footage", "ours.yaml", *FLAGS[2:]], "'ours.yaml', which is a file; name a folder of videos"),
        ([*FLAGS[:2], "--gpu-gib", "-1", "--goal", "try"], "a number of GiB above 0 is wanted"),
        (["--guide", "none.json"], "there is no configuration file none.json"),
        (["--guide", "ours.yaml"], "ours.yaml has none of the guide's options"),
    ],
)
def test_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], told: str) -> None:
    (tmp_path / "ours.yaml").write_text("model: {checkpoint: m}\ndatasets: [{id: a, instance_data_dir: f}]\n")
    assert main(["configure", *words]) == 1
    assert told in capsys.readouterr().err
    assert not (tmp_path / "ltx2-lora.yaml").exists()


def test_no_file_is_overwritten(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ltx2-lora.yaml").write_text("mine")
    assert main(["configure", *FLAGS]) == 1
    assert "is there already and is left as it is" in capsys.readouterr().err
    assert (tmp_path / "ltx2-lora.yaml").read_text() == "mine"


@pytest.mark.parametrize("goal", GOALS)
@pytest.mark.parametrize("gpu_gib", [16, 24, 40, 80])
@pytest.mark.parametrize("flavour", ["dev", "2.5-dev"])
def test_whatever_is_answered_loads(tmp_path: Path, goal: str, gpu_gib: float, flavour: str) -> None:
    (tmp_path / "run.yaml").write_text(annotated(Path('it\'s: "mine" # ä'), gpu_gib, goal, flavour=flavour))
    config = load_config(tmp_path / "run.yaml", {})
    assert config.datasets[0].instance_data_dir.name == 'it\'s: "mine" # ä'
    assert (config.model.text_encoder is None) == (flavour == "2.5-dev")
    assert config.train_lora.steps == GOALS[goal].steps


def test_less_memory_asks_for_less() -> None:
    assert [fit.gib for fit in FITS] == sorted((fit.gib for fit in FITS), reverse=True)
    made = [yaml.safe_load(annotated(Path("f"), g, "try")) for g in (80, 40, 24, 16)]
    assert [m["train_lora"]["base_precision"] for m in made] == ["native", "int8", "int8", "int8"]
    assert [m["datasets"][0]["resolution"] for m in made] == [768, 512, 512, 480]
    assert {m["train_lora"]["offloaded_blocks"] for m in made} == {"auto"}, "the memory plan chooses"
    assert {m["train_lora"]["batch_size"] for m in made} == {1}


def test_a_file_of_the_guide_is_written_as_ours(project: Path, tmp_path: Path) -> None:
    source = project / "config" / "config.json"
    assert main(["configure", "--guide", str(source), "--output", "ours.yaml"]) == 0
    assert load_config(tmp_path / "ours.yaml", {}) == load_config(source, {})
    text = (tmp_path / "ours.yaml").read_text()
    assert "# - lycoris_config: has no effect" in text
    assert len(yaml.safe_load(text)["train_lora"]) > 5
