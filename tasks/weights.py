"""Identities of the weights that stages observe: by content, read once for each change of a file."""

from ltx_core.checkpoint.combined import open_checkpoint
from ltx_core.checkpoint.identity import checkpoint_identities, text_encoder_identities
from ltx_core.errors import CheckpointError
from ltx_core.files.digest import DigestMemo
from ltx_core.text.fit import fits
from tasks.shared import ModelConfig


def check_weights(model: ModelConfig) -> None:
    """See, from headers alone, that the weights are there and belong together, before anything is computed.

    Raises:
        CheckpointError: a file is missing or of another kind, or the text encoder does not fit the checkpoint.
    """
    _check_paths(model)
    fits(open_checkpoint(model.checkpoint), model.text_encoder)


def component_identities(model: ModelConfig, memo: DigestMemo, *components: str) -> dict[str, str]:
    """Digest of each named component of the checkpoint.

    Raises:
        CheckpointError: the file is missing or not a combined LTX-2 checkpoint.
    """
    _check_paths(model)
    identities = checkpoint_identities(model.checkpoint, memo)
    memo.save()
    return {name: identities[name] for name in components}


def encoder_identities(model: ModelConfig, memo: DigestMemo) -> dict[str, str]:
    """Digests of the text encoder's weights and of its tokenizer.

    Raises:
        CheckpointError: the folder is missing or incomplete.
    """
    _check_paths(model)
    identities = text_encoder_identities(model.text_encoder, memo)
    memo.save()
    return identities


def _check_paths(model: ModelConfig) -> None:
    if not model.checkpoint.is_file():
        raise CheckpointError(
            f"model.checkpoint {model.checkpoint} is not a file; set it to the combined LTX-2 .safetensors file"
        )
    if not model.text_encoder.is_dir():
        raise CheckpointError(
            f"model.text_encoder {model.text_encoder} is not a folder; set it to the folder of the Gemma 3 text encoder"
        )
