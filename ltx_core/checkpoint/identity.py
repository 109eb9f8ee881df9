"""What weights are, by content: digests that name the components of a checkpoint and a text encoder. No torch."""

import hashlib
import json
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import BinaryIO

from ltx_core.checkpoint.combined import open_checkpoint
from ltx_core.checkpoint.keys import COMPONENTS
from ltx_core.checkpoint.model import Checkpoint
from ltx_core.checkpoint.stored import StoredTensor
from ltx_core.checkpoint.text_encoder import open_text_encoder
from ltx_core.errors import CheckpointError
from ltx_core.files.digest import DIGEST_LENGTH, DigestMemo, changed, text_digest
from ltx_core.files.safetensors import read_header

PIECE_BYTES = 2**24

Named = Iterable[tuple[str, StoredTensor]]


def checkpoint_identities(path: Path, memo: DigestMemo) -> dict[str, str]:
    """`model_identities` of a combined checkpoint.

    Raises:
        CheckpointError: the file is no combined checkpoint.
    """
    return model_identities(open_checkpoint(path), memo)


def model_identities(checkpoint: Checkpoint, memo: DigestMemo) -> dict[str, str]:
    """A digest for each component: its tensors (name, dtype, shape, bytes as stored) and the config it is built by.

    Two models that share a component give it the same digest, whatever else their files hold, in whatever order, in
    one file or in a pack. Quantised weights are other bytes and so another component. Unchanged files are read once,
    as long as `memo` is saved.

    Raises:
        CheckpointError: a file was cut since it was opened.
    """
    return {name: _component_identity(checkpoint, name, memo) for name in COMPONENTS if checkpoint.tensors(name)}


def _component_identity(checkpoint: Checkpoint, component: str, memo: DigestMemo) -> str:
    tensors = sorted(checkpoint.tensors(component).items())
    files = sorted({stored.path for _, stored in tensors})
    digests = [
        memo.get(
            file,
            f"tensors:{component}",
            partial(tensors_digest, file, [(name, stored) for name, stored in tensors if stored.path == file]),
        )
        for file in files
    ]
    return text_digest(json.dumps(checkpoint.described_by(component), sort_keys=True), *digests)


def tensors_digest(path: Path, tensors: Named, file: BinaryIO) -> str:
    """SHA-256 over names, dtypes, shapes and bytes of some tensors of an opened file, `DIGEST_LENGTH` hex digits.

    Raises:
        ChangedError: the file is another than the one whose header said where they lie.
        CheckpointError: it ends inside one.
    """
    digest, tensors = hashlib.sha256(), list(tensors)
    header = read_header(path)
    if any(header.tensors.get(stored.name) != stored.entry for _, stored in tensors):
        raise changed(path)
    for name, stored in tensors:
        digest.update(json.dumps([name, stored.dtype, stored.shape]).encode())
        file.seek(stored.entry.begin)
        left = stored.entry.end - stored.entry.begin
        while left:
            piece = file.read(min(left, PIECE_BYTES))
            if not piece:
                raise CheckpointError(f"{path} ends inside {stored.name}; copy or download the file again")
            digest.update(piece)
            left -= len(piece)
    return digest.hexdigest()[:DIGEST_LENGTH]


def text_encoder_identities(path: Path, memo: DigestMemo) -> dict[str, str]:
    """Digests of a Hugging Face folder or a packed file: `text_encoder` (config and weights) and `tokenizer`.

    Raises:
        CheckpointError: a folder lacks a config, weights or a tokenizer (says which); a file is no text encoder.
    """
    encoder = open_text_encoder(path)
    if encoder.folder is None:
        config = json.dumps(encoder.config, sort_keys=True)
        parts = {"text_encoder": encoder.weights, "tokenizer": encoder.assets}
        digests = {
            part: memo.get(path, f"tensors:{part}", partial(tensors_digest, path, sorted(tensors.items())))
            for part, tensors in parts.items()
        }
        return {"text_encoder": text_digest(config, digests["text_encoder"]), "tokenizer": digests["tokenizer"]}
    files = encoder.folder

    def digest(paths: tuple[Path, ...]) -> str:
        return text_digest(*(part for path in paths for part in (path.name, memo.get(path))))

    return {"text_encoder": digest((files.config, *files.weights)), "tokenizer": digest(files.tokenizer)}
