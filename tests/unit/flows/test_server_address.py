"""Commands that need Prefect's server, in a folder where nothing says where it is."""

from pathlib import Path

import pytest
from prefect.settings import PREFECT_API_URL, temporary_settings

from flows.server.services import require_server
from ltx_core.errors import ConfigError


def test_a_server_that_nothing_names_is_not_looked_for_at_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with (
        temporary_settings(restore_defaults={PREFECT_API_URL}),
        pytest.raises(ConfigError, match=r"set PREFECT_API_URL=http://127\.0\.0\.1:4200/api"),
    ):
        require_server()
