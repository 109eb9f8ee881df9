"""Prefect startup hook: `prefect deployment run ltx2-lora` means `ltx2-lora/ltx2-lora`.

Prefect wants FLOW/DEPLOYMENT; our flows and deployments share names. The hook runs when Prefect is imported, before its
command line reads its arguments. Without it Prefect prints its own error, and the full form works everywhere.
Deliberately free of our own imports: it runs in every `prefect` command.
"""

import sys
from pathlib import Path
from typing import Any

from prefect.plugins import register_hook

PREFECT_PLUGIN_API_REQUIRES = ">=0.1,<1"
VERBS = ("run", "inspect", "delete", "pause", "resume")
PREFIXES = ("ltx2-lora", "retrain", "stage-")


def expand(arguments: list[str]) -> list[str]:
    """The command line with a bare name of ours after `deployment VERB` written out in full."""
    if not arguments or Path(arguments[0]).name not in ("prefect", "prefect.exe"):
        return arguments
    for place, word in enumerate(arguments[:-2]):
        if word in ("deployment", "deployments") and arguments[place + 1] in VERBS:
            name = arguments[place + 2]
            if name.startswith(PREFIXES) and "/" not in name:
                return [*arguments[: place + 2], f"{name}/{name}", *arguments[place + 3 :]]
    return arguments


@register_hook
def setup_environment(*, ctx: Any) -> None:
    """Prefect calls this once at import."""
    sys.argv[:] = expand(sys.argv)
