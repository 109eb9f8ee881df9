"""What is said when the hub's real client cannot upload. What it uploads, the tests of the stage `publish` see."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.loopback_hub import serving, settings
from tests.loopback_upload import TOKEN, WritableHub

pytestmark = pytest.mark.whole

ASK = """
import json, sys
from pathlib import Path
from ltx_core.errors import LtxError
from ltx_core.hub.client import upload

answers = {}
for repository in json.loads(sys.argv[1]):
    try:
        answers[repository] = upload(repository, [("a.md", Path(sys.argv[2]))], private=True, message="a")[0]
    except LtxError as error:
        answers[repository] = f"{type(error).__name__}: {error}"
print(json.dumps(answers))
"""


def answers(tmp_path: Path, *repositories: str, **environment: str) -> list[str]:
    """What a process of its own, which has the client's settings from its environment, is told."""
    file = tmp_path / "a.md"
    file.write_text("a")
    with serving(tmp_path / "hub", WritableHub) as endpoint:
        done = subprocess.run(
            [sys.executable, "-c", ASK, json.dumps(repositories), str(file)],
            env=settings(endpoint, tmp_path / "home", **({"HF_TOKEN": TOKEN} | environment)),
            capture_output=True,
            text=True,
            check=True,
        )
    return list(json.loads(done.stdout).values())


def test_repositories_that_cannot_be_written(tmp_path: Path) -> None:
    made, forbidden, broken, named = answers(tmp_path, "ann/mine", "forbidden/mine", "broken/mine", "a--b/c")
    assert made == "ann/mine"
    assert forbidden.startswith("ConfigError: the hub refused an upload to forbidden/mine (403): the account may not")
    assert broken.startswith("TransientError: the hub answered 503 to an upload to broken/mine; nothing else is lost")
    assert named.startswith("ConfigError: 'a--b/c' is no name of a repository")


@pytest.mark.parametrize(
    ("environment", "told"),
    [
        ({"HF_TOKEN": "another"}, "ConfigError: the hub refused an upload to ann/mine (401): the account may not"),
        ({"HF_ENDPOINT": "http://127.0.0.1:9"}, "TransientError: uploading to ann/mine failed: ConnectError"),
        ({"HF_HUB_OFFLINE": "1"}, "ConfigError: HF_HUB_OFFLINE forbids to upload to ann/mine"),
    ],
)
def test_hubs_that_cannot_be_asked(tmp_path: Path, environment: dict[str, str], told: str) -> None:
    assert answers(tmp_path, "ann/mine", **environment)[0].startswith(told)
