"""Requests that ask whether the Prefect server answers."""

import http.client
import json
import re
import urllib.error
import urllib.request

from ltx_core.errors import ConfigError

PROBE_SECONDS = 2.0
MAX_BYTES = 1000
"""No reply that is wanted is longer."""
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")
"""Names of this machine, as a browser gives them in `Host` and `Origin`."""


def api_url() -> str | None:
    """Address of Prefect's API as this folder and environment configure it."""
    from prefect.settings import get_current_settings

    return get_current_settings().api.url


def answers(url: str) -> bool:
    """Return whether an HTTP address gives a good answer."""
    return _asked(url)[0] == http.HTTPStatus.OK


def prefect_answers(url: str) -> bool:
    """Return whether Prefect's API answers at `url` and is healthy. Another service that has a /health is none: Prefect
    says `true` there, and elsewhere its version, or that only who is named in `api.auth_string` may ask for that."""
    status, health = _asked(f"{url}/health")
    if status != http.HTTPStatus.OK or health is not True:
        return False
    status, version = _asked(f"{url}/version")
    named = status == http.HTTPStatus.OK and isinstance(version, str) and re.match(r"\d+\.\d+", version) is not None
    return named or status == http.HTTPStatus.UNAUTHORIZED


def _asked(url: str) -> tuple[int | None, object]:
    """Status and JSON of a reply, None for what there is not."""
    try:
        with urllib.request.urlopen(url, timeout=PROBE_SECONDS) as reply:
            status, body = reply.status, reply.read(MAX_BYTES)
    except urllib.error.HTTPError as error:
        return error.code, None
    except (OSError, http.client.HTTPException, ValueError):  # nobody, no HTTP, no address
        return None, None
    try:
        return status, json.loads(body)
    except ValueError:
        return status, None


def server_answers() -> bool:
    """Return whether a Prefect server is configured and healthy."""
    url = api_url()
    return bool(url) and prefect_answers(str(url))


def require_server() -> None:
    """Refuse to go on without a server.

    Raises:
        ConfigError: none answers.
    """
    if not server_answers():
        raise ConfigError(f"no Prefect server answers at {api_url()}; start one with `ltx2-lora up`")
