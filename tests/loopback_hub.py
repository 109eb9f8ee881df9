"""A server on loopback that answers the hub's real client as the hub does."""

import hashlib
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

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
def serving(root: Path, hub: type[FakeHub] = FakeHub) -> Iterator[str]:
    """Serve `root` and yield the endpoint's address."""
    handler = type("Handler", (hub,), {"root": root})
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def settings(endpoint: str, home: Path, **more: str) -> dict[str, str]:
    """The environment of a process that asks that server alone and keeps what it gets in `home`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HUGGING"))}
    own = {"HF_HOME": str(home), "HF_ENDPOINT": endpoint, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    return {**kept, **own, **more}
