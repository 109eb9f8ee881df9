"""Whether the Prefect server answers."""

import urllib.error
import urllib.request

from ltx_core.errors import ConfigError

PROBE_SECONDS = 2.0


def api_url() -> str | None:
    """Address of Prefect's API as this folder and environment configure it."""
    from prefect.settings import get_current_settings

    return get_current_settings().api.url


def answers(url: str) -> bool:
    """Whether an HTTP address gives a good answer."""
    try:
        with urllib.request.urlopen(url, timeout=PROBE_SECONDS) as reply:
            return bool(reply.status == 200)
    except (urllib.error.URLError, TimeoutError, ConnectionError):
        return False


def server_answers() -> bool:
    """Whether a Prefect server is configured and healthy."""
    url = api_url()
    return bool(url) and answers(f"{url}/health")


def require_server() -> None:
    """Refuse to go on without a server.

    Raises:
        ConfigError: none answers.
    """
    if not server_answers():
        raise ConfigError(f"no Prefect server answers at {api_url()}; start one with `ltx2-lora up`")
