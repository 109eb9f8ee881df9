"""Markup that is safe by construction: text becomes `Html` only through `escaped`, or through a builder here."""

import base64
import os
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import NewType
from urllib.parse import quote

from ltx_core.errors import DataError

Html = NewType("Html", str)
"""Markup. Plain strings are not; the type checker keeps the two apart."""


def escaped(value: object) -> Html:
    """Any value as text, with all that means something in HTML made harmless."""
    return Html(escape(str(value), quote=True))


def element(tag: str, *children: Html, attributes: Mapping[str, str | bool] | None = None) -> Html:
    """One element. Attribute values are escaped here; True gives a bare attribute, False none."""
    written = [
        f" {name}" if value is True else f' {name}="{escape(value, quote=True)}"'
        for name, value in (attributes or {}).items()
        if value is not False
    ]
    return Html(f"<{tag}{''.join(written)}>{''.join(children)}</{tag}>")


def relative_link(target: Path, page: Path) -> str:
    """URL of `target` as seen from the page's folder, so that the folder can be moved or zipped as a whole.

    Raises:
        DataError: there is no such file.
    """
    if not target.is_file():
        raise DataError(f"{page.name} would link to {target}, which does not exist; render it again")
    return quote(Path(os.path.relpath(target.resolve(), page.parent.resolve())).as_posix())


def png_uri(data: bytes) -> str:
    """PNG bytes as a URI that needs no file."""
    return "data:image/png;base64," + base64.b64encode(data).decode()
