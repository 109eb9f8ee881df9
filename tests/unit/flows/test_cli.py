"""The command line itself: help, version, what a shell completes, and what it says to words that it does not know."""

import io
import os
import re
import tomllib
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest

from flows.cli.app import COMMANDS, main
from flows.configure import GOALS
from tasks import STAGES
from tests.unit.flows.conftest import Write

ROOT = Path(__file__).parents[3]
LISTED = [command.name for command in COMMANDS if not command.hidden]


def said(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> str:
    """Both streams of a command that ends with that code."""
    assert main(words) == code
    captured = capsys.readouterr()
    assert "Traceback" not in captured.err
    return captured.out + captured.err


@pytest.fixture
def completed(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> "Completed":
    return Completed(monkeypatch, capsys)


class Completed:
    """Asks as bash does when TAB is pressed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
        self._monkeypatch, self._capsys = monkeypatch, capsys

    def __call__(self, line: str) -> list[str]:
        self._monkeypatch.setenv("_LTX2_LORA_COMPLETE", "complete_bash")
        self._monkeypatch.setenv("COMP_WORDS", line)
        self._monkeypatch.setenv("COMP_CWORD", str(len(line.split(" ")) - 1))
        assert main([]) == 0
        return self._capsys.readouterr().out.split()


def test_help_lists_every_command_that_is_not_hidden_under_a_title(capsys: pytest.CaptureFixture[str]) -> None:
    text = said(capsys, "--help")
    titles = re.findall(r"^(\w[\w ]*):$", text, re.M)
    assert titles == ["Options", "Get started", "Run", "Look", "Operate"]
    assert re.findall(r"^  (\w+) +\w", text.split("Get started:")[1], re.M) == LISTED
    assert {command.name for command in COMMANDS} - set(LISTED) == {"train", "docs"}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_each_command_explains_itself(capsys: pytest.CaptureFixture[str], command: Any, flag: str) -> None:
    text = said(capsys, command.name, flag)
    assert f"Usage: ltx2-lora {command.name} " in text
    assert command.summary in " ".join(text.split())


def test_the_version_is_that_of_the_project(capsys: pytest.CaptureFixture[str]) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert said(capsys, "--version") == f"{project['name']} {project['version']}\n"


def test_no_command_at_all_is_answered_with_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Get started:" in said(capsys, code=2)


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["verfy", "run.yaml"], "No such command 'verfy'. Did you mean 'verify'?"),
        (["plan", "run.yaml", "--forse"], "No such option: --forse (Possible options: --force"),
        (["--verson"], "No such option: --verson (Possible options: --version"),
        (["plan", "run.yaml", "--only", "splt"], "'--only': 'splt' is none of probe, split, "),
        (["run", "run.yaml", "--from", "Probe"], "'--from': 'Probe' is none of probe, split, "),
        (["configure", "--goal", "dance"], f"'--goal': 'dance' is none of {', '.join(GOALS)}."),
        (["configure", "--flavour", "2.9"], "'--flavour': '2.9' is none of dev, "),
        (["miniature", "toy", "--generation", "3"], "'--generation': '3' is none of 2.0, 2.3, 2.5."),
        (["miniature", "toy", "--seed", "x"], "'--seed': Input should be a valid integer"),
        (["gc", "run.yaml", "--older-than", "day"], "'--older-than': Input should be a valid number"),
        (["plan"], "Missing argument 'CONFIG'"),
        (["plan", "run.yaml", "other.yaml"], "Got unexpected extra argument(s) (other.yaml)"),
        (["plan", "run.yaml", "--set"], "Option '--set' requires an argument."),
    ],
)
def test_words_that_it_does_not_know(capsys: pytest.CaptureFixture[str], words: list[str], answer: str) -> None:
    assert answer in " ".join(said(capsys, *words, code=2).split())


def test_a_shell_completes_commands_options_and_names(completed: Completed) -> None:
    assert completed("ltx2-lora ") == LISTED
    assert completed("ltx2-lora ver") == ["verify"]
    assert completed("ltx2-lora gc --ke") == ["--keep-runs"]
    assert completed("ltx2-lora run --only ") == [stage.name for stage in STAGES]
    assert completed("ltx2-lora plan run.yaml --from em") == ["embed_text", "embed_frames"]
    assert completed("ltx2-lora configure --goal s") == ["subject", "style"]


@pytest.mark.parametrize("name", [b"", b"caf\xe9.yaml"], ids=["a folder", "no UTF-8"])
def test_whatever_is_named_is_judged_in_our_words(tmp_path: Path, name: bytes) -> None:
    """Linux takes any bytes for a name; Python hands those that are no UTF-8 on as lone surrogates."""
    told = io.StringIO()
    with redirect_stderr(told):
        assert main(["plan", str(tmp_path / os.fsdecode(name))]) == 1
    assert told.getvalue().startswith("ConfigError: ")


def test_run_and_train_are_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What one takes, the other does, and neither needs a configuration to be named."""
    monkeypatch.chdir(tmp_path)
    helps = [said(capsys, name, "--help").split("Arguments:")[1] for name in ("run", "train")]
    assert helps[0] == helps[1]
    for name in ("run", "train"):
        assert "no ltx2-lora.yaml nor config/config.json" in said(capsys, name, code=1)
        (tmp_path / "ltx2-lora.yaml").write_text("datasets: 3")
        assert "ltx2-lora.yaml" in said(capsys, name, "--only", "probe", code=1)
        (tmp_path / "ltx2-lora.yaml").unlink()


def test_overrides_add_up(write: Write, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["plan", str(write()), "--set", "train_lora.steps=7", "--set=train_lora.rnk=8", "--set", "probe.x=1"]
    text = said(capsys, *words, code=1)
    assert "train_lora.rnk" in text
    assert "probe.x" in text
