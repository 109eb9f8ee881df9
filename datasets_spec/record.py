"""The base of every row: frozen, strict, and split into content and location."""

from typing import Any, ClassVar

from pydantic import BaseModel, ConfigDict, Field
from pydantic.fields import FieldInfo


class Record(BaseModel):
    """One row of a manifest.

    Fields made with `location` say where bytes lie (a path, a shard, an offset). They are stored and read back but
    are left out of the manifest's digest: the same results written in another order or to another disk are the same.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    KEY: ClassVar[str]
    """Name of the field that identifies a row; rows of a manifest are unique in it and sorted by it."""

    @classmethod
    def is_location(cls, field: FieldInfo) -> bool:
        extra = field.json_schema_extra
        return isinstance(extra, dict) and extra.get("location") is True

    def content(self) -> dict[str, Any]:
        """The row without its locations, as JSON values; what the digest is taken over."""
        hidden = {name for name, field in type(self).model_fields.items() if self.is_location(field)}
        return self.model_dump(mode="json", exclude=hidden)

    @property
    def key(self) -> str:
        return str(getattr(self, self.KEY))


def location(description: str, **constraints: Any) -> Any:
    """A field that says where something lies, not what it is."""
    return Field(description=description, json_schema_extra={"location": True}, **constraints)
