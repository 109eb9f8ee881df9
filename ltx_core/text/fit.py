"""Whether a text encoder fits a checkpoint, told from headers alone, before anything large is loaded. No torch."""

from pathlib import Path

from ltx_core.checkpoint.combined import Checkpoint
from ltx_core.checkpoint.text_encoder import text_encoder_config, text_encoder_files
from ltx_core.errors import CheckpointError


def fits(checkpoint: Checkpoint, text_encoder_folder: Path) -> None:
    """Hold the encoder's hidden states against the checkpoint's text projection.

    The projection takes the states of all layers and of the embedding, so hidden_size * (num_hidden_layers + 1) wide.

    Raises:
        CheckpointError: the folder is incomplete, of another kind of model, or as wide as another generation's.
    """
    if checkpoint.generation == "2.5":
        raise CheckpointError(
            f"{checkpoint.path} is an LTX-2.5 checkpoint, whose text encoder is Lightricks' own Gemma 4; that encoder "
            "is not supported yet. Use a 2.0 or 2.3 checkpoint."
        )
    text_encoder_files(text_encoder_folder)
    config = text_encoder_config(text_encoder_folder)
    hidden, layers = config["hidden_size"], config["num_hidden_layers"]
    shapes = checkpoint.shapes("text_projection")
    wanted = {shape[1] for name, shape in shapes.items() if name.endswith(".weight")}
    if wanted != {hidden * (layers + 1)}:
        raise CheckpointError(
            f"the text encoder in {text_encoder_folder} gives {hidden} x ({layers} + 1) = {hidden * (layers + 1)} "
            f"values a token and the text projection in {checkpoint.path} takes {' or '.join(map(str, wanted))}. Set "
            "`text_encoder` to the folder that this checkpoint was trained with: Gemma 3 12B for LTX-2.0 and 2.3."
        )
