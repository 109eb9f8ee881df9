"""A server on loopback that takes uploads as the hub does: small files inside the commit, large ones before it."""

import base64
import hashlib
import json
from http.server import BaseHTTPRequestHandler
from typing import ClassVar

from tests.loopback_hub import COMMIT, REFUSALS, FakeHub, digest

TOKEN = "a-token-that-may-write"
LARGE = (".safetensors", ".mp4")
ACCOUNT = "ann"


class WritableHub(FakeHub, BaseHTTPRequestHandler):
    """Keeps what it takes in <root>/<owner>/<name>; `commits` are the names in each, in order."""

    commits: ClassVar[list[list[str]]] = []
    made: ClassVar[list[dict[str, object]]] = []
    """How repositories were asked for."""

    def do_POST(self) -> None:
        self.asked.append(self.path)
        body = self.rfile.read(int(self.headers["Content-Length"]))
        parts = self.path.split("?")[0].strip("/").split("/")
        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
            self._reply({"error": "who are you?"}, 401)
        elif parts == ["api", "repos", "create"]:
            self._create(json.loads(body))
        elif parts == ["api", "validate-yaml"]:
            self._reply({})
        elif "preupload" in parts:
            self._reply({"files": [self._mode(parts[2:4], file["path"]) for file in json.loads(body)["files"]]})
        elif parts[-2:] == ["objects", "batch"]:
            self._reply({"transfer": "basic", "objects": [self._place(one) for one in json.loads(body)["objects"]]})
        else:
            self._commit(parts[2:4], [json.loads(line) for line in body.splitlines()])

    def do_PUT(self) -> None:
        self.asked.append(self.path)
        content = self.rfile.read(int(self.headers["Content-Length"]))
        folder = self.root / ".lfs"
        folder.mkdir(exist_ok=True)
        (folder / hashlib.sha256(content).hexdigest()).write_bytes(content)
        self._reply({})

    def _create(self, wanted: dict[str, object]) -> None:
        owner, name = str(wanted.get("organization") or ACCOUNT), str(wanted["name"])
        self.made.append(wanted)
        if refusal := REFUSALS.get(owner):
            self._reply({"error": "no"}, refusal[0])
        else:
            (self.root / owner / name).mkdir(parents=True, exist_ok=True)
            self._reply({"url": f"http://{self.headers['Host']}/{owner}/{name}"})

    def _mode(self, repository: list[str], name: str) -> dict[str, object]:
        large, file = name.endswith(LARGE), self.root.joinpath(*repository, name)
        oid = None
        if file.is_file():
            content = file.read_bytes()
            oid = digest(file) if large else hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
        return {"path": name, "uploadMode": "lfs" if large else "regular", "shouldIgnore": False, "oid": oid}

    def _place(self, wanted: dict[str, object]) -> dict[str, object]:
        if (self.root / ".lfs" / str(wanted["oid"])).is_file():
            return wanted
        return wanted | {"actions": {"upload": {"href": f"http://{self.headers['Host']}/put/{wanted['oid']}"}}}

    def _commit(self, repository: list[str], lines: list[dict[str, dict[str, str]]]) -> None:
        folder = self.root.joinpath(*repository)
        changed = [line["value"] for line in lines[1:]]
        for value in changed:
            target = folder / value["path"]
            target.parent.mkdir(parents=True, exist_ok=True)
            held = self.root / ".lfs" / value.get("oid", "")
            target.write_bytes(base64.b64decode(value["content"]) if "content" in value else held.read_bytes())
        self.commits.append([value["path"] for value in changed])
        self._reply(
            {"commitUrl": f"http://{self.headers['Host']}/{'/'.join(repository)}/commit/{COMMIT}", "commitOid": COMMIT}
        )

    def _reply(self, answer: dict[str, object], status: int = 200) -> None:
        self._send(status, json.dumps(answer).encode(), {"Content-Type": "application/json"}, body=True)
