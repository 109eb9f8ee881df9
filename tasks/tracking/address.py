"""Addresses of servers and databases, which may hold a password, a token or a signature: shown and kept without it.

However an address is printed or recorded, what comes out is safe: `str`, `repr`, JSON. Only `whole` gives all of it, to
whoever connects, and JSON that is made with `WHOLE` as its context, for the child process of a stage.
"""

import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from pydantic import GetCoreSchemaHandler, SerializationInfo
from pydantic_core import CoreSchema, core_schema

WHOLE: Mapping[str, bool] = {"whole": True}
"""Serialisation context in which an address keeps its secrets; for files that this user alone may read."""
HIDDEN = "***"
IN_TEXT = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:/{1,3}[^\s'\"<>|]+")
"""A pattern of addresses in a text; a path that was made of one has lost a slash."""


class Address:
    """An address, safe to print. Equal to another of the same whole text."""

    def __init__(self, whole: str) -> None:
        self.whole = whole

    def __str__(self) -> str:
        return without_secrets(self.whole)

    def __repr__(self) -> str:
        return f"Address({str(self)!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Address) and other.whole == self.whole

    def __hash__(self) -> int:
        return hash(self.whole)

    @property
    def is_http(self) -> bool:
        """True if it is a server's, not a database's or a folder's."""
        return self.whole.lower().startswith(("http://", "https://"))

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        from_text = core_schema.no_info_after_validator_function(_checked, core_schema.str_schema(min_length=1))
        return core_schema.json_or_python_schema(
            json_schema=from_text,
            python_schema=core_schema.union_schema([core_schema.is_instance_schema(cls), from_text]),
            serialization=core_schema.plain_serializer_function_ser_schema(
                _recorded, info_arg=True, return_schema=core_schema.str_schema(), when_used="json"
            ),
        )


def without_secrets(address: str) -> str:
    """An address without `user:password@`, and without the values of its query; anything else as it is.

    Passwords that should have been encoded may hold `/` and `@`: all up to the last `@` before the query goes. Where
    one follows the `?`, nobody can tell what is whose, and only the scheme is shown.
    """
    scheme, there, rest = address.partition("://")
    if not there:
        return address
    place, asked, query = rest.partition("?")
    if "@" in query:
        return f"{scheme}://{HIDDEN}"
    if not place.startswith("/"):  # a path has no account
        place = place.rpartition("@")[2]
    names = "&".join(f"{name}={HIDDEN}" for name in re.findall(r"([^=&#]+)=", query))
    return f"{scheme}://{place.partition('#')[0]}{asked}{names}"


def hide_secrets(text: str) -> str:
    """A text of someone else, such as a library's error, in which addresses are shown without their secrets."""
    return IN_TEXT.sub(lambda found: _in_text(found[0]), text)


def _in_text(address: str) -> str:
    """A path made of an address, `https:/me:password@host`, is one too."""
    if "://" in address:
        return without_secrets(address)
    return without_secrets(address.replace(":/", "://", 1)) if "@" in address or "?" in address else address


def _checked(whole: str) -> Address:
    if HIDDEN in whole:
        raise ValueError("its secret was not recorded; give the whole address again")
    try:
        urlsplit(whole)
    except ValueError as error:
        raise ValueError("this is not an address; a server's, such as http://127.0.0.1:5000, is wanted") from error
    return Address(whole)


def _recorded(address: Address, info: SerializationInfo) -> str:
    context = info.context if isinstance(info.context, Mapping) else {}
    return address.whole if context.get("whole") else str(address)
