"""Whatever lists the stages, the options or the deployments agrees with where they are declared."""

import importlib
import re
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from flows.config import RunConfig
from flows.generated import generated_files, options
from flows.prefect_run import as_task
from ltx_core.training.config import TrainSettings
from tasks import STAGES
from tasks.runtime.shared import Shared
from tasks.runtime.stage import Stage
from tests.repo.source import ROOT

GENERATED = generated_files()

each_stage = pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)


def test_run_config_has_a_section_a_stage_and_nothing_else() -> None:
    sections = RunConfig.model_fields.keys() - Shared.model_fields.keys() - {"workspace"}
    assert sections == {stage.name for stage in STAGES}


@each_stage
def test_section_is_the_class_that_the_stage_declares(stage: Stage) -> None:
    assert RunConfig.model_fields[stage.name].annotation is stage.config


@each_stage
def test_every_stage_is_declared_in_a_file_of_its_name(stage: Stage) -> None:
    module = importlib.import_module(f"tasks.stages.{stage.name}")
    assert type(stage).__module__ == module.__name__
    assert module.__doc__ is not None
    assert stage.summary == module.__doc__.splitlines()[0]


def test_every_declared_stage_is_listed() -> None:
    declaring = {
        path.stem
        for path in (ROOT / "tasks" / "stages").glob("*.py")
        if re.search(r"^class \w+\(Stage\[", path.read_text(), re.M)
    }
    assert declaring == {stage.name for stage in STAGES}


def test_needs_come_before() -> None:
    seen: set[str] = set()
    for stage in STAGES:
        assert set(stage.needs) <= seen, f"{stage.name} needs {set(stage.needs) - seen}, which comes later"
        seen.add(stage.name)


def test_rows_name_their_stage() -> None:
    """No two stages make the same kind of row, so that a manifest says whose it is."""
    assert len({stage.makes for stage in STAGES}) == len(STAGES)


def test_every_option_is_described() -> None:
    bare = [name for name, _, text in options(RunConfig) if not text.strip()]
    assert not bare, f"no description: {bare}"


def test_every_section_is_frozen_and_strict() -> None:
    for model in _sections(RunConfig):
        assert model.model_config.get("frozen"), model
        assert model.model_config.get("extra") == "forbid", model


@pytest.mark.parametrize("name", GENERATED)
def test_generated_files_are_fresh(name: str) -> None:
    """The list of options is among them: one that appears, disappears or is renamed shows in a change's diff."""
    assert (ROOT / name).read_text() == GENERATED[name], f"{name} is stale; run `make docs`"


def test_prefect_can_tell_stages_apart() -> None:
    def nothing() -> Any:
        return None

    bound = [as_task(stage, nothing) for stage in STAGES]
    assert len({task.task_key for task in bound}) == len(STAGES)
    assert [task.name for task in bound] == [stage.name for stage in STAGES]


def _deployments() -> list[dict[str, Any]]:
    return list(yaml.safe_load(GENERATED["prefect.yaml"])["deployments"])


def test_every_stage_has_a_deployment() -> None:
    names = [deployment["name"] for deployment in _deployments()]
    assert names == ["ltx2-lora", "retrain", *(f"stage-{stage.name}" for stage in STAGES)]


@pytest.mark.parametrize("deployment", _deployments(), ids=lambda deployment: deployment["name"])
def test_entrypoint_is_a_flow_of_that_name(deployment: dict[str, Any]) -> None:
    path, attribute = deployment["entrypoint"].split(":")
    assert (ROOT / path).is_file()
    module = importlib.import_module(path.removesuffix(".py").replace("/", "."))
    flow = getattr(module, attribute)
    assert flow.name == deployment["name"]
    assert flow.description


def test_no_check_of_a_section_replaces_one_that_it_inherits() -> None:
    """A method of the same name would: pydantic runs the last one alone."""
    replaced = [
        f"{kind.__name__}.{name}"
        for kind in dict.fromkeys(_sections(RunConfig))
        for name in _own_checks(kind)
        if any(name in _own_checks(base) for base in kind.__mro__[1:])
    ]
    assert not replaced


def test_the_search_finds_checks() -> None:
    assert "_methods_agree" in _own_checks(TrainSettings)


def _own_checks(kind: type) -> set[str]:
    """Validators that a class itself has."""
    return {name for name, value in vars(kind).items() if name in _all_checks(kind) and callable(value)}


def _all_checks(kind: type) -> set[str]:
    found = getattr(kind, "__pydantic_decorators__", None)
    return set() if found is None else {*found.model_validators, *found.field_validators}


def _sections(model: type[BaseModel]) -> list[type[BaseModel]]:
    """A configuration class and all classes of its sections."""
    found = [model]
    for field in model.model_fields.values():
        for kind in [field.annotation, *getattr(field.annotation, "__args__", ())]:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                found += _sections(kind)
    return found
