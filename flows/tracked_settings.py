"""What a run's records say of its configuration: no secret, and of the machine's folders nothing that leaves it."""

from pathlib import Path
from typing import Any

from pydantic import BaseModel

from flows.config import RunConfig
from tasks.shared import ConfigModel


def tracked_settings(config: RunConfig) -> dict[str, Any]:
    """For MLflow, which is the user's own: everything, addresses without their secrets."""
    return config.model_dump(mode="json", exclude={"workspace"})


def mirrored_settings(config: RunConfig) -> dict[str, Any]:
    """For a service of others: no tracking server, and the last name of each path alone."""
    named: RunConfig = _last_names(config)
    return named.model_dump(mode="json", exclude={"workspace": True, "tracking": {"uri"}})


def _last_names(value: Any) -> Any:
    """A copy in which paths, and locations that are paths, are their last name; repositories of the hub stay."""
    if isinstance(value, Path):
        return Path(value.name)
    if isinstance(value, tuple):
        return tuple(_last_names(item) for item in value)
    if not isinstance(value, BaseModel):
        return value
    fields = {name: _last_names(getattr(value, name)) for name in type(value).model_fields}
    for name in value.LOCATIONS if isinstance(value, ConfigModel) else ():
        if fields[name] is not None and Path(fields[name]).is_absolute():
            fields[name] = Path(fields[name]).name
    return value.model_copy(update=fields)
