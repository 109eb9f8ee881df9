"""The captions of a media file: from a text beside it, its name or its dataset, with a trigger word and variants."""

import os
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

from datasets_spec.quarantine import QuarantineReason
from datasets_spec.spec import TRIGGER_MARKER, CaptionSpec, DatasetSpec
from ltx_core.errors import ConfigError
from ltx_core.io.digest import text_digest
from ltx_core.io.regular import open_regular
from ltx_core.media.errors import MediaError

MAX_BYTES = 2**20
"""Of a caption; a longer file was named so by mistake."""


def read_captions(path: Path, dataset: DatasetSpec) -> tuple[str, ...]:
    """Return the captions of the media file `path`, as `captions_of` makes them.

    `textfile` reads NAME.txt beside the file, `filename` takes the name without its suffix, with underscores and
    dashes for spaces, `instanceprompt` gives every file the same words.

    Raises:
        MediaError: NO_CAPTION, there is none or it is empty; BAD_CAPTION, it cannot be read as UTF-8, or it has a place
            for a trigger word and the dataset has no such word.
    """
    return captions_of(*_written(path, dataset), dataset)


def captions_of(text: str, origin: str, dataset: DatasetSpec) -> tuple[str, ...]:
    """Return the captions that a text holds, each one line, exactly as they will be embedded, without repetitions; the
    first is the one that prompts and the eval loss use. Runs of white space become one space.

    Args:
        text: Of a file, or of a name.
        origin: Name of its file, for messages.
        dataset: Says what is made of it.

    Raises:
        MediaError: NO_CAPTION, the text is empty; BAD_CAPTION, it has a place for a trigger word and the dataset has no
            such word.
    """
    spec = dataset.captions
    lines = text.splitlines() if spec.lines == "variants" else [text]
    written = [caption for line in lines if (caption := " ".join(line.split()))]
    if not written:
        raise MediaError(
            QuarantineReason.NO_CAPTION, f"{origin} holds no words; a caption is wanted. Write what is to be seen."
        )
    if spec.trigger is None and TRIGGER_MARKER in text:
        raise MediaError(
            QuarantineReason.BAD_CAPTION,
            f"{origin} has {TRIGGER_MARKER}, and dataset {dataset.id} has no captions.trigger; set it, or write the "
            f"word itself.",
        )
    orders = (order for caption in written for order in tag_orders(caption, spec.tag_shuffles, spec.tags_in_place))
    return tuple(dict.fromkeys(with_trigger(caption, spec) for caption in orders))


def check_trigger(dataset: DatasetSpec, captions: Iterable[str]) -> None:
    """See that the trigger word of a dataset, if it has one, is in some of its captions.

    Raises:
        ConfigError: it is in none.
    """
    trigger, written = dataset.captions.trigger, list(captions)
    if trigger is not None and written and not any(trigger in caption for caption in written):
        raise ConfigError(
            f"dataset {dataset.id!r} has captions.trigger {trigger!r}, and no caption has {TRIGGER_MARKER}; write it "
            f"into the captions, or set captions.trigger_place: front"
        )


def with_trigger(caption: str, spec: CaptionSpec) -> str:
    """Return a caption with the trigger word in its place, if there is such a word."""
    if spec.trigger is None:
        return caption
    made = caption.replace(TRIGGER_MARKER, spec.trigger)
    has_it = spec.trigger.casefold() in made.casefold()
    return made if has_it or spec.trigger_place == "marker" else f"{spec.trigger}, {made}"


def tag_orders(caption: str, count: int, in_place: int = 0) -> Iterator[str]:
    """The caption as it is, then with its comma-separated tags in other orders: `count` of them at most, which follow
    from the caption alone. Some may be equal, if there are few tags. The first `in_place` tags stay where they are."""
    yield caption
    tags = [tag for part in caption.split(",") if (tag := part.strip())]
    first, moved = tags[:in_place], range(min(in_place, len(tags)), len(tags))
    for number in range(count if len(moved) > 1 else 0):
        places = sorted(moved, key=lambda n: text_digest("tags", caption, str(number), str(n)))
        yield ", ".join([*first, *(tags[place] for place in places)])


def _written(path: Path, dataset: DatasetSpec) -> tuple[str, str]:
    """The text that captions are made of, and where it is from."""
    if dataset.caption_strategy == "textfile":
        return read_text(caption_file(path)), str(caption_file(path))
    if dataset.caption_strategy == "filename":
        return path.stem.replace("_", " ").replace("-", " "), f"the name of {path}"
    return str(dataset.instance_prompt), "`instance_prompt`"


def caption_file(path: Path) -> Path:
    """The text file beside a media file: NAME.txt, its suffix in any case; `.txt` where there is none."""
    suffixes = ("".join(letters) for letters in product(".", "tT", "xX", "tT"))
    found = (path.with_suffix(suffix) for suffix in suffixes if os.path.lexists(path.with_suffix(suffix)))
    return next(found, path.with_suffix(".txt"))


def read_text(path: Path) -> str:
    """The text of a caption's file.

    Raises:
        MediaError: NO_CAPTION, there is no such file; BAD_CAPTION, it is no text in UTF-8, or cannot be read.
    """
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
            f"{path} does not exist; with `textfile` every media file has a caption beside it. Write it, choose "
            f"another caption_strategy, or let a model write it (captions.missing: model).",
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
