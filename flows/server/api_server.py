"""`python -m flows.server.api_server`: Prefect's server, answering nobody but this machine's programs and its pages.

Prefect's own command lets every website that the user looks at read the API and start deployments, and believes any
`Host`, so that a website whose name is made to mean 127.0.0.1 is taken for the UI. Prefect's settings hold as they do
for `prefect server start`: `server.api.host` and `port`, and `server.api.cors_allowed_origins`, which names the
addresses that browsers may come from (`*`: every one, if that is really meant).
"""

from collections.abc import Collection
from urllib.parse import urlsplit

import uvicorn
from prefect.server.api.server import create_app
from prefect.settings import (
    PREFECT_SERVER_CORS_ALLOWED_ORIGINS,
    Settings,
    get_current_settings,
    temporary_settings,
)
from starlette.datastructures import Headers, MutableHeaders
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from flows.server.services import LOOPBACK

ANYWHERE = "*"


class OwnOrigins:
    """Refuses what a browser sends on behalf of another site's page, a WebSocket too.

    Browsers name the page's origin; programs name none. Without this a page could not read an answer, but its request
    would be carried out.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self.app = app
        self.origins = frozenset(origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on what comes from nowhere or from one of ours."""
        named = Headers(scope=scope).getlist("origin") if scope["type"] in ("http", "websocket") else []
        if ANYWHERE in self.origins or self.origins.issuperset(named):
            await self.app(scope, receive, send)
            return
        refusal = f"{', '.join(named)} may not use this server; see server.api.cors_allowed_origins\n"
        await PlainTextResponse(refusal, status_code=403)(scope, receive, send)


class OwnConnections:
    """Lets the pages speak with `origins` alone: browsers keep to what a page's server says of that.

    Prefect's pages ask a service that counts users for its settings, even where `server.analytics_enabled` is false.
    """

    def __init__(self, app: ASGIApp, origins: Collection[str]) -> None:
        self.app = app
        named = [origin for origin in origins if "[" not in origin]  # of IPv6, which such a list cannot name
        sockets = [origin.replace("http", "ws", 1) for origin in named]
        self.policy = " ".join(["connect-src 'self'", *named, *sockets])

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Say it with every answer."""

        async def sent(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message)["Content-Security-Policy"] = self.policy
            await send(message)

        await self.app(scope, receive, sent)


def own_addresses(settings: Settings) -> tuple[str, ...]:
    """This machine and the addresses that are set for programs and pages, at their ports."""
    given = [urlsplit(str(address)) for address in (settings.api.url, settings.server.ui.api_url) if address]
    own = [f"http://{host}:{settings.server.api.port}" for host in LOOPBACK]
    return tuple(dict.fromkeys([*own, *(f"{parts.scheme}://{parts.netloc}" for parts in given)]))


def allowed_origins(settings: Settings) -> tuple[str, ...]:
    """Where the server's pages are seen from: as set by the user, else its own addresses."""
    api = settings.server.api
    if "cors_allowed_origins" in api.model_fields_set:
        return tuple(origin.strip().rstrip("/") for origin in api.cors_allowed_origins.split(",") if origin.strip())
    return own_addresses(settings)


def guarded(app: ASGIApp, origins: Collection[str]) -> ASGIApp:
    """The app, for requests that name this machine or one of `origins` as their host, and none but those as their
    origin."""
    if ANYWHERE in origins:
        return app
    names = [str(urlsplit(origin).hostname) for origin in origins]
    hosts = [*LOOPBACK, *(f"[{name}]" if ":" in name else name for name in names)]
    return TrustedHostMiddleware(OwnOrigins(app, origins), hosts, www_redirect=False)


def main() -> None:
    """Serve until a signal ends it."""
    settings = get_current_settings()
    api, origins = settings.server.api, allowed_origins(settings)
    with temporary_settings({PREFECT_SERVER_CORS_ALLOWED_ORIGINS: ",".join(origins)}):
        app: ASGIApp = create_app(final=True)
        if not settings.server.analytics_enabled:
            known = dict.fromkeys([*own_addresses(settings), *origins])
            app = OwnConnections(app, [origin for origin in known if origin != ANYWHERE])
        uvicorn.run(
            guarded(app, origins),
            host=api.host,
            port=api.port,
            timeout_keep_alive=api.keepalive_timeout,
            ws_ping_interval=api.websocket_ping_interval,
            ws_ping_timeout=api.websocket_ping_timeout,
            log_level=settings.server.logging_level.lower(),
        )


if __name__ == "__main__":
    main()
