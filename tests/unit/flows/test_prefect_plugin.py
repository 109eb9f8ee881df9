"""A bare deployment name on Prefect's command line becomes the full one; nothing else is touched."""

import sys
from importlib.metadata import entry_points

import pytest

from flows.prefect_plugin import expand, setup_environment
from flows.server.supervise import RUN_COMMAND
from tests.flows.lab import deployment_names


@pytest.mark.parametrize(("bare", "full"), deployment_names().items())
@pytest.mark.parametrize("verb", ["run", "inspect", "delete", "pause", "resume"])
def test_every_bare_name_is_expanded(bare: str, full: str, verb: str) -> None:
    assert expand(["/venv/bin/prefect", "deployment", verb, bare]) == ["/venv/bin/prefect", "deployment", verb, full]


def test_options_before_and_after_stay() -> None:
    typed = ["prefect", "--no-prompt", "deployment", "run", "ltx2-lora", "--watch", "-p", "force=true"]
    assert expand(typed) == [*typed[:4], "ltx2-lora/ltx2-lora", *typed[5:]]


@pytest.mark.parametrize(
    "typed",
    [
        ["prefect", "deployment", "run", "ltx2-lora/ltx2-lora"],
        ["prefect", "deployment", "run", "another"],
        ["prefect", "deployment", "run", "another/ltx2-lora"],
        ["prefect", "deployment", "run"],
        ["prefect", "deployment", "ls"],
        ["prefect", "deployment"],
        ["prefect"],
        [],
        ["prefect", "flow-run", "ls", "ltx2-lora"],
        ["prefect", "work-pool", "inspect", "ltx2-lora"],
        ["prefect", "work-queue", "pause", "ltx2-lora"],
        ["python", "deployment", "run", "ltx2-lora"],
        ["ltx2-lora", "deployment", "run", "ltx2-lora"],
    ],
)
def test_everything_else_is_left_alone(typed: list[str]) -> None:
    assert expand(list(typed)) == typed


def test_the_command_that_up_shows_needs_no_plugin() -> None:
    *words, name = RUN_COMMAND.split()
    assert words == ["prefect", "deployment", "run"]
    assert name == deployment_names()["ltx2-lora"]


def test_the_hook_rewrites_the_command_line_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    typed = ["prefect", "deployment", "run", "retrain"]
    monkeypatch.setattr(sys, "argv", typed)
    setup_environment(ctx=None)
    assert typed == ["prefect", "deployment", "run", "retrain/retrain"]


def test_prefect_finds_the_plugin() -> None:
    (entry,) = entry_points(group="prefect.plugins", name="ltx2-lora")
    assert entry.load().setup_environment
