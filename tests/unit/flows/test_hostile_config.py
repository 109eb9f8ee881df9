"""Configurations that nobody means: one message each, and never a traceback, a full memory or a wrong value."""

import json
import os
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from flows.cli.app import main
from flows.config import RunConfig, load_config
from ltx_core.errors import ConfigError
from tests.unit.flows.conftest import Write

BOMB = "a: &a [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 10)}]\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
MERGES = "a: &a {x: 1}\n" + "".join(
    f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 10)}]}}\n" for old, new in zip("abcdefgh", "bcdefghi", strict=True)
)
FILES: dict[str, tuple[bytes, str]] = {
    "alias bomb": (BOMB.encode(), r"some \de\+\d+ values; at most"),
    "bomb of merges": (MERGES.encode(), r"some \de\+\d+ values; at most"),
    "an alias of itself": (b"a: &a [*a]\n", "names what it is part of"),
    "deep lists": (b"[" * 20_000, "nested too deeply"),
    "deep and closed": (b"a: " + b"[" * 150 + b"]" * 150, "nested more than 100 deep"),
    "deep by indentation": (b"".join(b" " * i + b"a:\n" for i in range(900)), "deep"),
    "huge": (b"#" * (2**22 + 1), r"4194305 bytes; at most 4194304 are read"),
    "twice in one section": (b"workspace: a\nworkspace: b\n", r"'workspace' is given twice .*line 2"),
    "twice, quoted": (b"workspace: a\n'workspace': b\n", "'workspace' is given twice"),
    "UTF-16": ("workspace: a\n".encode("utf-16"), "is no text in UTF-8 .UTF-16.; save it as UTF-8"),
    "binary": (bytes(range(128, 256)), "is no text in UTF-8"),
    "NUL": (b"workspace: a\0b\n", "is not valid YAML"),
    "NUL, escaped": (b'workspace: "a\\0b"\n', "option 'workspace' holds a NUL character"),
    "NUL in a name": (b'"a\\0b": 1\n', "holds a NUL character"),
    "empty": (b"", "is empty, wanted a mapping"),
    "a comment alone": (b"# nothing\n", "is empty, wanted a mapping"),
    "two documents": (b"a: 1\n---\nb: 2\n", "is not valid YAML"),
    "a number of 5,000 digits": (b"train_lora: {steps: " + b"9" * 5000 + b"}\n", "is not valid YAML: .*digits"),
    "a number of 400 digits": (
        b"train_lora: {steps: " + b"9" * 400 + b"}\n",
        r"train_lora\.steps' is a number of some",
    ),
    "infinity": (b"train_lora: {learning_rate: .inf}\n", r"train_lora\.learning_rate' is inf; a finite number"),
    "no number": (b"train_lora: {learning_rate: .nan}\n", r"train_lora\.learning_rate' is nan; a finite number"),
    "a float that overflows": (b"train_lora: {learning_rate: 1.0e+400}\n", "is inf; a finite number"),
    "a name that is a number": (b"train_lora: {1: 2}\n", "1 in train_lora is no name of an option"),
    "a name that is a list": (b"? [a]\n: 1\n", "is not valid YAML"),
    "code": (b"a: !!python/object/apply:os.system [echo]\n", "is not valid YAML"),
    "a date": (b"workspace: 2001-01-01\n", "option 'workspace' is"),
    "a set": (b"workspace: !!set {a, b}\n", "option 'workspace' is"),
}
JSON_FILES: dict[str, tuple[bytes, str]] = {
    "deep JSON": (b"[" * 100_000, "nested too deeply"),
    "deep JSON, closed": (b'{"a":' * 500 + b"1" + b"}" * 500, "nested more than 100 deep"),
    "twice in JSON": (b'{"workspace": "a", "workspace": "b"}', "key 'workspace' is given twice"),
    "NaN in JSON": (b'{"train_lora": {"learning_rate": NaN}}', "is nan; a finite number"),
    "NUL in JSON": (b'{"workspace": "a\\u0000b"}', "holds a NUL character"),
    "empty JSON": (b"", "is not valid JSON"),
    "digits in JSON": (b'{"train_lora": {"steps": ' + b"9" * 5000 + b"}}", "is not valid JSON: .*digits"),
}


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=pytest.mark.whole if name == "deep lists" else ()) for name in (*FILES, *JSON_FILES)],
)
def test_one_message_for_each(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    content, told = FILES.get(name) or JSON_FILES[name]
    path = tmp_path / ("run.json" if name in JSON_FILES else "run.yaml")
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"(?s)run\.(yaml|json).*{told}") as refused:
        load_config(path, {})
    assert len(str(refused.value)) < 1000 + len(str(path))
    assert main(["plan", str(path)]) == 1
    assert capsys.readouterr().err.startswith("ConfigError: ")


def test_aliases_that_people_write_are_fine(write: Write) -> None:
    text = write().read_text() + "train_lora: &mine {steps: 7}\nrender_validation: {<<: {}, seeds: &seeds [1, 2]}\n"
    path = write()
    path.write_text(text)
    assert load_config(path, {}).train_lora.steps == 7


def test_a_merged_section_may_say_otherwise(write: Write) -> None:
    path = write()
    path.write_text(path.read_text() + "split: &s {max_black_fraction: 0.5}\nlimits: {max_quarantined_fraction: 1}\n")
    merged = "{<<: {a: 1}, a: 2}"
    assert yaml.safe_load(merged) == {"a": 2}
    assert load_config(path, {"train_lora.steps": 3}).split.max_black_fraction == 0.5


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("workspace", "x" * 300),
        ("workspace", "a/" * 3000),
        ("datasets.0.instance_data_dir", "y" * 300),
        ("datasets.0.mask_dir", "~nobody-of-this-name/masks"),
        ("model.checkpoint", "z" * 300 + ".safetensors"),
        ("model.text_encoder", "~nobody-of-this-name/gemma"),
        ("prompts.library", "p" * 300 + ".json"),
    ],
)
def test_paths_that_no_file_can_have(write: Write, option: str, value: str) -> None:
    with pytest.raises(ConfigError, match=r"the path '.{0,140}' cannot be: .*; correct it in the configuration"):
        load_config(write(), {option: value})


@pytest.mark.parametrize("text", ["[" * 20_000, "&a [*a]", "{a: 1, a: 2}", "9" * 5000])
def test_values_of_the_command_line_too(write: Write, text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["plan", str(write()), "--set", f"train_lora.steps={text}"]) == 1
    assert "the value is not YAML: " in capsys.readouterr().err


def test_a_value_given_from_python_too(values: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="a finite number is wanted"):
        load_config(values, {"train_lora.learning_rate": float("inf")})


class TestPlaces:
    def test_a_folder_for_the_file(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="is a folder; give the file in it"):
            load_config(tmp_path, {})

    def test_a_name_of_300_letters(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="File name too long"):
            load_config(tmp_path / f"{'n' * 300}.yaml", {})

    @pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
    def test_a_file_without_permission(self, write: Write) -> None:
        path = write()
        path.chmod(0)
        with pytest.raises(ConfigError, match="cannot be read: Permission denied"):
            load_config(path, {})

    @pytest.mark.parametrize("below", [False, True])
    def test_a_file_where_the_workspace_should_be(self, write: Write, tmp_path: Path, below: bool) -> None:
        (tmp_path / "taken").write_text("mine")
        where = "taken/workspace" if below else "taken"
        with pytest.raises(ConfigError, match=r"workspace .*taken is a file; set `workspace` to a folder"):
            load_config(write(workspace=where), {})
        assert (tmp_path / "taken").read_text() == "mine"

    @pytest.mark.parametrize("target", ["nowhere", "itself", "run.yaml", "footage"])
    @pytest.mark.parametrize("name", ["pool", "stages", "runs", "cache", "mlartifacts"])
    def test_a_link_where_its_folders_should_be(self, write: Write, tmp_path: Path, target: str, name: str) -> None:
        path = write(workspace="w")
        (tmp_path / "footage").mkdir()
        (tmp_path / "w").mkdir()
        (tmp_path / "w" / name).symlink_to(name if target == "itself" else tmp_path / target)
        with pytest.raises(ConfigError, match=rf"w/{name} is a link to .*remove the link"):
            load_config(path, {})

    def test_a_file_where_a_folder_of_it_should_be(self, write: Write, tmp_path: Path) -> None:
        path = write(workspace="w")
        (tmp_path / "w").mkdir()
        (tmp_path / "w" / "pool").write_text("x")
        with pytest.raises(ConfigError, match="w/pool is a file where the workspace has a folder"):
            load_config(path, {})

    def test_a_workspace_that_links_to_itself(self, write: Write, tmp_path: Path) -> None:
        (tmp_path / "w").symlink_to("w")
        with pytest.raises(ConfigError, match="cannot be: Symlink loop"):
            load_config(write(workspace="w"), {})

    def test_a_link_to_a_workspace_is_fine(self, write: Write, tmp_path: Path) -> None:
        (tmp_path / "real").mkdir()
        (tmp_path / "w").symlink_to("real")
        assert load_config(write(workspace="w"), {}).workspace == tmp_path / "real"


class TestOtherFiles:
    """Files that a configuration names are read by the same reader."""

    @pytest.mark.parametrize("content", [b"[" * 100_000, b'{"a": "x", "a": "y"}', b"\xff\xfe", b""])
    def test_a_library_of_prompts(self, write: Write, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "prompts.json").write_bytes(content)
        with pytest.raises(ConfigError, match=r"prompts\.library .*prompts\.json"):
            load_config(write(prompts={"library": "prompts.json"}), {})

    @pytest.mark.parametrize("content", [b"[" * 100_000, b'[{"id": "a", "id": "b"}]', b"\xff\xfe", b""])
    def test_the_guides_datasets(self, tmp_path: Path, content: bytes) -> None:
        (tmp_path / "sets.json").write_bytes(content)
        guide = {"model_type": "lora", "model_family": "ltxvideo2", "data_backend_config": "sets.json"}
        (tmp_path / "config.json").write_text(json.dumps(guide))
        with pytest.raises(ConfigError, match=r"file of datasets .*sets\.json"):
            load_config(tmp_path / "config.json", {})


def models(kind: Any, seen: set[type[BaseModel]]) -> Iterator[type[BaseModel]]:
    """Every section that can occur in a configuration."""
    if isinstance(kind, type) and issubclass(kind, BaseModel) and kind not in seen:
        seen.add(kind)
        yield kind
        for field in kind.model_fields.values():
            yield from models(field.annotation, seen)
    for inner in typing.get_args(kind):
        yield from models(inner, seen)


def test_no_section_takes_what_is_not_finite() -> None:
    """By value, by text, or as one of several: every number of every section."""
    sections = list(models(RunConfig, set()))
    assert len(sections) > 20
    looked_at = 0
    for section in sections:
        config = ConfigDict(allow_inf_nan=section.model_config.get("allow_inf_nan", True))
        for field in section.model_fields.values():
            if "float" in str(field.annotation):
                looked_at += 1
                taker = TypeAdapter(typing.Annotated[field.annotation, field], config=config)
                for value in (float("inf"), float("nan"), "inf", "-Infinity", "nan"):
                    with pytest.raises(ValidationError):
                        taker.validate_python(value)
    assert looked_at > 30
