"""Who may use Prefect's server: this machine's programs, and its own pages in a browser."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest
from prefect.settings import PREFECT_API_URL, PREFECT_SERVER_API_PORT, get_current_settings, temporary_settings
from prefect.settings import PREFECT_SERVER_CORS_ALLOWED_ORIGINS as ORIGINS
from starlette.types import Message, Receive, Scope, Send

from flows.server.api_server import OwnConnections, allowed_origins, guarded, own_addresses

OWN = ("http://127.0.0.1:4200", "http://localhost:4200", "http://[::1]:4200", "http://gpu-box:4200")


async def _answers(_scope: Scope, _receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"carried out"})


def _status(headers: Mapping[str, str], origins: tuple[str, ...] = OWN, kind: str = "http") -> int:
    """What a request with these headers is answered."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    raw = [(name.lower().encode(), value.encode()) for name, value in headers.items()]
    scope: dict[str, Any] = {"type": kind, "method": "POST", "path": "/api/flows/filter", "headers": raw}
    if kind == "websocket":
        scope["extensions"] = {"websocket.http.response": {}}
    asyncio.run(guarded(_answers, origins)(scope, receive, send))
    return int(sent[0]["status"])


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize("host", ["127.0.0.1:4200", "localhost:4200", "LOCALHOST", "[::1]:4200", "gpu-box:4200"])
def test_programs_that_name_this_machine_are_served(host: str, kind: str) -> None:
    assert _status({"Host": host}, kind=kind) == 200


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:4200", "127.0.0.1.evil.example", "localhost.evil.example", "10.evil.example", ""],
)
def test_another_host_is_refused(host: str, kind: str) -> None:
    """DNS rebinding: the site's name means 127.0.0.1 by the time its page asks."""
    assert _status({"Host": host}, kind=kind) == 400


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    "origin",
    [
        "http://evil.example",
        "https://127.0.0.1:4200",
        "http://127.0.0.1:8000",
        "http://127.0.0.1:4200.evil.example",
        "null",
    ],
)
def test_another_site_s_page_is_refused(origin: str, kind: str) -> None:
    assert _status({"Host": "127.0.0.1:4200", "Origin": origin}, kind=kind) == 403


@pytest.mark.parametrize("origin", OWN)
def test_its_own_pages_are_served(origin: str) -> None:
    assert _status({"Host": "127.0.0.1:4200", "Origin": origin}) == 200


def test_a_star_that_was_meant_opens_it() -> None:
    assert _status({"Host": "evil.example", "Origin": "http://evil.example"}, ("*",)) == 200


def test_by_default_its_own_addresses_at_its_own_port() -> None:
    with temporary_settings({PREFECT_API_URL: "http://gpu-box:4200/api", PREFECT_SERVER_API_PORT: 4200}):
        assert allowed_origins(get_current_settings()) == OWN


def test_what_the_user_names_holds() -> None:
    with temporary_settings({ORIGINS: "https://ltx.example/, http://10.0.0.5:4200"}):
        assert allowed_origins(get_current_settings()) == ("https://ltx.example", "http://10.0.0.5:4200")


def test_pages_may_speak_with_their_own_server_alone() -> None:
    """By HTTP and by WebSocket, at each of its names that such a list can have."""
    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    with temporary_settings({PREFECT_API_URL: "http://gpu-box:4200/api", PREFECT_SERVER_API_PORT: 4200}):
        app = OwnConnections(_answers, own_addresses(get_current_settings()))
    asyncio.run(app({"type": "http", "headers": []}, receive, send))
    policy = dict(sent[0]["headers"])[b"content-security-policy"].decode()
    names = ("127.0.0.1", "localhost", "gpu-box")
    assert policy.split() == [
        "connect-src",
        "'self'",
        *(f"{scheme}://{name}:4200" for scheme in ("http", "ws") for name in names),
    ]
