"""Whether a text encoder fits a checkpoint, told from headers alone, before anything large is loaded. No torch."""

from pathlib import Path

from ltx_core.checkpoint.complete import check_text_encoder
from ltx_core.checkpoint.model import Checkpoint
from ltx_core.checkpoint.text_encoder import StoredTextEncoder, open_text_encoder
from ltx_core.errors import CheckpointError

KINDS = {"2.0": "gemma3", "2.3": "gemma3", "2.5": "gemma4_unified"}


def fits(checkpoint: Checkpoint, text_encoder: Path) -> None:
    """Hold the encoder, a folder or a packed file, against what the checkpoint was trained with.

    LTX-2.5 names its Gemma in its header; a Gemma of the same sizes by Google gives other hidden states. The text
    projection takes the states of all layers and of the embedding, so hidden_size * (num_hidden_layers + 1) wide.

    Raises:
        CheckpointError: the encoder is incomplete (tensors included), of another kind or version, or of another width.
    """
    encoder = open_text_encoder(text_encoder)
    _same_gemma(checkpoint, encoder)
    hidden, layers = encoder.size("hidden_size"), encoder.size("num_hidden_layers")
    shapes = checkpoint.shapes("text_projection")
    wanted = {shape[1] for name, shape in shapes.items() if name.endswith(".weight")}
    if wanted != {hidden * (layers + 1)}:
        raise CheckpointError(
            f"the text encoder in {text_encoder} gives {hidden} x ({layers} + 1) = {hidden * (layers + 1)} "
            f"values a token and the text projection in {checkpoint.path} takes {' or '.join(map(str, wanted))}. "
            f"{_advice(checkpoint)}"
        )
    check_text_encoder(encoder)


def _same_gemma(checkpoint: Checkpoint, encoder: StoredTextEncoder) -> None:
    kind = KINDS[checkpoint.generation]
    wanted = checkpoint.gemma_version or ("one of Lightricks' own" if checkpoint.generation == "2.5" else None)
    same = encoder.gemma_version == wanted
    if checkpoint.gemma_version is None and checkpoint.generation == "2.5":
        same = encoder.gemma_version is not None
    if encoder.kind != kind or not same:
        raise CheckpointError(
            f"{encoder.path} holds {encoder.kind}, version {encoder.gemma_version or 'of Google'}; the LTX-"
            f"{checkpoint.generation} checkpoint {checkpoint.path} was trained with {kind}, version "
            f"{wanted or 'of Google'}. {_advice(checkpoint)}"
        )


def _advice(checkpoint: Checkpoint) -> str:
    if checkpoint.generation == "2.5":
        return "Set `text_encoder` to the text encoder file of the LTX-2.5 pack."
    return "Set `text_encoder` to the folder that this checkpoint was trained with: Gemma 3 12B for LTX-2.0 and 2.3."
