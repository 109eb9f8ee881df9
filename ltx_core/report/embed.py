"""A copy of a page that needs no other file: videos and images are inside it, as far as a size allows.

MLflow shows a page in a frame of its own that has no folder, so that relative addresses lead nowhere there.
"""

import base64
import html
import mimetypes
import re
from pathlib import Path
from urllib.parse import unquote

MOST_BYTES = 24 * 2**20
"""Of all files in a copy; base64 makes a third more of them. A browser takes that in at once."""
VIDEO = re.compile(r'<video src="(?P<src>[^"]+)"(?: poster="(?P<poster>[^"]+)")?(?P<rest>[^>]*)></video>')
IMAGE = re.compile(r'<img src="(?P<src>[^"]+)"')
LINK = re.compile(r'<a href="(?!#)[^"]+"[^>]*>(?P<text>.*?)</a>', re.DOTALL)
MIB = 2**20


def self_contained(page: Path, most_bytes: int = MOST_BYTES) -> str:
    """The page with the files that its videos and images name inside it, in the order of the page.

    Once `most_bytes` are reached, a video gives way to a line that says how large it is and where it lies; one that is
    gone, to a line that says so. Links to anywhere but the page itself become plain text, since
    MLflow's frame may go nowhere else.

    Raises:
        FileNotFoundError: there is no such page.
    """
    budget = _Budget(page, most_bytes)
    text = VIDEO.sub(budget.video, page.read_text(encoding="utf-8"))
    text = IMAGE.sub(budget.image, text)
    return LINK.sub(lambda found: found["text"], text)


class _Budget:
    """The bytes that may still be put into a copy."""

    def __init__(self, page: Path, most_bytes: int) -> None:
        self._page, self._most, self._left = page, most_bytes, most_bytes

    def video(self, found: re.Match[str]) -> str:
        """The tag with its file inside, or why it is not."""
        if _is_inside(found["src"]):
            return found[0]
        uri = self._uri(found["src"])
        if uri is None:
            return self._left_out(found["src"])
        poster = found["poster"]
        if poster and not _is_inside(poster):
            poster = self._uri(poster)
        shown = f' poster="{poster}"' if poster else ""
        return f'<video src="{uri}"{shown}{found["rest"]}></video>'

    def image(self, found: re.Match[str]) -> str:
        """The same of an image, which stays as it is where it is too large."""
        uri = None if _is_inside(found["src"]) else self._uri(found["src"])
        return found[0] if uri is None else f'<img src="{uri}"'

    def _file(self, source: str) -> Path:
        return self._page.parent / unquote(html.unescape(source))

    def _uri(self, source: str) -> str | None:
        file = self._file(source)
        if not file.is_file() or file.stat().st_size > self._left:
            return None
        data = file.read_bytes()
        self._left -= len(data)
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        return f"data:{kind};base64,{base64.b64encode(data).decode()}"

    def _left_out(self, source: str) -> str:
        file = self._file(source)
        if not file.is_file():
            why = f"{file.name} is gone"
        else:
            why = (
                f"{file.name} ({file.stat().st_size / MIB:.1f} MiB) is left out of this copy, which holds at most "
                f"{self._most / MIB:.0f} MiB of files. It plays in {self._page}"
            )
        return f'<p class="empty">{html.escape(why)}</p>'


def _is_inside(source: str) -> bool:
    return source.startswith("data:")
