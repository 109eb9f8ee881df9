"""What weights are, by content: digests that name the components of a checkpoint and a text encoder. No torch."""

import hashlib
import json
import mmap
from functools import partial
from pathlib import Path

from ltx_core.checkpoint.combined import SECTIONS, open_checkpoint
from ltx_core.checkpoint.keys import COMPONENTS
from ltx_core.checkpoint.text_encoder import text_encoder_files
from ltx_core.files.digest import DIGEST_LENGTH, DigestMemo, text_digest


def checkpoint_identities(path: Path, memo: DigestMemo) -> dict[str, str]:
    """A digest for each component: its tensors (name, dtype, shape, bytes) and the part of the config it is built by.

    Two files that share a component give it the same digest, whatever else they hold and in whatever order. Unchanged
    files are read once, as long as `memo` is saved.

    Raises:
        CheckpointError: the file is no combined checkpoint.
    """
    open_checkpoint(path)
    return {
        component: memo.get(path, f"checkpoint:{component}", partial(component_digest, component=component))
        for component in COMPONENTS
    }


def component_digest(path: Path, component: str) -> str:
    """SHA-256 over one component of a combined checkpoint, `DIGEST_LENGTH` hex digits."""
    checkpoint = open_checkpoint(path)
    section = checkpoint.config[SECTIONS[component]]
    digest = hashlib.sha256(json.dumps(section, sort_keys=True).encode())
    with (
        path.open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content,
        memoryview(content) as view,
    ):
        for name, entry in sorted(checkpoint.tensors(component).items()):
            digest.update(json.dumps([name, entry.dtype, entry.shape]).encode())
            with view[entry.begin : entry.end] as tensor:
                digest.update(tensor)
    return digest.hexdigest()[:DIGEST_LENGTH]


def text_encoder_identities(folder: Path, memo: DigestMemo) -> dict[str, str]:
    """Digests of a Hugging Face folder: `text_encoder` (config and weights) and `tokenizer` (its files).

    Raises:
        CheckpointError: the folder lacks a config, weights or a tokenizer; says which.
    """
    files = text_encoder_files(folder)

    def digest(paths: tuple[Path, ...]) -> str:
        return text_digest(*(part for path in paths for part in (path.name, memo.get(path))))

    return {"text_encoder": digest((files.config, *files.weights)), "tokenizer": digest(files.tokenizer)}
