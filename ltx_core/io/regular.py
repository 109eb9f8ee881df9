"""Files from outside: opened only if they are files, named so that any writer and any terminal takes the name."""

import errno
import os
import stat
import unicodedata
from io import BufferedReader
from pathlib import Path


def open_regular(path: Path) -> BufferedReader:
    """Open a file to read its bytes. Pipes, devices, sockets and folders, which may never end, are not read at all.

    Raises:
        OSError: it cannot be opened, or it is none.
    """
    handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # opening a pipe would wait for its writer
    try:
        mode = os.fstat(handle).st_mode
        if not stat.S_ISREG(mode):
            raise OSError(errno.EINVAL, f"it is {_kind(mode)} and no file", str(path))
        return os.fdopen(handle, "rb")
    except BaseException:
        os.close(handle)
        raise


def is_plain_name(path: Path) -> bool:
    """Return whether the path is valid UTF-8, as all that stores, shows or sends it needs."""
    return not any("\ud800" <= letter <= "\udfff" for letter in str(path))


def shown_name(path: Path) -> str:
    """The path as text: itself, or with the bytes that are no UTF-8 as `\\xe9`."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def one_line(text: str) -> str:
    """`text` on one line without what moves a cursor or colours a terminal; names of files may hold that."""
    return "".join(_visible(letter) for letter in text)


def _visible(letter: str) -> str:
    is_plain = unicodedata.category(letter) not in ("Cc", "Cs", "Zl", "Zp")
    return letter if is_plain else letter.encode("unicode_escape", "surrogatepass").decode("ascii")


def _kind(mode: int) -> str:
    kinds = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFDIR: "a folder"}
    return kinds.get(stat.S_IFMT(mode), "a device")
