"""The hub's real client: what it fetches, and what is said when it cannot."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.loopback_hub import COMMIT, FakeHub, serving, settings

pytestmark = pytest.mark.whole

ASK = """
import json, sys, time
time.sleep = lambda seconds: None  # the client waits between its own retries
from ltx_core.checkpoint.source import locate_text_encoder, open_model
from ltx_core.hub.repository import path_or_repository
from ltx_core.errors import LtxError

answers = {}
for case in json.loads(sys.argv[1]):
    place = path_or_repository(case[1])
    try:
        if case[0] == "model":
            found = open_model(place, case[2])
            answers["|".join(map(str, case))] = [found.generation, str(found.path), str(found.text_encoder)]
        else:
            answers["|".join(map(str, case))] = ["", str(locate_text_encoder(place)), ""]
    except LtxError as error:
        answers["|".join(map(str, case))] = [type(error).__name__, str(error), ""]
print(json.dumps(answers))
"""

Case = tuple[str, str, str | None]
Ask = Callable[..., tuple[dict[str, list[str]], str]]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is on the hub."""
    root = tmp_path_factory.mktemp("hub")
    golden = Path(__file__).parents[2] / "golden"
    (root / "Lightricks" / "LTX-2.3").mkdir(parents=True)
    shutil.copyfile(
        golden / "2.3" / "checkpoint.safetensors", root / "Lightricks" / "LTX-2.3" / "ltx-2.3-22b-dev.safetensors"
    )
    shutil.copytree(golden / "2.3" / "text_encoder", root / "google" / "gemma")
    (root / "google" / "gemma" / "extra").mkdir()
    (root / "google" / "gemma" / "extra" / "large.safetensors").write_bytes(b"not wanted")
    return root


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def ask(served: Path, cache: Path) -> Iterator[Ask]:
    """Ask a process of its own, which has the client's settings from its environment."""
    with serving(served) as endpoint:

        def answers(*cases: Case, home: Path = cache, **environment: str) -> tuple[dict[str, list[str]], str]:
            done = subprocess.run(
                [sys.executable, "-c", ASK, json.dumps(cases)],
                env=settings(endpoint, home, **environment),
                capture_output=True,
                text=True,
                check=True,
            )
            return json.loads(done.stdout), done.stderr

        yield answers


def test_models_and_text_encoders_are_downloaded_with_a_progress_bar(ask: Ask, cache: Path) -> None:
    model, encoder = ("model", "Lightricks/LTX-2.3", None), ("text", "google/gemma", None)
    answers, shown = ask(model, encoder, TQDM_POSITION="-1")  # a bar without a terminal, too
    generation, path, _ = answers["model|Lightricks/LTX-2.3|None"]
    assert generation == "2.3"
    assert Path(path).is_relative_to(cache)
    assert Path(path).name == "ltx-2.3-22b-dev.safetensors"
    assert COMMIT in path
    folder = Path(answers["text|google/gemma|None"][1])
    assert (folder / "tokenizer.json").is_file()
    assert not (folder / "extra").exists()
    assert "ltx-2.3-22b-dev.safetensors: 100%" in shown


def test_what_is_here_needs_no_network_and_the_rest_says_so(ask: Ask) -> None:
    kept, other = ("model", "Lightricks/LTX-2.3", "2.3-dev"), ("model", "Lightricks/LTX-2", "dev-fp8")
    ask(kept)
    answers, _ = ask(kept, other, ("text", "google/other", None), HF_HUB_OFFLINE="1")
    assert answers["model|Lightricks/LTX-2.3|2.3-dev"][0] == "2.3"
    expected = {  # of weights the one file: the repository has ten models
        "model|Lightricks/LTX-2|dev-fp8": "`hf download Lightricks/LTX-2 ltx-2-19b-dev-fp8.safetensors`",
        "text|google/other|None": "`hf download google/other`",
    }
    for case, command in expected.items():
        kind, message, _ = answers[case]
        assert kind == "CheckpointError"
        assert "HF_HUB_OFFLINE forbids" in message
        assert command in message


def test_refusals_say_what_to_do(ask: Ask) -> None:
    expected = {
        "gated/m": ("CheckpointError", "gated/m is gated and this account may not read it. Accept the licence at http"),
        "login/m": ("CheckpointError", "Accept the licence at http"),
        "private/m": ("CheckpointError", "private/m is not on the hub, or private. Check the name"),
        "absent/m": ("CheckpointError", "is not on the hub, or private"),
        "forbidden/m": ("CheckpointError", "the hub refused ltx-2-19b-dev.safetensors of forbidden/m. Accept"),
        "broken/m": ("TransientError", "the hub answered 503"),
        "Lightricks/LTX-2.3": ("CheckpointError", "has no file ltx-2-19b-dev.safetensors; set another flavour"),
    }
    answers, _ = ask(*(("model", name, "dev") for name in expected))
    for name, (kind, message) in expected.items():
        found = answers[f"model|{name}|dev"]
        assert found[0] == kind, found
        assert message in found[1]
    for name in ("gated/m", "login/m", "private/m", "forbidden/m"):
        assert "`hf auth login` or set HF_TOKEN" in answers[f"model|{name}|dev"][1]


def test_an_unreachable_hub_is_worth_a_retry(ask: Ask, tmp_path: Path) -> None:
    answers, _ = ask(("model", "Lightricks/LTX-2", "dev"), home=tmp_path, HF_ENDPOINT="http://127.0.0.1:9")
    kind, message, _ = answers["model|Lightricks/LTX-2|dev"]
    assert kind == "TransientError"
    assert "the hub cannot be reached" in message


def test_packs_and_diffusers_repositories(ask: Ask, served: Path, pack: Path, folder: Path) -> None:
    shutil.copytree(pack, served / "Lightricks" / "LTX-2.5")
    shutil.copytree(folder, served / "dg845" / "LTX-2.3-Diffusers")
    answers, _ = ask(("model", "Lightricks/LTX-2.5", None), ("model", "dg845/LTX-2.3-Diffusers", "2.3-dev"))
    assert answers["model|Lightricks/LTX-2.5|None"][0] == "2.5"
    parts = [path for path in FakeHub.asked if "/LTX-2.5/resolve/" in path and "transformer" not in path]
    assert len(parts) >= 3
    assert all(f"/resolve/{COMMIT}/" in path for path in parts), "all of one commit, even if main moves meanwhile"
    assert "gemma4-12b" in answers["model|Lightricks/LTX-2.5|None"][2]
    assert answers["model|dg845/LTX-2.3-Diffusers|2.3-dev"][0] == "2.3", answers
