"""The caption of a media file."""

from pathlib import Path

from datasets_spec.quarantine import QuarantineReason
from ltx_core.errors import ConfigError
from ltx_core.media.errors import MediaError


def read_caption(path: Path, strategy: str, instance_prompt: str | None) -> str:
    """The caption of the media file `path`, one line, exactly as it will be embedded.

    `textfile` reads NAME.txt beside the file, `filename` takes the name without its suffix, with underscores and
    dashes for spaces, `instanceprompt` gives every file the same words. Runs of white space become one space.

    Raises:
        MediaError: NO_CAPTION, there is none or it is empty; BAD_CAPTION, it cannot be read as UTF-8.
        ConfigError: no such strategy, or `instanceprompt` without a prompt.
    """
    if strategy == "textfile":
        caption, origin = _read_text(path.with_suffix(".txt")), str(path.with_suffix(".txt"))
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


def _read_text(path: Path) -> str:
    try:
        text = path.read_bytes().decode("utf-8-sig")
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
