"""Captions of clips as text files that people edit, and the clips with them.

A clip whose file has no caption has a text file of its own in the workspace: `captions/CLIP.txt`. The model writes it,
and a person may change it. What a person wrote is never overwritten: a file is taken for the model's only if the store
remembers that the model wrote that very text for that clip.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from datasets_spec import Caption, Clip
from datasets_spec.quarantine import QuarantineReason
from ltx_core.io.atomic import find_whole, write_bytes
from ltx_core.io.digest import text_digest
from ltx_core.media.captions import read_text
from ltx_core.media.errors import MediaError
from ltx_core.store.json_items import ItemStore
from tasks.runtime.workspace import Workspace

SUFFIX = ".txt"


def captioned(inputs: Mapping[str, Any]) -> list[Clip]:
    """The clips with their captions, of the stages that a stage reads: those of `split`, and those whose caption is in
    a text file of its own. Clips without any caption are left out."""
    clips: list[Clip] = list(inputs["split"])
    if "caption" not in inputs:
        return clips
    rows: dict[str, Caption] = {row.clip_id: row for row in inputs["caption"]}
    found = []
    for clip in clips:
        if clip.caption:
            found.append(clip)
        elif (row := rows.get(clip.clip_id)) is not None:
            found.append(clip.model_copy(update={"caption": row.caption, "variants": row.variants}))
    return found


class CaptionTexts:
    """The text files of a workspace, and what is remembered of those that the model wrote."""

    def __init__(self, workspace: Workspace) -> None:
        self.folder = workspace.captions
        self._workspace = workspace
        self._written = ItemStore(workspace.caption_store / "written")

    def path(self, clip_id: str) -> Path:
        """The text file of a clip."""
        return self.folder / f"{clip_id}{SUFFIX}"

    def name(self, clip_id: str) -> str:
        """The same, relative to the workspace."""
        return self.path(clip_id).relative_to(self._workspace.root).as_posix()

    def read(self, clip_id: str) -> str | None:
        """The text; None without a file.

        Raises:
            MediaError: BAD_CAPTION, it cannot be read as text.
        """
        try:
            return read_text(self.path(clip_id)).strip()
        except MediaError as error:
            if error.reason is QuarantineReason.NO_CAPTION:
                return None
            raise

    def is_persons(self, clip_id: str) -> bool:
        """Return whether there is a file that the model did not write as it is."""
        try:
            text = self.read(clip_id)
        except MediaError:
            return True
        return text is not None and self._written.get(_key(clip_id, text)) is None

    def persons(self, clip_ids: Sequence[str]) -> dict[str, str]:
        """Digests of the texts that people wrote, by clip; for a file that cannot be read, the reason."""
        return {clip_id: self._digest(clip_id) for clip_id in clip_ids if self.is_persons(clip_id)}

    def write(self, clip_id: str, text: str) -> bool:
        """Write what the model says, unless a person wrote meanwhile; return whether the file holds it.

        Raises:
            MediaError: BAD_CAPTION, no file can have that name.
            StorageError: the disk is full or read-only.
        """
        if self.is_persons(clip_id):
            return False
        self._written.put(_key(clip_id, text), {"text": text})  # first: whenever it is killed, the file is the model's
        path = self.path(clip_id)
        if len(os.fsencode(path.name)) > NAME_BYTES:
            raise MediaError(
                QuarantineReason.BAD_CAPTION,
                f"the caption of {clip_id} has no file: {path.name} is too long a name. Shorten the name of the media "
                f"file, or write its caption beside it.",
            )
        if self.read(clip_id) != text:
            write_bytes(path, text.encode() + b"\n")
        return True

    def strays(self, clip_ids: Sequence[str], datasets: Sequence[str]) -> list[str]:
        """Names of files of these datasets that people wrote and that belong to none of the clips, relative to the
        workspace."""
        known = {self.path(clip_id) for clip_id in clip_ids}
        files = (path for one in datasets for path in find_whole(self.folder / one, f"**/*{SUFFIX}"))
        others = (path for path in files if path not in known)
        ids = (path.relative_to(self.folder).as_posix().removesuffix(SUFFIX) for path in others)
        return sorted(self.name(clip_id) for clip_id in ids if self.is_persons(clip_id))

    def _digest(self, clip_id: str) -> str:
        try:
            return text_digest(self.read(clip_id) or "")
        except MediaError as error:
            return str(error.reason)


NAME_BYTES = 255 - len(".partial-00000000-0000000-000000000000000-")
"""Of a file's name, so that a temporary name beside it can be, too."""


def _key(clip_id: str, text: str) -> str:
    return text_digest("written", clip_id, text)
