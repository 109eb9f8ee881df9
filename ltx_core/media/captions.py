"""The caption of a media file."""

import os
from itertools import product
from pathlib import Path

from datasets_spec.quarantine import QuarantineReason
from ltx_core.errors import ConfigError
from ltx_core.files.regular import open_regular
from ltx_core.media.errors import MediaError

MAX_BYTES = 2**20
"""Of a caption; a longer file was named so by mistake."""


def read_caption(path: Path, strategy: str, instance_prompt: str | None) -> str:
    """The caption of the media file `path`, one line, exactly as it will be embedded.

    `textfile` reads NAME.txt beside the file, `filename` takes the name without its suffix, with underscores and
    dashes for spaces, `instanceprompt` gives every file the same words. Runs of white space become one space.

    Raises:
        MediaError: NO_CAPTION, there is none or it is empty; BAD_CAPTION, it cannot be read as UTF-8.
        ConfigError: no such strategy, or `instanceprompt` without a prompt.
    """
    if strategy == "textfile":
        caption, origin = _read_text(caption_file(path)), str(caption_file(path))
    elif strategy == "filename":
        caption, origin = path.stem.replace("_", " ").replace("-", " "), f"the name of {path}"
    elif strategy == "instanceprompt" and instance_prompt is not None:
        caption, origin = instance_prompt, "`instance_prompt`"
    else:
        raise ConfigError(
            f"caption_strategy is {strategy!r} and instance_prompt {instance_prompt!r}; wanted textfile, filename, or "
            f"instanceprompt with a prompt."
        )
    caption = " ".join(caption.split())
    if not caption:
        raise MediaError(
            QuarantineReason.NO_CAPTION, f"{origin} holds no words; a caption is wanted. Write what is to be seen."
        )
    return caption


def caption_file(path: Path) -> Path:
    """The text file beside a media file: NAME.txt, its suffix in any case; `.txt` where there is none."""
    suffixes = ("".join(letters) for letters in product(".", "tT", "xX", "tT"))
    found = (path.with_suffix(suffix) for suffix in suffixes if os.path.lexists(path.with_suffix(suffix)))
    return next(found, path.with_suffix(".txt"))


def _read_text(path: Path) -> str:
    try:
        with open_regular(path) as file:
            data = file.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise MediaError(
                QuarantineReason.BAD_CAPTION, f"{path} is longer than 1 MiB, so it is no caption. Shorten it."
            )
        text = data.decode("utf-8-sig")
    except FileNotFoundError as error:
        raise MediaError(
            QuarantineReason.NO_CAPTION,
            f"{path} does not exist; with `textfile` every media file has a caption beside it. Write it, or choose "
            f"another caption_strategy.",
        ) from error
    except UnicodeDecodeError as error:
        raise MediaError(
            QuarantineReason.BAD_CAPTION,
            f"{path} is not UTF-8: {error.reason} at byte {error.start}. Save it as UTF-8.",
        ) from error
    except OSError as error:
        raise MediaError(
            QuarantineReason.BAD_CAPTION, f"{path} cannot be read: {error.strerror}. Make it a readable text file."
        ) from error
    if "\0" in text:
        raise MediaError(QuarantineReason.BAD_CAPTION, f"{path} holds zero bytes, so it is not text. Save it as UTF-8.")
    return text
