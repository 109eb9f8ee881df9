"""The hub's real client against a server on loopback that answers as the hub does."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

COMMIT = "0123456789abcdef0123456789abcdef01234567"
REFUSALS = {
    "gated": (403, "GatedRepo"),
    "login": (401, "GatedRepo"),
    "private": (401, "RepoNotFound"),
    "absent": (404, "RepoNotFound"),
    "forbidden": (403, ""),
    "broken": (503, ""),
}
"""Status and error code of every repository of these owners."""


class FakeHub(BaseHTTPRequestHandler):
    """Serves <root>/<owner>/<name>/<file> as repositories of one commit."""

    root: Path
    asked: ClassVar[list[str]] = []
    """Paths, in the order they came."""

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def log_request(self, code: object = "-", size: object = "-") -> None:
        """Be quiet."""

    def _answer(self, body: bool) -> None:
        self.asked.append(self.path)
        parts = self.path.split("?")[0].strip("/").split("/")
        repository = parts[2:4] if parts[:2] == ["api", "models"] else parts[:2]
        folder = self.root.joinpath(*repository)
        if refusal := REFUSALS.get(repository[0]):
            self._send(refusal[0], b"", {"X-Error-Code": refusal[1]} if refusal[1] else {}, body)
        elif parts[0] != "api":
            self._file(folder / "/".join(parts[4:]), body)
        elif "tree" in parts:
            self._send(200, json.dumps([self._entry(folder, file) for file in files(folder)]).encode(), {}, body)
        else:
            self._send(200, json.dumps({"id": "/".join(repository), "sha": COMMIT}).encode(), {}, body)

    def _file(self, file: Path, body: bool) -> None:
        if file.is_file():
            self._send(200, file.read_bytes(), {"ETag": f'"{digest(file)}"', "X-Repo-Commit": COMMIT}, body)
        else:
            self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": COMMIT}, body)

    def _entry(self, folder: Path, file: Path) -> dict[str, object]:
        name = file.relative_to(folder).as_posix()
        return {"type": "file", "path": name, "size": file.stat().st_size, "oid": digest(file)}

    def _send(self, status: int, content: bytes, headers: dict[str, str], body: bool) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(len(content)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if body:
            self.wfile.write(content)


def digest(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


@contextmanager
def serving(root: Path) -> Iterator[str]:
    """Serve `root` and yield the endpoint's address."""
    handler = type("Handler", (FakeHub,), {"root": root})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


ASK = """
import json, sys, time
time.sleep = lambda seconds: None  # the client waits between its own retries
from ltx_core.checkpoint.source import ModelSource, locate_text_encoder, open_model
from ltx_core.errors import LtxError

answers = {}
for case in json.loads(sys.argv[1]):
    source = ModelSource(case[1], flavour=case[2])
    try:
        if case[0] == "model":
            found = open_model(source)
            answers["|".join(map(str, case))] = [found.generation, str(found.path), str(found.text_encoder)]
        else:
            answers["|".join(map(str, case))] = ["", str(locate_text_encoder(source)), ""]
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
            kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
            settings = {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1", **environment}
            done = subprocess.run(
                [sys.executable, "-c", ASK, json.dumps(cases)],
                env={**kept, "HF_HUB_DISABLE_TELEMETRY": "1", **settings},
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
    expected = {
        "model|Lightricks/LTX-2|dev-fp8": "ltx-2-19b-dev-fp8.safetensors",
        "text|google/other|None": "google/other",
    }
    for case, what in expected.items():
        kind, message, _ = answers[case]
        assert kind == "CheckpointError"
        assert what in message
        assert "HF_HUB_OFFLINE forbids" in message
        assert "hf download" in message


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
