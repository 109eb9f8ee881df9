"""An address is whole for whoever connects, and told without its secrets however it is told."""

import json

import pytest
from pydantic import BaseModel, ValidationError

from tasks.tracking.address import WHOLE, Address, hide_secrets, without_secrets

SECRET = "hunter2"
SERVER = "https://mlflow.example:5000/base"


class Section(BaseModel):
    uri: Address


@pytest.mark.parametrize(
    ("address", "told"),
    [
        (f"https://me:{SECRET}@mlflow.example:5000/base", SERVER),
        (f"https://{SECRET}@mlflow.example", "https://mlflow.example"),
        (f"https://me:a/{SECRET}@mlflow.example", "https://mlflow.example"),
        (f"https://me:{SECRET}@{SECRET}@mlflow.example", "https://mlflow.example"),
        (f"https://me:a#{SECRET}@mlflow.example", "https://mlflow.example"),
        (f"https://me:a?{SECRET}@mlflow.example", "https://***"),
        (f"https://host/x?signature={SECRET}&at=1", "https://host/x?signature=***&at=***"),
        (f"https://host/x?token=a@{SECRET}", "https://***"),
        (f"https://host/x?{SECRET}", "https://host/x?"),
        (f"https://host/x#{SECRET}", "https://host/x"),
        (f"postgresql://me:{SECRET}%40x@db/mlflow?sslmode=on", "postgresql://db/mlflow?sslmode=***"),
        ("sqlite:////data/a@b.db", "sqlite:////data/a@b.db"),
        ("file:///data", "file:///data"),
        ("/data/mlruns", "/data/mlruns"),
        ("databricks", "databricks"),
    ],
)
def test_what_is_told_of_an_address(address: str, told: str) -> None:
    assert without_secrets(address) == told
    assert str(Address(address)) == told
    assert hide_secrets(f"no answer from '{address}' today") == f"no answer from '{told}' today"


def test_whatever_is_done_with_it_but_whole_is_safe() -> None:
    section = Section(uri=f"https://me:{SECRET}@mlflow.example:5000/base")  # type: ignore[arg-type]
    shown = [
        str(section),
        repr(section),
        f"{section.uri} {section.uri!r} {section.model_dump()}",
        section.model_dump_json(),
        json.dumps(section.model_dump(mode="json")),
    ]
    assert not [text for text in shown if SECRET in text]
    assert section.uri.whole.startswith(f"https://me:{SECRET}@")
    again = Section.model_validate_json(section.model_dump_json(context=dict(WHOLE)))
    assert again == section
    assert Section.model_validate(section.model_dump()) == section


def test_a_text_of_others_and_a_path_made_of_an_address() -> None:
    text = f"no /base/https:/me:{SECRET}@host/x.safetensors; see sqlite:///a.db"
    assert hide_secrets(text) == "no /base/https://host/x.safetensors; see sqlite:///a.db"


def test_what_is_no_address_is_refused() -> None:
    with pytest.raises(ValidationError, match="is wanted"):
        Section(uri="http://[::1")  # type: ignore[arg-type]
